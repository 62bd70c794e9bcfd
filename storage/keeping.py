"""What goes on behind a hold for as long as it lasts: the bucket's lock on what is there, and on what
comes in.

A pass over the register, which any process that serves the region may make, again and again:

    hold in force, and the directory does not know     tell it: new mail is written with the lock on
    hold in force, and not everything is locked        lock it (`storage.coverage`)
    hold ended, and the directory still believes it    tell it so, where no other hold is in force

An ingress process notices within `SETTLE` seconds what the directory was told. A first pass over the
objects that came to its end sooner is followed by a second, for what came in between.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol, final

import structlog

from policy.address import Address
from policy.hold import DomainScope, Hold, Mailbox
from storage.coverage import Coverage, Coverer, terms_of
from storage.erasure import SETTLE
from storage.errors import StorageError, UnknownAddress
from storage.holds import HoldRegister
from storage.identity import AccountId
from storage.region import RegionStore

# New accounts of a domain under hold are found by looking.
_LOOK_AGAIN: Final = timedelta(hours=1)

_log: Final = structlog.get_logger("situs.holds")

Progress = Callable[[Hold, Coverage], None]


class Marks(Protocol):
    """Where ingress learns that a mailbox is under hold: `storage.directory.Directory`."""

    async def set_legal_hold(self, address: Address, held: bool) -> None:
        """Raises UnknownAddress, Unavailable."""
        ...


@final
class HoldKeeper:
    """Keeps one region's holds covered."""

    def __init__(self, store: RegionStore, register: HoldRegister, marks: Marks) -> None:
        self._register: Final = register
        self._coverer: Final = Coverer(store, register)
        self._marks: Final = marks

    async def keep(self, progress: Progress = lambda *_: None) -> None:
        """One pass. A hold that cannot be covered now keeps no other from it; it is logged, and is
        in force all the same. Raises Unavailable, Corrupt where the register cannot be read."""
        async for hold in self._register.list():
            try:
                await self.keep_one(hold, progress)
            except StorageError as error:
                _log.warning("holds.not_covered", hold=str(hold.id), reason=str(error))

    async def keep_one(self, hold: Hold, progress: Progress = lambda *_: None) -> None:
        """The same for one hold. Raises Unavailable, Corrupt, Forbidden."""
        now = self._register.clock()
        stands = await self._coverer.stands(hold.id)
        if not hold.keeps(now):
            if stands.marked is not None:
                await self._tell(hold)
                await self._coverer.mark(hold, None)
            return
        changed = stands.terms != terms_of(hold)
        looked = stands.marked
        if isinstance(hold.scope, DomainScope) and looked is not None and now - looked > _LOOK_AGAIN:
            changed = True
        if changed or looked is None:
            await self._tell(hold)
            await self._coverer.mark(hold, now)
            looked = now
        settled = looked + timedelta(seconds=SETTLE)
        if changed or stands.complete is None or stands.complete < settled <= now:
            await self._coverer.cover(hold.id, lambda coverage: progress(hold, coverage))

    async def _tell(self, hold: Hold) -> None:
        """Each account's mark is what the register says of it now, whatever this one hold says."""
        async for mailbox in self._coverer.accounts(hold):
            holds = await self._register.on(AccountId.parse(mailbox.account))
            now = self._register.clock()
            held = any(one.keeps(now) and one.touches(mailbox) for one in holds)
            await self._tell_of(mailbox, held)

    async def _tell_of(self, mailbox: Mailbox, held: bool) -> None:
        for address in sorted(mailbox.addresses, key=str):
            try:
                await self._marks.set_legal_hold(address, held)
            except UnknownAddress:
                continue  # an alias: the account's own address is among the others
