"""The only way by which anything of an account is deleted for good.

    async with deletions.on(mailbox) as eraser:
        outcome = await eraser.destroy(candidates)

For each batch: declare it, read the holds, drop what a hold forbids, delete the rest
(`storage.intents` says why in this order). A `Deletable` is the proof that the first three steps
were taken; it can be made nowhere else, and nothing is deleted without one. Whatever cannot be
read, stops the deletion: a register that cannot be opened has perhaps a hold in it.

What is deleted is gone: all versions of the data, then its delete markers and the owner's
tombstones. In that order, so that a crash never makes deleted mail visible again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, final

from policy.hold import Hold, HoldId, Item, Mailbox, forbidding
from policy.hold_query import Traffic
from storage.errors import Rejected, Unavailable
from storage.flags import FLAGS
from storage.holds import HoldRegister
from storage.identity import AccountId, MessageId
from storage.intents import Declared
from storage.labels import LABELS
from storage.moving import MovedAway, refuse_while_frozen
from storage.objects import PAGE
from storage.tombstones import TOMBSTONES
from storage.versions import Version, Versions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import DeleteTypeDef, ObjectIdentifierTypeDef

# Versions in one request: a hold waits for one batch of each deleter (SeaweedFS: 1 ms a version).
BATCH: Final = 200

# What the traffic data of a message says, or None where nobody can know any more.
ReadTraffic = Callable[[MessageId], Awaitable[Traffic | None]]


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is to go, with everything that lies under its keys.

    `message` None: a part of the account itself, which every hold on the account keeps.
    """

    versions: tuple[Version, ...]
    message: MessageId | None = None

    @property
    def item(self) -> Item:
        return Item(self.message.received_at if self.message else None)


@final
@dataclass(frozen=True, slots=True)
class HeldBack:
    """A candidate that stays, and the holds that say so."""

    candidate: Candidate
    holds: tuple[HoldId, ...]


@dataclass(slots=True)
class Outcome:
    """What became of the candidates. `locked`: no hold forbids it, but the bucket does, and no hold
    of ours, in force or ended, accounts for that lock: it stays, and somebody has to look."""

    destroyed: list[Candidate] = field(default_factory=list)
    held: list[HeldBack] = field(default_factory=list)
    locked: list[Candidate] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.destroyed += other.destroyed
        self.held += other.held
        self.locked += other.locked

    @property
    def holds(self) -> tuple[HoldId, ...]:
        """The holds that kept anything back."""
        return tuple(sorted({hold for back in self.held for hold in back.holds}))


# What lies beside a message under its name, and goes after it.
_BESIDE: Final = (TOMBSTONES, LABELS, FLAGS)

_MINT: Final = object()


@final
class Deletable:
    """Versions that a declared deletion may remove now. Made by `Eraser.destroy` alone."""

    __slots__ = ("candidates", "liftable")

    def __init__(
        self, candidates: tuple[Candidate, ...], liftable: frozenset[Candidate], *, mint: object
    ) -> None:
        if mint is not _MINT:
            raise TypeError("a Deletable is made by storage.deletion.Eraser.destroy")
        self.candidates: Final = candidates
        # A hold has put the bucket's lock on these that does not mean them, or not any more.
        self.liftable: Final = liftable


@final
class Deletions:
    """Deletions in one region."""

    def __init__(self, register: HoldRegister) -> None:
        self._register: Final = register

    @asynccontextmanager
    async def on(self, mailbox: Mailbox, read_traffic: ReadTraffic | None = None) -> AsyncIterator[Eraser]:
        """Delete from one mailbox. Holds that are placed meanwhile wait for one batch at most.

        `read_traffic` answers holds that have a query; without it, such a hold keeps everything in
        its timespan.
        """
        async with self._register.intents.declared(AccountId.parse(mailbox.account)) as declared:
            yield Eraser(self._register, mailbox, declared, read_traffic)

    @asynccontextmanager
    async def leftovers(self, moved: MovedAway) -> AsyncIterator[Eraser]:
        """Delete what lies here of an account that is at home elsewhere, for whoever moves it."""
        if moved.region != self._register.versions.region:
            raise ValueError(f"the account has moved away from {moved.region}, not from here")
        async with self._register.intents.declared(moved.account) as declared:
            yield Eraser(self._register, Mailbox(str(moved.account), frozenset()), declared, moved=moved)


