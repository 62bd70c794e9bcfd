"""The life of a disclosure. Each state is a type, and each transition a method of the state that allows it.

    AwaitingApproval ──approve──> AwaitingDisclosure ──disclose──> Disclosed
       │ reject ─> Rejected          │ find_nothing ─> DisclosureNotAvailable
       │ expire ─> Expired           │ cancel ─> Cancelled
       │ cancel ─> Cancelled         │ hear ─> AwaitingDisclosure
       │ hear ─> AwaitingApproval

    AwaitingPreservation ──preserve──> Preserved
                         ──fail──> PreservationNotAvailable

    each of these but the ended ones ──withdraw──> Cancelled, where an emergency's validation does not come:
    Disclosed and Preserved too, since what was kept or prepared must go (Reg. (EU) 2023/1543 Art. 4(5));
    and Disclosed where the enforcing authority objects to what did not wait for it (Art. 10(4), 12(3))

`AwaitingApproval(...).disclose(...)` does not pass mypy. At run time a state comes out of a sealed
document, where only a `match` can tell which it is; `WrongState` is what a caller raises in the
other arms, and the API turns it into a 409.

Words: ETSI TS 103 120 (HI-1), which leaves it to the receiver alone to set the status.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, final

from pydantic import TypeAdapter, ValidationError

from gateway.disclosure.models import Rendition, Status
from policy.geography import RegionCode
from policy.order import DataCategory

_ID: Final = re.compile(r"[0-9a-f]{32}\Z")


class WrongState(Exception):
    """The disclosure's state does not have this transition. `status` is what it is in."""

    def __init__(self, status: Status, wanted: str) -> None:
        super().__init__(f"the disclosure is {status}: it cannot be {wanted}")
        self.status: Final = status


