"""The belt to the braces: S3 Object Lock's legal hold on every version that a hold covers.

The register keeps what is held from the moment that placing returns. This puts the bucket's own
lock on it as well, in the background, so that neither a fault of ours nor another tool can delete
it: present objects here, future ones as they are written (`storage.mailbox.append`, which learns
from the directory's record that an account is under hold).

A pass works in key order, writes down how far it came (`holds/coverage/<hold>.json`) and resumes
there. To take a lock off is nobody's business but a deletion's, when a hold has ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, final

from policy.hold import Hold, HoldId, Item, Mailbox, MailboxScope, MatterScope
from policy.rules import AtExpiry
from storage.accounts import account_key
from storage.errors import Conflict, Corrupt, NotFound
from storage.hold_documents import write_hold
from storage.holds import HoldRegister
from storage.identity import AccountId, IdentityError, KeyRange, MessageId
from storage.in_order import as_stream, in_order
from storage.keyring import Keyholder
from storage.mailboxes import accounts_at_home, mailbox_of
from storage.opening import Opener
from storage.region import RegionStore
from storage.versions import Version

_PREFIX: Final = "holds/coverage/"
_SAVE_EVERY: Final = 2000  # objects: a crash repeats at most so many


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """How far the bucket's lock has come: `covered` versions of `total` that were found in scope.

    `complete` is when a pass last came to its end; what came in since is locked as it was written.
    `marked` is when the directory was told to have new mail locked; `terms` stands for what the hold
    covered at the time: another scope, and everything is to be gone through again.
    """

    covered: int = 0
    total: int = 0
    complete: datetime | None = None
    position: str = ""
    marked: datetime | None = None
    terms: str = ""

    @property
    def status(self) -> str:
        """In the words of ETSI TS 103 120."""
        return "Preserved" if self.complete is not None else "AwaitingPreservation"


@dataclass(slots=True)
class Proof:
    """What the bucket answered for each version in scope. `missing` are not locked (keys hold ids,
    never addresses); a version that went between listing and asking counts nowhere."""

    locked: int = 0
    missing: list[Version] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.locked + len(self.missing)


Progress = Callable[[Coverage], None]


@final
class Coverer:
    """Puts the bucket's lock on what one region's holds cover. Needs the region's key service."""

    def __init__(self, store: RegionStore, register: HoldRegister) -> None:
        self._store: Final = store
        self._register: Final = register
        self._versions: Final = register.versions

    async def stands(self, hold: HoldId) -> Coverage:
        """How far the lock has come, as last written down."""
        try:
            return _read(_key(hold), (await self._register.vault.get(_key(hold))).body)
        except NotFound:
            return Coverage()

    async def cover(self, reference: HoldId, progress: Progress = lambda _: None) -> Coverage:
        """Lock every version in scope, from where the last pass stopped. Done twice, it is done.

        Raises Unavailable, Forbidden, Corrupt: what is locked so far stays locked.
        """
        hold = await self._register.get(reference)
        stands = await self.stands(reference)
        if stands.complete is not None or stands.terms != terms_of(hold):
            # A new pass: a timespan may have been filled by an import meanwhile.
            stands = Coverage(marked=stands.marked, terms=terms_of(hold))
        if not stands.total:
            stands = replace(stands, total=await self._count(hold))
        saved = stands.covered
        locked = in_order(self._in_scope(hold, stands.position), self._lock, self._versions.at_once)
        async for version in locked:
            covered = stands.covered + 1
            stands = replace(stands, covered=covered, total=max(stands.total, covered), position=version.key)
            if covered - saved >= _SAVE_EVERY:
                await self._save(reference, stands)
                saved = covered
            progress(stands)
        now = self._register.clock()
        stands = replace(stands, total=stands.covered, complete=now, position="")
        await self._save(reference, stands)
        progress(stands)
        return stands

    async def mark(self, hold: Hold, told: datetime | None) -> None:
        """Write down when the directory was told of the hold (None: that it was told of its end)."""
        await self._save(hold.id, replace(await self.stands(hold.id), marked=told))

    async def begin_anew(self, hold: HoldId) -> None:
        """A mailbox has come under the hold with its mail in it: nothing that was covered is proof now.

        The move has told the directory of it; that stays written down, or nobody would tell of its end.

        A pass that is under way at this moment may say that it came to its end all the same; a domain is
        looked through again after an hour (`storage.keeping`), and `prove` asks the bucket.
        """
        await self._save(hold, Coverage(marked=self._register.clock()))

    async def accounts(self, hold: Hold) -> AsyncIterator[Mailbox]:
        """The mailboxes at home here that the hold touches, as of now."""
        async for mailbox in self._touched(hold):
            yield mailbox

    async def prove(self, reference: HoldId, progress: Callable[[Proof], None] = lambda _: None) -> Proof:
        """Ask the bucket about every version in scope. Raises Unavailable, Forbidden, Corrupt."""
        hold = await self._register.get(reference)
        proof = Proof()

        async def ask(version: Version) -> tuple[Version, bool | None]:
            return version, await self._versions.is_locked(version)

        async for version, locked in in_order(self._in_scope(hold, ""), ask, self._versions.at_once):
            if locked:
                proof.locked += 1
            elif locked is False:
                proof.missing.append(version)
            progress(proof)
        return proof

    async def _lock(self, version: Version) -> Version:
        await self._versions.lock(version)
        return version

    async def _in_scope(self, hold: Hold, position: str) -> AsyncIterator[Version]:
        """The versions that the hold covers, in key order within an account, accounts in order.

        `position` is a key to go on after; its account is taken up again at that key.
        """
        reached = AccountId.parse(position.split("/")[1]) if position else None
        async for mailbox in self._touched(hold):
            account = AccountId.parse(mailbox.account)
            if reached is not None and account < reached:
                continue
            start = position if account == reached else ""
            if not start.startswith("mail/"):
                for key in (account_key(account), Keyholder(hold.region, account).key):
                    for version in await self._versions.of(key):
                        if not version.is_marker:
                            yield version
            async for version in self._mail_in_scope(hold, mailbox, start):
                yield version

    async def _mail_in_scope(self, hold: Hold, mailbox: Mailbox, start: str) -> AsyncIterator[Version]:
        account = AccountId.parse(mailbox.account)
        prefix = f"mail/{account}/"
        wanted = KeyRange.of(hold.timespan)
        opener = Opener(self._store, account)

        async def matches(version: Version) -> tuple[Version, bool]:
            return version, await self._covers(hold, opener, version)

        async def data() -> AsyncIterator[Version]:
            after = start if start.startswith(prefix) else prefix + wanted.after
            async for version in self._versions.list(prefix, start_after=after):
                if version.key >= prefix + wanted.before:
                    return
                if not version.is_marker:
                    yield version

        if hold.query is None:
            async for version in data():  # the key says it all
                if await self._covers(hold, opener, version):
                    yield version
            return
        async for version, covered in in_order(data(), matches, self._versions.at_once):
            if covered:
                yield version

    async def _count(self, hold: Hold) -> int:
        """How many versions there are to lock, about: what `n of m` is told with until the pass has
        come to its end. Keys in a listing are ten times faster to count than versions; a query has
        to read every message's traffic data, so that all that may be meant are counted."""
        total = 0
        wanted = KeyRange.of(hold.timespan)
        async for mailbox in self._touched(hold):
            prefix = f"mail/{mailbox.account}/"
            total += 2  # the account's record and its keys
            async with aclosing(self._store.mail.list(prefix, start_after=prefix + wanted.after)) as keys:
                async for listed in keys:
                    if listed.key >= prefix + wanted.before:
                        break
                    total += 1
        return total

    async def _covers(self, hold: Hold, opener: Opener, version: Version) -> bool:
        try:
            message = MessageId.parse(version.key.rpartition("/")[2])
        except IdentityError:
            return True  # whatever it is, it lies in a mailbox under hold
        item = Item(message.received_at)
        if hold.query is not None and hold.covers(item):
            item = replace(item, traffic=await opener.traffic_if_known(message))
        return hold.covers(item)

    async def _touched(self, hold: Hold) -> AsyncIterator[Mailbox]:
        match hold.scope:
            case MailboxScope(account=account):
                accounts = as_stream([AccountId.parse(account)])
            case MatterScope(accounts=several):
                accounts = as_stream(sorted(map(AccountId.parse, several)))
            case _:
                accounts = accounts_at_home(self._store)
        async for one in accounts:
            with suppress(NotFound):  # an account that has moved away, or was never quite made
                mailbox = await mailbox_of(self._store, one)
                if hold.touches(mailbox):
                    yield mailbox

    async def _save(self, hold: HoldId, stands: Coverage) -> None:
        key = _key(hold)
        try:
            etag = (await self._register.vault.get(key)).etag
        except NotFound:
            etag = None
        # Two that cover one hold at once both lock; whose note stands does not matter.
        with suppress(Conflict):
            await self._register.vault.compare_and_swap(key, _write(stands), etag)


def terms_of(hold: Hold) -> str:
    """What stands for a hold's scope: it changes when, say, a matter takes in another account."""
    scope = write_hold(replace(hold, until=None, at_expiry=AtExpiry.LAPSE, proposal=None, release=None))
    return hashlib.sha256(scope).hexdigest()


def _key(hold: HoldId) -> str:
    return f"{_PREFIX}{hold}.json"


def _write(stands: Coverage) -> bytes:
    return json.dumps(
        {
            "version": 1,
            "covered": stands.covered,
            "total": stands.total,
            "complete": stands.complete.isoformat() if stands.complete else None,
            "position": stands.position,
            "marked": stands.marked.isoformat() if stands.marked else None,
            "terms": stands.terms,
        }
    ).encode()


def _read(key: str, body: bytes) -> Coverage:
    try:
        found = json.loads(body)
        complete, marked = found["complete"], found["marked"]
        return Coverage(
            int(found["covered"]),
            int(found["total"]),
            datetime.fromisoformat(complete) if complete else None,
            str(found["position"]),
            datetime.fromisoformat(marked) if marked else None,
            str(found["terms"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(key, f"not a note of a hold's coverage ({error})") from None
