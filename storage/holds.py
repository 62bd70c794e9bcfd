"""The hold register of a region: what must not be deleted there, and who said so.

    holds/<account>/<hold>.json   a hold on one account
    holds/wide/<hold>.json        a hold on a domain or a matter: every deletion reads these too
    holds/index/<hold>.json       where a hold's document lies

The order of writing when a hold is placed, and what follows where we crash:

    1. the index entry            it leads nowhere yet, and `get` says that there is no such hold
    2. the hold                   every deletion that declares itself from now on obeys it
    3. waiting for deletions      those that were under way are over (`storage.intents`)
    4. the audit entry            the hold stands in the log; `place` returns

After 2 the hold is never taken back: if 3 or 4 fails, the caller is told so, the hold keeps, and
placing it again under the same reference completes it. A release goes the other way round: first
the log, then the document, so that nothing is let go that the log does not know of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from policy.clearance import Clearance
from policy.hold import (
    Basis,
    Hold,
    HoldId,
    HoldScope,
    MailboxScope,
    MatterScope,
    OrderBasis,
    Proposal,
    confirm_end,
    enrol,
    prolong,
    propose_end,
    reject_end,
    require_placer,
)
from policy.hold_query import TrafficQuery
from policy.lawbook import Lawbook
from policy.order import Timespan
from policy.prolongation import require_lawful
from policy.rules import AtExpiry
from storage.accounts import account_key
from storage.audit.entry import Entry, Event
from storage.audit.pseudonym import Pseudonyms
from storage.audit.recorded import Ledger
from storage.bookkeeping import discard_unplaced
from storage.errors import AlreadyExists, Conflict, Corrupt, NotFound, StorageError, Unavailable
from storage.hold_documents import read_hold, write_hold
from storage.identity import AccountId, Clock, MessageIds
from storage.in_order import as_stream, in_order
from storage.intents import Intents
from storage.objects import ETag, Listed
from storage.vault import Vault
from storage.versions import Versions

_WIDE: Final = "holds/wide/"
_INDEX: Final = "holds/index/"
_IDS: Final = MessageIds()
_LOCKS_AT_ONCE: Final = 16
_LOOKS_AT_ONCE: Final = 16


class Held(StorageError):
    """A hold forbids it. `holds` are the references, for those who are cleared to know them."""

    def __init__(self, what: str, holds: tuple[HoldId, ...]) -> None:
        super().__init__(f"{what}: refused, under legal hold")
        self.holds: Final = holds


class Elsewhere(Unavailable):
    """The mailbox is not, or no longer, at home in this region: look for it again."""


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """What a hold is to keep, why, and until when."""

    scope: HoldScope
    basis: Basis
    timespan: Timespan | None = None
    query: TrafficQuery | None = None
    matter: str | None = None
    until: datetime | None = None
    at_expiry: AtExpiry = AtExpiry.LAPSE


@final
class HoldRegister:
    """One region's holds. Any number of processes may work on them."""

    def __init__(
        self,
        vault: Vault,
        versions: Versions,
        log: Ledger,
        pseudonyms: Pseudonyms,
        clock: Clock,
    ) -> None:
        self.vault: Final = vault
        self.versions: Final = versions
        self.intents: Final = Intents(vault, versions, clock)
        self.log: Final = log
        self.pseudonyms: Final = pseudonyms
        self.clock: Final = clock
        self._known: Final[dict[str, tuple[ETag, Hold]]] = {}

    async def place(self, terms: Terms, by: Clearance, *, reference: HoldId | None = None) -> Hold:
        """Place a hold. When this returns, no deletion of anything in scope can still take effect.

        The same `reference` again completes what was begun, and gives the hold that stands.

        Raises NotCleared, HoldError; AlreadyExists where the reference is another hold's; Elsewhere for
        a mailbox that is not here, or of a matter's mailboxes one that has left meanwhile (its message
        says that the others are held);
        Unavailable (LogUnavailable too), Corrupt, Forbidden: the hold may be in force, and the
        caller has to try again under the same reference until it is told so.
        """
        require_placer(by, by.region, terms.basis)
        now = self.clock()
        hold = Hold(
            id=reference or HoldId(_IDS.issue(now).value),
            region=by.region,
            scope=terms.scope,
            basis=terms.basis,
            placed_by=by.operator.name,
            placed_at=now,
            timespan=terms.timespan,
            query=terms.query,
            matter=terms.matter,
            until=terms.until,
            at_expiry=terms.at_expiry,
        )
        if await self._not_here(_named(hold)):
            raise Elsewhere("there is no such mailbox in this region")
        hold = await self._write(hold)
        await self._settle(hold)
        left = await self._not_here(_named(hold))
        if left and isinstance(hold.scope, MailboxScope):
            # It moved away, or was erased, before the hold could be seen. (A move that was still
            # on its way has seen it, and has taken it along: `storage.relocation`.)
            await discard_unplaced(self.versions, (_document_key(hold), index_key(hold.id)))
            raise Elsewhere("the mailbox left this region while the hold was being placed")
        # Repeated only where the first call may have died before it: two entries for one hold tell
        # the truth, none would not.
        await self._record(Event.HOLD_PLACED, hold, by.operator.name)
        if left:
            raise Elsewhere(
                f"hold {hold.id} is in force, but {left} of its {len(_named(hold))} mailboxes left this "
                "region while it was being placed: place a hold on each where it is now"
            )
        return hold

    async def adopt(self, hold: Hold) -> None:
        """Take over a hold with the mailbox that has moved here, in force or ended. Twice is once.

        Raises Unavailable, Corrupt, Forbidden, and AlreadyExists where the reference is another's.
        """
        await self._write(hold)
        if hold.keeps(self.clock()):
            await self._settle(hold)
            await self._record(Event.HOLD_PLACED, hold, hold.placed_by)

    async def get(self, reference: HoldId) -> Hold:
        """Raises NotFound, Corrupt, Unavailable."""
        return (await self._find(reference))[1]

    async def list(self, *, after: HoldId | None = None) -> AsyncIterator[Hold]:
        """Every hold of the region, ended ones too, in the order of placing."""
        start = index_key(after) if after else None
        async for listed in self.vault.list(_INDEX, start_after=start):
            try:
                yield await self.get(HoldId.parse(_name(listed.key)))
            except NotFound:
                continue  # its placing was begun and not ended

    async def on(self, account: AccountId) -> tuple[Hold, ...]:
        """Every hold that may concern an account, ended ones too, as the register stands now:
        what was written before this call began is seen. Which of them do is `policy.hold`'s.

        Raises Corrupt, Unavailable, Forbidden: then nothing may be deleted.
        """
        own, wide = await asyncio.gather(self._under(f"holds/{account}/"), self._under(_WIDE))
        return (*own, *wide)

    async def propose_end(
        self, reference: HoldId, by: Clearance, reason: str, *, until: datetime | None = None
    ) -> Hold:
        """The first of two: release, or shorten to `until`. Raises as `policy.hold.propose_end`."""
        return await self._change(
            reference,
            by,
            Event.HOLD_CHANGED,
            lambda hold, now: propose_end(hold, by, reason, now, until=until),
        )

    async def confirm_end(self, reference: HoldId, by: Clearance, seen: Proposal | None = None) -> Hold:
        """The second of two. Raises as `policy.hold.confirm_end`: SamePerson, HoldState.

        `seen` is held against what stands when the hold is changed: what was proposed when it was looked at
        may have been taken back, and something else been proposed, by the same first person.
        """
        return await self._change(
            reference, by, Event.HOLD_RELEASED, lambda hold, now: confirm_end(hold, by, now, seen)
        )

    async def reject_end(self, reference: HoldId, by: Clearance) -> Hold:
        """Take a proposal off the table. Raises as `policy.hold.reject_end`."""
        return await self._change(reference, by, Event.HOLD_CHANGED, lambda hold, _: reject_end(hold, by))

    async def prolong(
        self, reference: HoldId, by: Clearance, until: datetime | None, lawbook: Lawbook | None = None
    ) -> Hold:
        """A later end, or none. Raises as `policy.hold.prolong`; with a `lawbook`, as `require_lawful` too.

        Both are asked of the hold that is changed: what was read before may be another's to prolong.
        """

        def later(hold: Hold, now: datetime) -> Hold:
            if lawbook is not None:
                require_lawful(hold, until, lawbook)
            return prolong(hold, by, until, now)

        return await self._change(reference, by, Event.HOLD_CHANGED, later)

    async def enrol(self, reference: HoldId, by: Clearance, account: AccountId) -> Hold:
        """One more account in a matter's hold: in force for it when this returns, as in `place`.

        Raises as `policy.hold.enrol`, and as `place`.
        """
        if await self._not_here([account]):
            raise Elsewhere("there is no such mailbox in this region")
        hold = await self._change(
            reference, by, Event.HOLD_CHANGED, lambda hold, now: enrol(hold, by, str(account), now)
        )
        await self._settle(hold)
        if await self._not_here([account]):
            raise Elsewhere("the mailbox left this region while it was being enrolled")
        return hold

    async def _write(self, hold: Hold) -> Hold:
        """Steps 1 and 2. What stands under the reference already must be the same hold."""
        where = _document_key(hold)
        index = index_key(hold.id)
        try:
            await self.vault.put_if_absent(index, json.dumps({"document": where}).encode())
        except AlreadyExists:
            if json.loads((await self.vault.get(index)).body) != {"document": where}:
                raise
        try:
            await self.vault.put_if_absent(where, write_hold(hold))
        except AlreadyExists:
            standing = await self.get(hold.id)
            if (standing.scope, standing.basis) != (hold.scope, hold.basis):
                raise
            return standing
        return hold

    async def _not_here(self, accounts: Collection[AccountId]) -> int:
        """How many of the accounts have no record in this region."""

        async def is_here(account: AccountId) -> bool:
            key = account_key(account)
            return any([one.key == key async for one in self.vault.list(key.rpartition("/")[0] + "/")])

        here = in_order(as_stream(accounts), is_here, _LOOKS_AT_ONCE)
        return sum([not one async for one in here])

    async def _settle(self, hold: Hold) -> None:
        """Step 3. Versions that a silent deleter may still be after get the bucket's own lock."""
        account = AccountId(hold.scope.account) if isinstance(hold.scope, MailboxScope) else None
        left = await self.intents.drained(account)
        for start in range(0, len(left), _LOCKS_AT_ONCE):
            await asyncio.gather(*map(self.versions.lock, left[start : start + _LOCKS_AT_ONCE]))

    async def _change(
        self, reference: HoldId, by: Clearance, event: Event, change: Callable[[Hold, datetime], Hold]
    ) -> Hold:
        """The log first: an entry for a change that then fails tells of an attempt, and is true as such."""
        while True:
            key, before, etag = await self._find(reference)
            after = change(before, self.clock())
            released = after.release is not None or event is not Event.HOLD_RELEASED
            await self._record(event if released else Event.HOLD_CHANGED, after, by.operator.name)
            try:
                await self.vault.compare_and_swap(key, write_hold(after), etag)
            except Conflict:
                continue
            return after

    async def _find(self, reference: HoldId) -> tuple[str, Hold, ETag]:
        index = index_key(reference)
        try:
            where = json.loads((await self.vault.get(index)).body)["document"]
        except (ValueError, KeyError, TypeError):
            raise Corrupt(index, "not the index entry of a hold") from None
        blob = await self.vault.get(where)
        return where, read_hold(where, blob.body), blob.etag

    async def _under(self, prefix: str) -> tuple[Hold, ...]:
        listed = [one async for one in self.vault.list(prefix)]
        return tuple(await asyncio.gather(*map(self._load, listed)))

    async def _load(self, listed: Listed) -> Hold:
        known = self._known.get(listed.key)
        if known is None or known[0] != listed.etag:
            # A hold is never deleted: NotFound here is a register that cannot be believed.
            try:
                blob = await self.vault.get(listed.key)
            except NotFound:
                raise Corrupt(listed.key, "listed, and not there") from None
            known = (blob.etag, read_hold(listed.key, blob.body))
            self._known[listed.key] = known
        return known[1]

    async def _record(self, event: Event, hold: Hold, operator: str) -> None:
        order = hold.basis if isinstance(hold.basis, OrderBasis) else None
        account = hold.scope.account if isinstance(hold.scope, MailboxScope) else None
        await self.log.append(
            Entry(
                time=self.clock(),
                event=event,
                region=hold.region,
                hold=str(hold.id),
                operator=self.pseudonyms.operator(operator),
                account=account and self.pseudonyms.account(account),
                instrument=order.instrument if order else None,
                issuer=order.issuer if order else None,
            )
        )


def _named(hold: Hold) -> tuple[AccountId, ...]:
    """The accounts that a hold names, which have to be at home where it is placed."""
    match hold.scope:
        case MailboxScope(account=account):
            return (AccountId.parse(account),)
        case MatterScope(accounts=accounts):
            return tuple(map(AccountId.parse, sorted(accounts)))
        case _:
            return ()


def index_key(reference: HoldId) -> str:
    """Where it is written which document is a hold's."""
    return f"{_INDEX}{reference}.json"


def _document_key(hold: Hold) -> str:
    if isinstance(hold.scope, MailboxScope):
        return f"holds/{hold.scope.account}/{hold.id}.json"
    return f"{_WIDE}{hold.id}.json"


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