@final
@dataclass(frozen=True, slots=True, order=True)
class DisclosureId:
    """A disclosure: 32 hexadecimal digits, the first 12 the millisecond it was made (as in UUIDv7)."""

    value: str

    @classmethod
    def parse(cls, text: str) -> DisclosureId:
        """Raises ValueError for anything but 32 lower-case hexadecimal digits."""
        if not _ID.match(text):
            raise ValueError(f"{text!r} is not a disclosure id (32 hexadecimal digits)")
        return cls(text)

    @classmethod
    def new(cls, now: datetime) -> DisclosureId:
        """RFC 9562 5.7, without hyphens: ids sort by the time they were made."""
        random = (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
        return cls(f"{int(now.timestamp() * 1000):012x}{random:020x}")

    def __str__(self) -> str:
        return self.value


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """A place in a region's audit log."""

    region: RegionCode
    index: int


@final
@dataclass(frozen=True, slots=True)
class Deed:
    """Who did something, when, and the log entry that says so.

    `token` is the id of the operator's token: the same person may come with another one.
    """

    by: str
    token: str
    at: datetime
    entry: Entry


@final
@dataclass(frozen=True, slots=True)
class Signed:
    """A signature under the order, as the trust list knew its maker when the order came."""

    name: str
    role: str
    jurisdiction: str
    issuer_roles: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Case:
    """What stays the same through a disclosure's life. Times are UTC.

    `order` is the order's text as received. Nothing here opens a mailbox: whoever wants to read
    verifies and decides from that text again, at that moment. `account` is an id, not an address.
    `decision` is the assessment made on receipt, in the shape of `situs law explain`.
    """

    id: DisclosureId
    region: RegionCode
    account: str
    order: str
    order_digest: str
    reference: str
    issuer: str
    instrument: str
    matter: str | None
    signatures: tuple[Signed, ...]
    requested: tuple[DataCategory, ...]
    carried: tuple[DataCategory, ...]
    decision: dict[str, Any]
    decision_digest: str
    asked: Deed
    due: datetime | None
    lapses: datetime
    hold: str | None = None
    renditions: tuple[Rendition, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused by the law on receipt (`decided` is then None), or by an approver."""

    case: Case
    decided: Deed | None
    reason: str | None
    status: Literal[Status.REJECTED] = Status.REJECTED


@final
@dataclass(frozen=True, slots=True)
class Cancelled:
    """Called off after receipt: revoked, no longer lawful, or a condition that failed."""

    case: Case
    decided: Deed | None
    reason: str
    at: datetime
    status: Literal[Status.CANCELLED] = Status.CANCELLED


@final
@dataclass(frozen=True, slots=True)
class Expired:
    """The order lapsed before anybody approved it."""

    case: Case
    at: datetime
    status: Literal[Status.EXPIRED] = Status.EXPIRED


@final
@dataclass(frozen=True, slots=True)
class Disclosed:
    """A package stands ready, or did until `package_expires`."""

    case: Case
    approved: Deed
    release: Entry
    at: datetime
    manifest_digest: str
    package_expires: datetime
    status: Literal[Status.DISCLOSED] = Status.DISCLOSED

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, self.approved, reason, now)


@final
@dataclass(frozen=True, slots=True)
class DisclosureNotAvailable:
    """All was lawful, and nothing matched: a result, with a package that proves it."""

    case: Case
    approved: Deed
    release: Entry
    at: datetime
    manifest_digest: str
    package_expires: datetime
    status: Literal[Status.DISCLOSURE_NOT_AVAILABLE] = Status.DISCLOSURE_NOT_AVAILABLE

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, self.approved, reason, now)


@final
@dataclass(frozen=True, slots=True)
class Heard:
    """The enforcing authority has no objection (Reg. (EU) 2023/1543 Art. 8): who recorded that, and when."""

    recorded: Deed
    note: str | None


@final
@dataclass(frozen=True, slots=True)
class AwaitingDisclosure:
    """Approved by a second person; the package is being made, or waits until the law lets it."""

    case: Case
    approved: Deed
    heard: Heard | None = None
    status: Literal[Status.AWAITING_DISCLOSURE] = Status.AWAITING_DISCLOSURE

    def disclose(self, release: Entry, manifest_digest: str, now: datetime, expires: datetime) -> Disclosed:
        return Disclosed(self.case, self.approved, release, now, manifest_digest, expires)

    def find_nothing(
        self, release: Entry, manifest_digest: str, now: datetime, expires: datetime
    ) -> DisclosureNotAvailable:
        return DisclosureNotAvailable(self.case, self.approved, release, now, manifest_digest, expires)

    def hear(self, heard: Heard) -> AwaitingDisclosure:
        return replace(self, heard=heard)

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, self.approved, reason, now)

    def cancel(self, reason: str, now: datetime, deed: Deed | None = None) -> Cancelled:
        return Cancelled(self.case, deed or self.approved, reason, now)


@final
@dataclass(frozen=True, slots=True)
class AwaitingApproval:
    """Lawful as far as the gateway can tell; a second person has yet to look."""

    case: Case
    heard: Heard | None = None
    status: Literal[Status.AWAITING_APPROVAL] = Status.AWAITING_APPROVAL

    def approve(self, deed: Deed) -> AwaitingDisclosure:
        return AwaitingDisclosure(self.case, deed, self.heard)

    def hear(self, heard: Heard) -> AwaitingApproval:
        return replace(self, heard=heard)

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, None, reason, now)

    def reject(self, deed: Deed, reason: str | None) -> Rejected:
        return Rejected(self.case, deed, reason)

    def cancel(self, reason: str, now: datetime, deed: Deed | None = None) -> Cancelled:
        return Cancelled(self.case, deed, reason, now)

    def expire(self, now: datetime) -> Expired:
        return Expired(self.case, now)


@final
@dataclass(frozen=True, slots=True)
class Preserved:
    """A hold keeps the data. Nothing was disclosed, and nothing can be on this order."""

    case: Case
    hold: str
    at: datetime
    status: Literal[Status.PRESERVED] = Status.PRESERVED

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, None, reason, now)


@final
@dataclass(frozen=True, slots=True)
class PreservationNotAvailable:
    """The hold could not be placed for a reason that trying again does not change."""

    case: Case
    reason: str
    at: datetime
    status: Literal[Status.PRESERVATION_NOT_AVAILABLE] = Status.PRESERVATION_NOT_AVAILABLE


@final
@dataclass(frozen=True, slots=True)
class AwaitingPreservation:
    """The order preserves; the hold is being placed."""

    case: Case
    status: Literal[Status.AWAITING_PRESERVATION] = Status.AWAITING_PRESERVATION

    def withdraw(self, reason: str, now: datetime) -> Cancelled:
        return Cancelled(self.case, None, reason, now)

    def preserve(self, hold: str, now: datetime) -> Preserved:
        return Preserved(self.case, hold, now)

    def fail(self, reason: str, now: datetime) -> PreservationNotAvailable:
        return PreservationNotAvailable(self.case, reason, now)


Disclosure = (
    AwaitingApproval
    | AwaitingDisclosure
    | Disclosed
    | DisclosureNotAvailable
    | Rejected
    | Cancelled
    | Expired
    | AwaitingPreservation
    | Preserved
    | PreservationNotAvailable
)


@dataclass(frozen=True, slots=True)
class _Document:
    version: Literal[1]
    disclosure: Disclosure = field(metadata={"discriminator": "status"})


_DOCUMENTS: Final[TypeAdapter[_Document]] = TypeAdapter(_Document)


def to_bytes(disclosure: Disclosure) -> bytes:
    """The document that the region keeps, sealed."""
    return _DOCUMENTS.dump_json(_Document(1, disclosure))


def from_bytes(document: bytes) -> Disclosure:
    """Raises ValueError for a document that `to_bytes` did not make."""
    try:
        return _DOCUMENTS.validate_json(document).disclosure
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
