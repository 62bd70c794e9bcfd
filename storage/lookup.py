"""Finding a mailbox: what an ingress process does for each recipient, and the law for each order.

Two questions, two methods. `locate` asks who takes mail for an address, and follows everything
that a mail operator expects to work. `find` asks whose address it is: it answers for a
suspended or closed account too, and never by way of a catch-all or a postmaster's duty, because
an order against an address that nobody has must not open the mailbox of whoever tidies up.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from policy.address import Address
from policy.geography import RegionCode
from storage.address_book import AddressBook
from storage.directory_record import AccountRecord, AliasRecord, DirectoryKey, DomainRecord, Name
from storage.errors import AccountClosed, AccountSuspended, UnknownAddress
from storage.located import AccountStatus, Located
from storage.region import Ground

# How long a change may go unnoticed by an ingress process, in seconds. Relocation waits for it.
LOCATED_FOR: Final = 30.0
# An address that was tried before its account was made works soon after.
UNKNOWN_FOR: Final = 3.0
REMEMBERED: Final = 20_000  # answers, about 6 KiB each


class Lookup:
    """The directory as one process reads it, with what it was told lately. In memory only."""

    def __init__(
        self,
        ground: Ground,
        key: bytes,
        registrar: RegionCode,
        reads: RegionCode,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is the deployment's 32-octet directory key; `reads` the region that is asked first."""
        self.ground: Final = ground
        self.book: Final = AddressBook(ground, DirectoryKey(key), registrar, reads)
        self._monotonic: Final = monotonic
        self._remembered: Final[OrderedDict[Address, tuple[float, Located | None]]] = OrderedDict()

    def remembered(self, address: Address) -> Located | None:
        """Who takes mail for the address, if that was found lately; None where `locate` has more to say."""
        until, located = self._remembered.get(address, (0.0, None))
        if located is None or located.status is not AccountStatus.ACTIVE or until <= self._monotonic():
            return None
        self._remembered.move_to_end(address)
        return located

    async def locate(self, address: Address) -> Located:
        """Who takes mail for the address now.

        The address itself, its base without `+tag` (RFC 5233), an alias of either, the domain's
        catch-all, and for `postmaster` whoever has that duty in the domain (RFC 5321 4.5.1).

        Raises UnknownAddress, AccountSuspended, AccountClosed; Unavailable where it cannot be
        known now; Corrupt for a record that is not this deployment's.
        """
        now = self._monotonic()
        until, located = self._remembered.get(address, (now, None))
        if until <= now:
            located = await self._taker(address)
            self._remember(address, located, now)
        else:
            self._remembered.move_to_end(address)
        if located is None:
            raise UnknownAddress("nobody here has that address")
        if located.status is AccountStatus.SUSPENDED:
            raise AccountSuspended("the account takes no mail for now")
        if located.status is AccountStatus.CLOSED:
            raise AccountClosed("the account is closed")
        return located

    async def find(self, address: Address) -> Located:
        """Whose mailbox the address is, whatever its status. Never remembered, never a catch-all.

        Raises UnknownAddress, Unavailable, Corrupt.
        """
        record = await self._owner(address)
        if record is None:
            raise UnknownAddress("nobody here has that address")
        return record.located()

    def forget(self) -> None:
        """Ask the regions again from now on."""
        self._remembered.clear()

    def _remember(self, address: Address, located: Located | None, now: float) -> None:
        self._remembered[address] = (now + (UNKNOWN_FOR if located is None else LOCATED_FOR), located)
        self._remembered.move_to_end(address)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    async def _taker(self, address: Address) -> Located | None:
        record = await self._owner(address)
        if record is None:
            domain = await self.book.read(self.book.key.of_domain(address.domain))
            if isinstance(domain, DomainRecord):
                if domain.catch_all is not None:
                    record = await self._target(domain.catch_all)
                elif _base(address).local == "postmaster":
                    record = await self._target(domain.postmaster)
        return record.located() if record is not None else None

    async def _owner(self, address: Address) -> AccountRecord | None:
        # The whole local part first: "a+b" may be somebody's very own address.
        for candidate in dict.fromkeys((address, _base(address))):
            record = await self.book.read(self.book.key.of_address(candidate))
            if isinstance(record, AliasRecord):
                return await self._target(record.target)
            if isinstance(record, AccountRecord):
                return record
        return None

    async def _target(self, name: Name) -> AccountRecord | None:
        record = await self.book.read(name)
        # An alias leads to an account, never on to another alias: no loops, one more read at most.
        return record if isinstance(record, AccountRecord) else None


def _base(address: Address) -> Address:
    """`aoife+lists@example.ie` -> `aoife@example.ie` (RFC 5233 1); any other address is its own."""
    user, plus, _ = address.local.partition("+")
    return Address(user, address.domain) if plus and user else address
