"""The last step before anything is read: the release stands in the log.

`Order -> VerifiedOrder -> Permit -> ApprovedPermit -> RecordedPermit`: whoever holds a
RecordedPermit holds proof that the log has committed to the release. There is no other way
to make one, and the readers of mailbox data take nothing else.

A release that was interrupted is gone on with under the entry that it has: approved as it is by
then, and found in the log, it is the same release, and the log tells of it once.
"""

from __future__ import annotations

from typing import Final, Protocol, final

from policy.clearance import ApprovedPermit
from policy.decision import Permit
from storage.audit.entry import Entry, Event, Result
from storage.audit.log import Committed

_MINT: Final = object()


class Ledger(Protocol):
    """What can commit an entry: `storage.audit.log.AuditLog`."""

    async def append(self, entry: Entry) -> Committed:
        """Returns once the entry is committed for ever. Raises LogUnavailable."""


class OpenLedger(Ledger, Protocol):
    """One that can be read, too."""

    async def read(self, index: int) -> Entry:
        """One committed entry. Raises NoSuchEntry."""


@final
class RecordedPermit:
    """An approved permit whose release is committed to the log. Made by `record_release`, and for a
    release that was interrupted by `recorded_release`: by nothing else."""

    __slots__ = ("approved", "committed", "permit")

    def __init__(self, approved: ApprovedPermit, committed: Committed, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("a RecordedPermit is made by storage.audit.recorded.record_release")
        self.approved: Final = approved
        self.permit: Final[Permit] = approved.permit
        self.committed: Final = committed


async def record_release(log: Ledger, approved: ApprovedPermit, entry: Entry) -> RecordedPermit:
    """Commit the release, then, and only then, give what opens the mailbox.

    Raises LogUnavailable where the commit is not confirmed, and ValueError where the entry
    does not say what is about to happen: the log must not be told another story.
    """
    _check(approved, entry)
    committed = await log.append(entry)
    if committed.region != approved.permit.region.code:
        raise ValueError(
            f"the entry was committed in {committed.region}, not in {approved.permit.region.code}"
        )
    return RecordedPermit(approved, committed, mint=_MINT)


async def recorded_release(
    log: OpenLedger, approved: ApprovedPermit, entry: Entry, index: int
) -> RecordedPermit:
    """The permit of a release that stands in the log at `index` already, as `entry` would say it now.

    Raises ValueError where the log says something else there, NoSuchEntry where it says nothing.
    """
    _check(approved, entry)
    standing = await log.read(index)
    if _told(standing) != _told(entry):
        raise ValueError(f"entry {index} of {entry.region} is not this release")
    return RecordedPermit(approved, Committed(entry.region, index, index + 1), mint=_MINT)


def _told(entry: Entry) -> tuple[object, ...]:
    """What two entries of one release have in common: all but when, and by which lawbook, it was decided."""
    return (
        entry.event,
        entry.region,
        entry.outcome,
        entry.disclosure,
        entry.account,
        entry.instrument,
        entry.issuer,
        entry.categories,
    )


def _check(approved: ApprovedPermit, entry: Entry) -> None:
    permit = approved.permit
    if entry.event is not Event.DISCLOSURE_RELEASED or entry.outcome is not Result.PERMIT:
        raise ValueError(f"a release is recorded as {Event.DISCLOSURE_RELEASED}, outcome permit")
    if entry.region != permit.region.code:
        raise ValueError(f"a release from {permit.region.code} cannot be recorded in {entry.region}")
    if entry.categories != permit.categories:
        raise ValueError("the entry's categories are not those of the permit")
