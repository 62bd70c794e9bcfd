"""Moving home: every message checked and sealed anew, one instant at which the home changes, and
nothing left behind.

The life of a move from A to B, and what follows where we crash:

    1. refused under hold or while a disclosure is open          nothing has happened
    2. `moves/<account>.json` in A (COPYING)                     run again: it goes on at 3
    3. the account's keys in B; each message opened, checked
       against its digest, sealed to the new keys, put in B      B has copies of a mailbox that is at
                                                                 home in A; run again, they are compared
    4. FROZEN: A's directory record takes no mail for now, and
       nothing of the account is deleted; what was under way
       comes to its end                                          senders are told to try again meanwhile
    5. A and B are compared, message by message, and made equal;
       the subscriber record comes last                          run again: compared again
    6. declared like a deletion, holds and disclosures asked for
       once more; both logs; **the directory's record: the
       mailbox is at home in B**                                 the registrar's record says which it is
    7. FLIPPED: every version of everything in A is destroyed    B is home; run again: it goes on
    8. the record of the move is taken away                      done

A hold that is placed while a mailbox moves is either seen at 6, and the move is given up (B's copies
are destroyed, A works again), or its placing waits for 6 (`storage.intents`) and then finds the mailbox in
B (`storage.placing`). What was written into A's register in between is carried over before 7.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import Hold, HoldId, Mailbox, MailboxScope, MatterScope
from storage.accounts import SubscriberRecord
from storage.audit.entry import Entry, Event
from storage.audit.records import RecordRoom
from storage.bookkeeping import discard
from storage.coverage import Coverer
from storage.deletion import in_time
from storage.directory import Directory
from storage.erasure import SETTLE, is_being_erased
from storage.errors import StorageError
from storage.holds import Held, HoldRegister
from storage.identity import AccountId
from storage.keys import PublicKeys
from storage.leftovers import clear_away, clear_away_messages
from storage.located import AccountStatus, Located
from storage.mailboxes import mailbox_of
from storage.moving import CLAIM, Move, MovedAway, MoveRecord, Phase, move_key, prove_moved_away, read_move
from storage.record_keys import forget_where_it_lived, leave_record_keys
from storage.region import RegionStore
from storage.transfer import Transfer
from storage.unheld import refuse_if_held

_REASON_LIMIT: Final = 1000


class MoveRefused(StorageError):
    """The account cannot be moved as asked. The message says why."""


class ReasonExpected(MoveRefused):
    """No reason was given that a record could keep."""


class DisclosureOpen(MoveRefused):
    """A disclosure of this mailbox is open: it is decided by the law of where the mailbox is now."""


class BeingErased(MoveRefused):
    """An erasure of this account was begun: it is brought to its end where the account is."""


@final
@dataclass(frozen=True, slots=True)
class Site:
    """A region as a move needs it: where mail lies, and what is held there."""

    store: RegionStore
    register: HoldRegister


@final
@dataclass(frozen=True, slots=True)
class Report:
    """How a move stands: its phase, and how many messages this run has compared or carried in it."""

    phase: Phase
    messages: int = 0


SiteOf = Callable[[RegionCode], Awaitable[Site]]
IsOpen = Callable[[Located], Awaitable[bool]]
Progress = Callable[[Report], None]


@final
class Relocation:
    """Moves accounts between the regions that this process serves, with the key services of both."""

    def __init__(
        self,
        directory: Directory,
        regions: Sequence[RegionCode],
        site: SiteOf,
        is_disclosure_open: IsOpen,
        *,
        settle: float = SETTLE,
    ) -> None:
        """`settle` in seconds: how long a delivery may still be under way after the freeze."""
        self._directory: Final = directory
        self._regions: Final = regions
        self._site: Final = site
        self._is_disclosure_open: Final = is_disclosure_open
        self._settle: Final = settle

    async def move(
        self,
        address: Address,
        to: RegionCode,
        reason: str,
        operator: str,
        progress: Progress = lambda _: None,
    ) -> None:
        """Move a mailbox, or go on with a move that was begun. Returns when nothing is left behind.

        Raises MoveRefused, DisclosureOpen; Held; UnknownAddress; Moving where somebody else is at
        it; Corrupt for a message that is not what its digest says; Unavailable, Forbidden.
        """
        if not reason.strip() or len(reason) > _REASON_LIMIT or not reason.isprintable():
            raise ReasonExpected(f"a reason of 1 to {_REASON_LIMIT} printable characters is expected")
        located = await self._directory.find(address)
        wanted = await self._under_way(located.account)
        if wanted is None:
            if located.home.code == to:
                raise MoveRefused(f"the mailbox is at home in {to} already")
            wanted = await self._begin(located, to, reason, operator)
        elif wanted.goes_to != to:
            raise MoveRefused(f"the mailbox is on its way to {wanted.goes_to}: finish that move first")
        old, new = await self._site(wanted.leaves), await self._site(wanted.goes_to)
        by = replace(wanted, by=secrets.token_hex(8))
        record = await MoveRecord.open(old.register.vault, by, old.register.clock)
        run = _Run(self._directory, old, new, record, self._is_disclosure_open, self._settle, progress)
        await run.to_the_end()

    async def _under_way(self, account: AccountId) -> Move | None:
        for code in self._regions:
            found = await read_move((await self._site(code)).register.vault, account)
            if found is not None:
                return found[0]
        return None

    async def _begin(self, located: Located, to: RegionCode, reason: str, operator: str) -> Move:
        old = await self._site(located.home.code)
        await self._site(to)  # Unavailable before anything has happened
        await _refuse_if_being_erased(old, located.account)
        mailbox = await mailbox_of(old.store, located.account)
        await refuse_if_held(old.register, mailbox, "move", operator)
        if await self._is_disclosure_open(located):
            raise DisclosureOpen("a disclosure of this mailbox is open")
        subscriber = await SubscriberRecord(old.store, located.account).read()
        now = old.register.clock()
        return Move(
            account=located.account,
            address=subscriber.address,
            leaves=located.home.code,
            goes_to=to,
            reason=reason,
            operator=operator,
            begun=now,
            status=located.status,
            phase=Phase.COPYING,
            by="",
            until=now - CLAIM,
        )


async def _refuse_if_being_erased(home: Site, account: AccountId) -> None:
    if await is_being_erased(home.register.vault, account):
        raise BeingErased("the account is being erased, or has been: `situs account erase` ends that")


@final
class _Run:
    """One process's work on one move."""

    def __init__(
        self,
        directory: Directory,
        old: Site,
        new: Site,
        record: MoveRecord,
        is_disclosure_open: IsOpen,
        settle: float,
        progress: Progress,
    ) -> None:
        self._directory: Final = directory
        self._old: Final = old
        self._new: Final = new
        self._record: Final = record
        self._is_disclosure_open: Final = is_disclosure_open
        self._settle: Final = settle
        self._progress: Final = progress
        self._account: Final = record.move.account
        self._address: Final = record.move.address

    async def to_the_end(self) -> None:
        home = (await self._directory.home_now(self._address)).home.code
        if home == self._record.move.goes_to:
            # The process before us died between the flip and its note of it.
            await self._record.renew(Phase.FLIPPED)
        if self._record.move.phase is not Phase.FLIPPED:
            try:
                await self._to_the_flip()
            except (Held, DisclosureOpen, BeingErased):
                await self._give_up()
                raise
        await self._clear()

    async def _to_the_flip(self) -> None:
        """Steps 3 to 6."""
        transfer = await Transfer.open(
            self._old.store,
            self._new.store,
            (self._old.register.vault, self._new.register.vault),
            self._account,
            self._record,
        )
        if self._record.move.phase is Phase.COPYING:
            await transfer.copy(self._ticker(Phase.COPYING))
            await self._refuse()
        await self._freeze()
        surplus = await transfer.copy(self._ticker(Phase.FROZEN))
        if surplus:  # deleted in the old home after it was copied
            proof = await self._not_at_home_in_the_new()
            await clear_away_messages(self._new.register, proof, self._record.still_ours, surplus)
        await transfer.copy_documents()
        await self._flip(transfer)

    async def _freeze(self) -> None:
        """Step 4: from here on the mailbox is the same whenever it is looked at."""
        await self._record.renew(Phase.FROZEN)
        if self._record.move.status is AccountStatus.ACTIVE:
            await self._directory.suspend(self._address)
        # A region that was not told of the freeze would go on sending mail to the old home, after
        # the flip too. One that misses only the flip refuses for now.
        await self._directory.confirm(self._address)
        await asyncio.sleep(self._settle)
        await self._old.register.intents.drained(self._account)
        await self._record.renew()

    async def _flip(self, transfer: Transfer) -> None:
        """Step 6. A hold that is not seen here waits until the declaration is withdrawn."""
        move = self._record.move
        async with self._old.register.intents.declared(self._account) as declared:
            await declared.renew()
            stands = await self._refuse()
            await self._tell_both_logs(stands.keys, transfer.keys)
            held = await self._held_there(await mailbox_of(self._old.store, self._account))
            await self._record.still_ours()
            with declared.acting() as until:
                in_time(until)
                await self._directory.rehome(
                    self._address, self._new.store.region, transfer.keys, move.status, legal_hold=bool(held)
                )
        await self._record.renew(Phase.FLIPPED)

    async def _held_there(self, mailbox: Mailbox) -> list[HoldId]:
        """A domain's hold in the new home keeps whoever comes to live there."""
        now = self._new.register.clock()
        holds = await self._new.register.on(self._account)
        return [hold.id for hold in holds if hold.keeps(now) and hold.touches(mailbox)]

    async def _refuse(self) -> Located:
        """The account as the directory has it now. Raises Held, DisclosureOpen, BeingErased."""
        mailbox = await mailbox_of(self._old.store, self._account)
        await refuse_if_held(self._old.register, mailbox, "move", self._record.move.operator)
        stands = await self._directory.home_now(self._address)
        if await self._is_disclosure_open(stands):
            raise DisclosureOpen("a disclosure of this mailbox is open")
        await _refuse_if_being_erased(self._old, self._account)
        return stands

    async def _tell_both_logs(self, was: PublicKeys, keys: PublicKeys) -> None:
        """The reason stands in the sealed record of each region, its digest in each log. Sealed to the
        account's keys in that region, which the one who leaves leaves there."""
        move = self._record.move
        full = {
            "event": "account.moved",
            "account": str(move.account),
            "leaves": str(move.leaves),
            "goes_to": str(move.goes_to),
            "reason": move.reason,
            "operator": move.operator,
            "begun": move.begun.isoformat(),
        }
        for site, public in ((self._old, was), (self._new, keys)):
            room = RecordRoom(site.store, site.register.vault)
            digest = await room.keep(full, about=(self._account, public))
            pseudonyms = site.register.pseudonyms
            await site.register.log.append(
                Entry(
                    time=site.register.clock(),
                    event=Event.ACCOUNT_MOVED,
                    region=site.store.region.code,
                    account=pseudonyms.account(move.account),
                    operator=pseudonyms.operator(move.operator),
                    record=digest,
                )
            )

    async def _give_up(self) -> None:
        """The mailbox stays where it is, works as before, and the copies are taken away again."""
        if self._record.move.status is AccountStatus.ACTIVE:
            await self._directory.resume(self._address)
        proof = await self._not_at_home_in_the_new()
        await clear_away(self._new.register, proof, self._record.still_ours)
        await forget_where_it_lived(self._new.register.versions, self._account)
        await discard(self._old.register.versions, move_key(self._account))

    async def _not_at_home_in_the_new(self) -> MovedAway:
        """The mailbox has not come to live there: proven with the registrar."""
        new = self._new.store.region.code
        return await prove_moved_away(self._directory, self._address, self._account, new)

    async def _clear(self) -> None:
        """Steps 7 and 8."""
        old = self._old.store.region.code
        proof = await prove_moved_away(self._directory, self._address, self._account, old)
        # The bucket's lock has to go over what has come in, and new mail to be written with it.
        coverer = Coverer(self._new.store, self._new.register)
        for hold in await self._held_there(await mailbox_of(self._new.store, self._account)):
            await coverer.begin_anew(hold)
        tick = self._ticker(Phase.FLIPPED)
        await self._record.still_ours()
        await leave_record_keys(self._old.store, self._account)
        left = True
        while left:
            carried = await self._carry_holds_over()
            left = await clear_away(
                self._old.register, proof, self._record.still_ours, carried=carried, progress=tick
            )
        # Of processes that died here. Nothing is left that a request of theirs could still delete.
        async for intent in self._old.register.intents.standing(self._account):
            await self._old.register.intents.remove(intent.key)
        await discard(self._old.register.versions, f"sweeps/{self._account}")
        await forget_where_it_lived(self._old.register.versions, self._account)
        await discard(self._old.register.versions, move_key(self._account))

    async def _carry_holds_over(self) -> frozenset[HoldId]:
        """Ended holds are the account's history and go with it; one that was written into the old
        register while the mailbox moved is in force where the mailbox is."""
        now = self._old.register.clock()
        new = self._new.store.region.code
        carried = set()
        for hold in await self._old.register.on(self._account):
            match hold.scope:
                case MailboxScope():
                    region = new if hold.keeps(now) else hold.region
                    await self._new.register.adopt(replace(hold, region=region))
                    carried.add(hold.id)
                case MatterScope(accounts=accounts) if str(self._account) in accounts and hold.keeps(now):
                    await self._new.register.adopt(self._alone(hold))
                case _:
                    pass  # a domain's hold is about the accounts of its region
        return frozenset(carried)

    def _alone(self, hold: Hold) -> Hold:
        """A matter's hold for this one account, under a reference that follows from both."""
        reference = hashlib.sha256(f"{hold.id} {self._account}".encode()).hexdigest()[:32]
        scope = MailboxScope(str(self._account), self._address)
        region = self._new.store.region.code
        return replace(hold, id=HoldId(reference), scope=scope, region=region, proposal=None)

    def _ticker(self, phase: Phase) -> Callable[[], None]:
        count = 0
        self._progress(Report(phase))

        def tick() -> None:
            nonlocal count
            count += 1
            self._progress(Report(phase, count))

        return tick
