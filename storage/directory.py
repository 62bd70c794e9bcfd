"""The directory with its registry: who has which address, and where that mailbox's home is.

The order of writing when an account is made, and what follows where we crash:

    1. a reservation, in the registrar    nobody else gets the address; after `_PATIENCE` anybody
                                          may continue, with the same account and home
    2. the account's keyring, at home     an account that takes no mail yet
    3. its subscriber record, at home     the same
    4. the account's record, everywhere   from now on it takes mail, and its keys are there to open it

The order for an alias: the subscriber record first, then the alias's record. If we crash between,
the account lists an address that takes no mail yet; adding it again completes it. The other way
round an address could take mail that an order for subscriber data would not be told of.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Final, final

import structlog

from policy.address import Address
from policy.geography import Region, RegionCode
from storage.accounts import Account, Subscriber, SubscriberRecord, hash_password
from storage.address_book import Held
from storage.directory_record import (
    AccountRecord,
    AliasRecord,
    DomainRecord,
    Name,
    RemovedRecord,
    Reservation,
)
from storage.errors import (
    AddressTaken,
    AlreadyExists,
    Conflict,
    NotFound,
    StorageError,
    UnknownAddress,
)
from storage.identity import AccountId, Clock, utc_now
from storage.in_order import in_order
from storage.keyring import Keyholder, create_keyring, rotate_keyring
from storage.keys import PublicKeys
from storage.located import AccountStatus, Located
from storage.lookup import Lookup
from storage.objects import ETag
from storage.region import Ground, RegionStore
from storage.unheld import Unheld

_PATIENCE: Final = timedelta(seconds=60)
_ACCOUNTS_AT_ONCE: Final = 16

log: Final = structlog.get_logger(__name__)


@final
class Directory(Lookup):
    """A Lookup that can also register. Needs the key services of the regions it registers in.

    Every change is decided in the registrar region and raises Unavailable while that is down.
    """

    def __init__(
        self, ground: Ground, key: bytes, registrar: RegionCode, reads: RegionCode, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(ground, key, registrar, reads)
        self._clock: Final = clock
        self._domains: Final[set[str]] = set()  # those known to have a record

    async def create(
        self,
        address: Address,
        home: RegionCode,
        *,
        password: str | None = None,
        display_name: str = "",
        first: Callable[[AccountId], Awaitable[None]] | None = None,
    ) -> Account:
        """Make an account: its address is unique over all regions, under any number of racers.

        `first` is awaited before the account exists for anybody: where an audit entry belongs. If it
        raises, there is no account. Raises AddressTaken (also for a closed account's address,
        which is never given again), Unavailable, Forbidden, and what `first` raises.
        """
        store = self._store(home)
        subscriber = Subscriber(
            address,
            self._clock(),
            display_name,
            await hash_password(password) if password is not None else None,
        )
        name = self.book.key.of_address(address)
        reservation, etag, begun = await self._reserve(name, store.region)
        try:
            record = await self._furnish(store, reservation, subscriber, begun=begun)
            if first is not None:
                await first(record.account)
            await self.book.write(name, record, etag)
        except (Conflict, AlreadyExists):
            raise AddressTaken("somebody else was faster") from None
        except StorageError:
            await self._let_go(name, reservation, etag)
            raise
        await self._ensure_domain(address.domain, name)
        self.forget()
        return subscriber.account(record.located())

    async def suspend(self, address: Address) -> Account:
        """Take no mail for now. Raises UnknownAddress, Unavailable."""
        return await self._set_status(address, AccountStatus.SUSPENDED)

    async def resume(self, address: Address) -> Account:
        """Take mail again; a closed account may be opened again too."""
        return await self._set_status(address, AccountStatus.ACTIVE)

    async def close(self, address: Address, unheld: Unheld) -> Account:
        """Take no mail any more. What is stored stays, until retention or erasure decides.

        Raises Conflict for another account's proof, or one from a region that it has left.
        """

        def closed(record: AccountRecord) -> AccountRecord:
            if (record.account, record.home) != (unheld.account, unheld.region):
                raise Conflict(f"accounts/{unheld.account}")
            return record.model_copy(update={"status": AccountStatus.CLOSED})

        return await self._amend(address, closed)

    async def rotate(self, address: Address) -> Account:
        """New mail is sealed to new keys from now on (an ingress process notices within
        `lookup.LOCATED_FOR` seconds); what is there opens under the old ones."""
        located = await self.find(address)
        store = self.ground.home(located)
        holder = Keyholder(store.region.code, located.account)
        keys = await rotate_keyring(store.mail, store.keys, holder, self._clock())
        return await self._amend(address, lambda record: record.model_copy(update={"keys": keys}))

    async def set_legal_hold(self, address: Address, held: bool) -> None:
        """Whether new mail is written under the bucket's own lock from now on (an ingress process
        notices within `lookup.LOCATED_FOR` seconds). Raises UnknownAddress, Unavailable."""
        if (await self._own(address)).legal_hold != held:
            await self._amend(address, lambda record: record.model_copy(update={"legal_hold": held}))

    async def confirm(self, address: Address) -> None:
        """See that every region knows the account of `address` as it is now. After that no process
        acts on anything older for longer than `lookup.LOCATED_FOR` seconds.

        Raises Unavailable while a region is down.
        """
        await self.book.confirm(self.book.key.of_address(address))

    async def rehome(
        self, address: Address, home: Region, keys: PublicKeys, status: AccountStatus, *, legal_hold: bool
    ) -> None:
        """The instant from which a mailbox is at home elsewhere. Its mail must be there already:
        `storage.relocation` is the only caller. Done twice, it is done.

        `legal_hold` is what the new home's register says: no hold of the old one is left.

        Raises UnknownAddress, Unavailable: it may have happened, and `home_now` tells.
        """

        def moved(record: AccountRecord) -> AccountRecord:
            change = {"home": home.code, "country": home.country, "keys": keys, "status": status}
            return record.model_copy(update={**change, "legal_hold": legal_hold})

        await self._amend(address, moved)

    async def home_now(self, address: Address) -> Located:
        """Where a mailbox is at home by the registrar's own word, whatever any copy says.

        `address` is the account's own. Raises UnknownAddress, Unavailable.
        """
        held = await self.book.held(self.book.key.of_address(address))
        if held is None or not isinstance(held.record, AccountRecord):
            raise UnknownAddress("no account has that address for its own")
        return held.record.located()

    async def show(self, address: Address) -> Account:
        """Raises UnknownAddress, Unavailable, Forbidden (without the home's key service)."""
        located = await self.find(address)
        return (await self._subscriber(located).read()).account(located)

    async def list(self, home: RegionCode) -> AsyncGenerator[Account]:
        """The accounts at home in a region, in no order that means anything."""
        store = self._store(home)

        async def read(account: AccountId) -> Account | None:
            try:
                subscriber = await SubscriberRecord(store, account).read()
                located = await self.find(subscriber.address)
            except (NotFound, UnknownAddress):
                return None  # its making was begun and not ended
            return subscriber.account(located) if located.account == account else None

        async with aclosing(in_order(_accounts(store), read, _ACCOUNTS_AT_ONCE)) as stream:
            async for account in stream:
                if account is not None:
                    yield account

    async def add_alias(self, alias: Address, address: Address) -> Account:
        """Mail for `alias` goes to the account whose own address is `address`. Done twice, it is done.

        Raises AddressTaken, UnknownAddress, Unavailable.
        """
        name, target = self.book.key.of_address(alias), self.book.key.of_address(address)
        held = await self._free_for(name, target)
        owner = await self._own(address)
        await self._subscriber(owner).amend(lambda before: before.with_alias(alias))
        serial = held.record.serial + 1 if held is not None else 1
        try:
            await self.book.write(
                name, AliasRecord(serial=serial, target=target), held.etag if held is not None else None
            )
        except Conflict:
            if (now := await self.book.held(name)) is None or now.record != AliasRecord(
                serial=now.record.serial, target=target
            ):
                await self._subscriber(owner).amend(lambda before: before.without_alias(alias))
                raise AddressTaken("somebody else was faster") from None
        self.forget()
        return await self.show(address)

    async def remove_alias(self, alias: Address) -> Account:
        """Raises UnknownAddress for an address that is no alias; Conflict, Unavailable."""
        name = self.book.key.of_address(alias)
        held = await self.book.held(name)
        if held is None or not isinstance(held.record, AliasRecord):
            raise UnknownAddress("nobody has that address as an alias")
        located = await self.find(alias)
        await self.book.write(name, RemovedRecord(serial=held.record.serial + 1), held.etag)
        self.forget()
        after = await self._subscriber(located).amend(lambda before: before.giving_up(alias))
        return after.account(located)

    async def catch_all(self, domain: str) -> Located | None:
        """Whose account takes what nobody else in the domain has."""
        held = await self.book.held(self.book.key.of_domain(domain))
        if held is None or not isinstance(held.record, DomainRecord) or held.record.catch_all is None:
            return None
        taker = await self._target(held.record.catch_all)
        return taker.located() if taker is not None else None

    async def set_catch_all(self, domain: str, address: Address | None) -> None:
        """What nobody else has in the domain goes to an account; with None, to nobody again.

        `domain` as `Address.domain` writes it. Raises UnknownAddress for a domain without
        accounts; Conflict, Unavailable.
        """
        name = self.book.key.of_domain(domain)
        held = await self.book.held(name)
        if held is None or not isinstance(held.record, DomainRecord):
            raise UnknownAddress("there is no account in that domain")
        previous, owner, target = await self.catch_all(domain), None, None
        if address is not None:
            target = self.book.key.of_address(address)
            owner = await self._own(address)
            await self._subscriber(owner).amend(lambda before: before.with_catch_all(domain))
        changed = held.record.model_copy(update={"catch_all": target, "serial": held.record.serial + 1})
        await self.book.write(name, changed, held.etag)
        self.forget()
        if previous is not None and (owner is None or owner.account != previous.account):
            await self._subscriber(previous).amend(lambda before: before.without_catch_all(domain))

    async def _free_for(self, name: Name, target: Name) -> Held | None:
        """What an alias to `target` may replace: nothing, a removed alias, or itself."""
        held = await self.book.held(name)
        if held is not None:
            same = isinstance(held.record, AliasRecord) and held.record.target == target
            if not same and not isinstance(held.record, RemovedRecord):
                raise AddressTaken("that address is somebody's")
        return held

    async def _own(self, address: Address) -> Located:
        """The account whose own address this is, not an alias or a `+tag` of it."""
        record = await self.book.read(self.book.key.of_address(address))
        if not isinstance(record, AccountRecord):
            raise UnknownAddress("no account has that address for its own")
        return record.located()

    def _subscriber(self, located: Located) -> SubscriberRecord:
        return SubscriberRecord(self.ground.home(located), located.account)

    async def _set_status(self, address: Address, status: AccountStatus) -> Account:
        return await self._amend(address, lambda record: record.model_copy(update={"status": status}))

    async def _amend(self, address: Address, change: Callable[[AccountRecord], AccountRecord]) -> Account:
        name = self.book.key.of_address(address)
        while True:
            held = await self.book.held(name)
            if held is None or not isinstance(held.record, AccountRecord):
                raise UnknownAddress("no account has that address for its own")
            changed = change(held.record).model_copy(update={"serial": held.record.serial + 1})
            try:
                await self.book.write(name, changed, held.etag)
            except Conflict:
                continue  # somebody changed something else: once more on top of that
            self.forget()
            located = changed.located()
            return (await self._subscriber(located).read()).account(located)

    async def _reserve(self, name: Name, home: Region) -> tuple[Reservation, ETag, bool]:
        """Step 1; the flag tells whether an account was begun earlier and is now to be completed."""
        now = self._clock()
        held = await self.book.held(name)
        before = held.record if held is not None else None
        if isinstance(before, Reservation):
            if before.until > now.timestamp():
                raise AddressTaken("an account with that address is being made at this moment")
            if before.home != home.code:
                raise AddressTaken(f"its making was begun for {before.home}, and can only end there")
        elif before is not None and not isinstance(before, RemovedRecord):
            raise AddressTaken("that address is somebody's")
        begun = isinstance(before, Reservation)
        reservation = Reservation(
            serial=before.serial + 1 if before is not None else 1,
            account=before.account if isinstance(before, Reservation) else AccountId.new(),
            home=home.code,
            country=home.country,
            maker=secrets.token_hex(16),
            until=int((now + _PATIENCE).timestamp()),
        )
        try:
            etag = await self.book.reserve(name, reservation, held.etag if held is not None else None)
        except Conflict:
            raise AddressTaken("somebody else was faster") from None
        return reservation, etag, begun

    async def _furnish(
        self, store: RegionStore, reservation: Reservation, subscriber: Subscriber, *, begun: bool
    ) -> AccountRecord:
        """Steps 2 and 3: all that mail for the account needs, before there can be any."""
        holder = Keyholder(store.region.code, reservation.account)
        keys = await create_keyring(store.mail, store.keys, holder, self._clock())
        record = SubscriberRecord(store, reservation.account)
        await (record.replace if begun else record.create)(keys, subscriber)
        return AccountRecord(
            serial=reservation.serial + 1,
            account=reservation.account,
            home=reservation.home,
            country=reservation.country,
            status=AccountStatus.ACTIVE,
            keys=keys,
        )

    async def _let_go(self, name: Name, reservation: Reservation, etag: ETag) -> None:
        """After a failure: let a second try continue at once. If this fails too, it waits a minute."""
        try:
            await self.book.reserve(
                name, reservation.model_copy(update={"until": 0, "serial": reservation.serial + 1}), etag
            )
        except StorageError as error:
            log.info("directory.reservation_left", reason=type(error).__name__)

    async def _ensure_domain(self, domain: str, first: Name) -> None:
        """The first account of a domain is its postmaster until an alias or a catch-all says otherwise."""
        if domain in self._domains:
            return
        name = self.book.key.of_domain(domain)
        if await self.book.held(name) is None:
            with suppress(Conflict):  # somebody's account was faster to be the domain's first
                await self.book.write(name, DomainRecord(postmaster=first), None)
        self._domains.add(domain)

    def _store(self, home: RegionCode) -> RegionStore:
        return self.ground.control_plane(self.ground.provisioned(home))


async def _accounts(store: RegionStore) -> AsyncIterator[AccountId]:
    async for listed in store.mail.list("accounts/"):
        _, account, document = listed.key.split("/")
        if document == "account.json":
            yield AccountId.parse(account)