@final
class Eraser:
    """One run over one mailbox. Made by `Deletions.on`."""

    def __init__(
        self,
        register: HoldRegister,
        mailbox: Mailbox,
        declared: Declared,
        read_traffic: ReadTraffic | None = None,
        moved: MovedAway | None = None,
    ) -> None:
        self._register: Final = register
        self._versions: Final[Versions] = register.versions
        self._mailbox: Final = mailbox
        self._declared: Final = declared
        self._read_traffic: Final = read_traffic
        self._moved: Final = moved

    async def destroy(self, candidates: Sequence[Candidate]) -> Outcome:
        """Delete for good what no hold forbids.

        Raises Corrupt, Unavailable (Moving too), Forbidden: some of it may be gone, none of it was held.
        """
        outcome = Outcome()
        for batch in _batches(candidates):
            outcome.add(await self._batch(batch))
        return outcome

    async def _batch(self, batch: tuple[Candidate, ...]) -> Outcome:
        await self._declared.renew([version for one in batch for version in one.versions])
        deletable, outcome = await self._permitted(batch)
        gone, refused, kept = await self._remove(deletable)
        lifted = tuple(one for one in refused if one in deletable.liftable)
        outcome.locked += [one for one in refused if one not in deletable.liftable]
        outcome.destroyed += gone
        if lifted:
            outcome.add(await self._lift_and_remove(lifted, kept))
        return outcome

    async def _permitted(self, batch: tuple[Candidate, ...]) -> tuple[Deletable, Outcome]:
        """Read the holds, and part the batch by them."""
        outcome = Outcome()
        account = AccountId.parse(self._mailbox.account)
        holds = await self._register.on(account)
        if self._moved is not None:
            # The mailbox and its holds are elsewhere; a lock that was put on here may come off.
            return Deletable(batch, frozenset(batch), mint=_MINT), outcome
        await refuse_while_frozen(self._register.vault, account)
        free: list[Candidate] = []
        liftable: set[Candidate] = set()
        for candidate in batch:
            item = await self._item(candidate, holds)
            now = self._register.clock()
            if forbid := forbidding(holds, self._mailbox, item, now):
                outcome.held.append(HeldBack(candidate, tuple(hold.id for hold in forbid)))
                continue
            free.append(candidate)
            # New mail to a mailbox under hold is locked as it comes in, whatever the hold's query says.
            if any(hold.touches(self._mailbox) for hold in holds):
                liftable.add(candidate)
        return Deletable(tuple(free), frozenset(liftable), mint=_MINT), outcome

    async def _item(self, candidate: Candidate, holds: tuple[Hold, ...]) -> Item:
        """With its traffic data, where a hold's query asks for it."""
        item = candidate.item
        now = self._register.clock()
        asked = any(hold.query and hold.holds(self._mailbox, item, now) for hold in holds)
        if not asked or candidate.message is None or self._read_traffic is None:
            return item
        return replace(item, traffic=await self._read_traffic(candidate.message))

    async def _remove(self, deletable: Deletable) -> tuple[list[Candidate], list[Candidate], set[Version]]:
        """Data first; then markers and tombstones of what is gone. Returns gone, refused, and which
        versions the bucket kept."""
        data = {one: [v for v in one.versions if _is_data(v)] for one in deletable.candidates}
        kept = await self._delete([version for versions in data.values() for version in versions])
        refused = [one for one, versions in data.items() if not kept.isdisjoint(versions)]
        gone = [one for one in deletable.candidates if one not in refused]
        await self._delete([version for one in gone for version in one.versions if not _is_data(version)])
        return gone, refused, kept

    async def _lift_and_remove(self, candidates: tuple[Candidate, ...], kept: set[Version]) -> Outcome:
        """An ended hold's locks come off under the same rule as everything else: declared again,
        and the holds read again, since unlocking takes its time."""
        await self._declared.renew([version for one in candidates for version in one.versions])
        deletable, outcome = await self._permitted(candidates)
        for one in deletable.candidates:
            if one in deletable.liftable:
                await self._unlock([version for version in one.versions if version in kept])
        gone, refused, _ = await self._remove(deletable)
        outcome.destroyed += gone
        outcome.locked += refused
        return outcome

    async def _unlock(self, kept: Sequence[Version]) -> None:
        for version in kept:
            with self._declared.acting() as until:
                in_time(until)
                await self._versions.unlock(version)

    async def _delete(self, versions: Sequence[Version]) -> set[Version]:
        """Ask the bucket; returns what it refused, by its own lock."""
        refused: set[tuple[str, str]] = set()
        for start in range(0, len(versions), PAGE):
            page = versions[start : start + PAGE]
            with self._declared.acting() as until:
                refused |= await self._versions.ask(
                    "delete versions", partial(_delete_objects, versions=page, until=until)
                )
        return {version for version in versions if (version.key, version.id) in refused}


def _is_data(version: Version) -> bool:
    return not version.is_marker and not version.key.startswith(_BESIDE)


def _batches(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    batch: list[Candidate] = []
    size = 0
    for candidate in candidates:
        if batch and size + len(candidate.versions) > BATCH:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(candidate)
        size += len(candidate.versions)
    if batch:
        yield tuple(batch)


def in_time(until: float) -> None:
    """Before a request on a declaration. Raises Unavailable where there is no time left for it."""
    if time.monotonic() >= until:  # the same clock as the loop's
        raise Unavailable("a deletion took too long to begin: it is declared anew by the next run")


def _delete_objects(
    client: S3Client, bucket: str, *, versions: Sequence[Version], until: float
) -> set[tuple[str, str]]:
    """Returns what the bucket's lock kept. Raises Rejected, Unavailable for any other refusal."""
    in_time(until)  # here, since the pool may have been busy
    wanted: list[ObjectIdentifierTypeDef] = [{"Key": one.key, "VersionId": one.id} for one in versions]
    request: DeleteTypeDef = {"Objects": wanted, "Quiet": False}
    answer = client.delete_objects(Bucket=bucket, Delete=request)
    # What the engine does not call deleted is not: moto's errors do not say which version is meant.
    gone = {(one.get("Key", ""), one.get("VersionId", "")) for one in answer.get("Deleted", ())}
    for error in answer.get("Errors", ()):
        code = error.get("Code", "")
        if code in ("NoSuchKey", "NoSuchVersion"):
            gone.add((error.get("Key", ""), error.get("VersionId", "")))
        elif code in ("InternalError", "SlowDown", "ServiceUnavailable"):
            raise Unavailable(f"{bucket}: delete {error.get('Key')}: {code}")
        elif code not in ("AccessDenied", "InvalidRequest"):  # as S3 and others call a locked version
            raise Rejected(f"{bucket}: delete {error.get('Key')}: {code}")
    return {(one.key, one.id) for one in versions} - gone
