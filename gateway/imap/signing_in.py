"""Signing in: a name and a password in, the owner's folders out, in the home region and nowhere else.

Whoever does not know the password learns nothing of the account: an unknown name, a wrong
password and an account without one end in the same words, at the same time. The one exception
is the home: a mailbox of another region is sent there before its password is looked at, since
only its home could look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final, final

from gateway.imap import envelope, written_structure
from gateway.imap import replies as say
from gateway.imap.replies import Refused
from gateway.imap.throttle import Throttle
from gateway.ingress.admission import PeerAddress
from policy.address import Address, AddressError
from policy.geography import RegionCode
from storage.accounts import SubscriberRecord, hash_password
from storage.errors import AccountClosed, AccountSuspended, NotFound, StorageError, UnknownAddress
from storage.folders import Folders
from storage.header_block import Editions, Telling
from storage.holds import HoldRegister
from storage.identity import Clock
from storage.located import AccountStatus, Located
from storage.lookup import LOCATED_FOR, Lookup

# A refusal comes no sooner than this after the attempt, whichever way it took: the ways differ by a few
# requests to the region, and by nothing that is left to see of them.
_REFUSED_AFTER: Final = 1.0  # seconds
# What clients ask of whole folders is made once, when mail comes in.
TELLING: Final = Telling(
    Editions(envelope.EDITION, written_structure.EDITION), envelope.envelope, written_structure.told_structure
)
_LONGEST: Final = 1_024  # octets of a name or a password
# A session looks again whether the account is still open here before a move of it could be past
# its freeze (`storage.relocation`): the same bound that an ingress keeps.
_LOOK_AGAIN: Final = LOCATED_FOR / 2


@final
@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody says that they are. Shown nowhere."""

    user: bytes
    password: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"


@final
class Owner:
    """Somebody who has signed in: their folders, as long as the account is open here."""

    def __init__(self, directory: Lookup, address: Address, located: Located, folders: Folders) -> None:
        self._directory: Final = directory
        self._address: Final = address
        self._looked = monotonic()
        self.located: Final = located
        self.folders: Final = folders

    async def is_still_open(self) -> bool:
        """Whether the account is active and at home where it was. Asks from time to time.

        Raises Unavailable, Corrupt.
        """
        if monotonic() - self._looked < _LOOK_AGAIN:
            return True
        try:
            found = await self._directory.find(self._address)
        except UnknownAddress:
            return False
        self._looked = monotonic()
        return (found.account, found.home, found.status) == (
            self.located.account,
            self.located.home,
            AccountStatus.ACTIVE,
        )


@final
class SignIn:
    """What it takes to let an owner in; one for each process."""

    def __init__(
        self,
        directory: Lookup,
        serves: frozenset[RegionCode],
        hosts: Mapping[RegionCode, str],
        register: Callable[[RegionCode], Awaitable[HoldRegister]],
        clock: Clock,
        *,
        throttle: Throttle | None = None,
        refused_after: float = _REFUSED_AFTER,
    ) -> None:
        """`hosts`: the host that owners of a region's mailboxes sign in at, where it is known."""
        self._directory: Final = directory
        self._serves: Final = serves
        self._hosts: Final = hosts
        self._register: Final = register
        self._clock: Final = clock
        self._throttle: Final = throttle or Throttle()
        self._refused_after: Final = refused_after

    async def owner(self, peer: PeerAddress | None, credentials: Credentials) -> Owner:
        """Raises Refused with the words for the client; Unavailable, Forbidden, Corrupt."""
        until = asyncio.get_running_loop().time() + self._refused_after
        try:
            return await self._owner(peer, credentials)
        except Refused:
            await _wait_until(until)
            raise

    async def _owner(self, peer: PeerAddress | None, credentials: Credentials) -> Owner:
        address, password = _read(credentials)
        if not self._throttle.attempt(peer, address):
            raise Refused(say.TOO_MANY_FAILURES)
        try:
            located = await self._allowed(address, password)
        except StorageError:
            self._throttle.undecided(peer, address)
            raise
        assert address is not None, "nobody is allowed in without an address"
        self._throttle.succeeded(peer, address)
        # From here on it is the owner, who may be told how the account stands.
        if located.status is AccountStatus.SUSPENDED:
            raise AccountSuspended("the account is suspended")
        if located.status is AccountStatus.CLOSED:
            raise AccountClosed("the account is closed")
        home = self._directory.ground.home(located)
        register = await self._register(located.home.code)
        folders = await Folders.open(home, located, register, self._clock, TELLING)
        return Owner(self._directory, address, located, folders)

    async def _allowed(self, address: Address | None, password: str) -> Located:
        """The mailbox whose password this is. Raises Refused."""
        located = await self._find(address)
        if located is not None and located.home.code not in self._serves:
            raise Refused(say.at_home_elsewhere(located.home, self._hosts.get(located.home.code)))
        if not await self._knows(located, password) or located is None:
            raise Refused(say.WRONG_PASSWORD)
        return located

    async def _find(self, address: Address | None) -> Located | None:
        try:
            return await self._directory.find(address) if address is not None else None
        except UnknownAddress:
            return None

    async def _knows(self, located: Located | None, password: str) -> bool:
        subscriber = None
        if located is not None:
            try:
                home = self._directory.ground.home(located)
                subscriber = await SubscriberRecord(home, located.account).read()
            except NotFound:
                subscriber = None  # an account that has been erased has no record any more
        if subscriber is None or subscriber.password_hash is None:
            # The same work for nobody: to make a hash takes as long as to check one.
            await hash_password(password)
            return False
        return await subscriber.has_password(password)


def _read(credentials: Credentials) -> tuple[Address | None, str]:
    """The address, where the name is one, and the password. Raises Refused."""
    if len(credentials.user) > _LONGEST or len(credentials.password) > _LONGEST:
        raise Refused(say.WRONG_PASSWORD)
    try:
        password = credentials.password.decode()
        return Address.parse(credentials.user.decode()), password
    except UnicodeDecodeError:
        raise Refused(say.WRONG_PASSWORD) from None
    except AddressError:
        return None, password


async def _wait_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
