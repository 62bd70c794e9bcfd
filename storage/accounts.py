"""Subscriber records: who an account belongs to, in the clear nowhere but in its home region.

`accounts/<account>/account.json` is sealed to the account's record key. The address, the aliases,
the display name and the password's hash stand in it and in no other object of any region.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar, final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from policy.address import Address
from policy.geography import Region
from storage.errors import Conflict, Corrupt
from storage.fields import AddressField
from storage.identity import AccountId
from storage.keyring import Keyholder, Keyring
from storage.keys import PublicKeys, Purpose
from storage.located import AccountStatus, Located
from storage.objects import ETag
from storage.region import RegionStore
from storage.sealing import Binding, open_document, read_document_header, seal_document

_T = TypeVar("_T")

NAME_LIMIT: Final = 200  # characters
PASSWORD_LIMIT: Final = 1_024  # octets: the most that IMAP's sign-in reads

# RFC 9106 4, second recommended option, as argon2-cffi ships it: 64 MiB, t=3.
_HASHER: Final = PasswordHasher()
# Its own threads, one a core: an import of many accounts must not ask for 64 MiB times thirty.
_HASHING: Final = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="argon2")


class SubscriberFault(ValueError):
    """A name or a password that no account can have. The message says which and why."""


def parse_display_name(text: str) -> str:
    """A name that can be shown on one line of a terminal as it is. Raises SubscriberFault."""
    if len(text) > NAME_LIMIT or not text.isprintable():
        raise SubscriberFault(f"name: at most {NAME_LIMIT} printable characters are expected")
    return text


def parse_password(text: str) -> str:
    """A password that its owner can sign in with. Raises SubscriberFault."""
    if not text or len(text.encode()) > PASSWORD_LIMIT or "\0" in text:
        raise SubscriberFault(f"password: 1 to {PASSWORD_LIMIT} octets without a NUL are expected")
    return text


@final
@dataclass(frozen=True, slots=True)
class Account:
    """An account as its operator sees it."""

    id: AccountId
    address: Address
    home: Region
    status: AccountStatus
    display_name: str
    created: datetime
    aliases: tuple[Address, ...]
    catch_alls: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "account": str(self.id),
            "address": str(self.address),
            "home": str(self.home.code),
            "country": str(self.home.country),
            "status": str(self.status),
            "display_name": self.display_name,
            "created": self.created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "aliases": [str(alias) for alias in self.aliases],
            "catch_alls": [f"@{domain}" for domain in self.catch_alls],
        }


@final
@dataclass(frozen=True, slots=True)
class Subscriber:
    """What `account.json` holds. `catch_alls` are the domains whose other mail comes here; `former`
    the aliases that were given up: what came to them lies here, and a hold on their domain keeps it."""

    address: Address
    created: datetime
    display_name: str = ""
    password_hash: str | None = field(default=None, repr=False)
    aliases: tuple[Address, ...] = ()
    catch_alls: tuple[str, ...] = ()
    former: tuple[Address, ...] = ()

    def account(self, located: Located) -> Account:
        return Account(
            located.account,
            self.address,
            located.home,
            located.status,
            self.display_name,
            self.created,
            self.aliases,
            self.catch_alls,
        )

    def with_alias(self, alias: Address) -> Subscriber:
        return replace(self, aliases=tuple(sorted({*self.aliases, alias}, key=str)))

    def without_alias(self, alias: Address) -> Subscriber:
        """For one that never took any mail."""
        return replace(self, aliases=tuple(kept for kept in self.aliases if kept != alias))

    def giving_up(self, alias: Address) -> Subscriber:
        former = tuple(sorted({*self.former, alias}, key=str))
        return replace(self.without_alias(alias), former=former)

    def with_catch_all(self, domain: str) -> Subscriber:
        return replace(self, catch_alls=tuple(sorted({*self.catch_alls, domain})))

    def without_catch_all(self, domain: str) -> Subscriber:
        return replace(self, catch_alls=tuple(kept for kept in self.catch_alls if kept != domain))

    async def has_password(self, password: str) -> bool:
        """Whether this is the owner's password; an account without one has none that fits."""
        if self.password_hash is None:
            return False
        try:
            return await _in_thread(_HASHER.verify, self.password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


async def hash_password(password: str) -> str:
    """Argon2id (RFC 9106), in a thread: it takes tens of milliseconds and 64 MiB on purpose."""
    return await _in_thread(_HASHER.hash, password)


async def _in_thread(work: Callable[..., _T], *arguments: str) -> _T:
    return await asyncio.get_running_loop().run_in_executor(_HASHING, work, *arguments)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)
    address: AddressField
    created: AwareDatetime
    display_name: str
    password_hash: str | None
    aliases: tuple[AddressField, ...]
    catch_alls: tuple[str, ...]
    former: tuple[AddressField, ...] = ()


def account_key(account: AccountId) -> str:
    """Where the subscriber record lies."""
    return f"accounts/{account}/account.json"


@final
class SubscriberRecord:
    """The subscriber record of one account, in its home. Reading needs the key service."""

    def __init__(self, home: RegionStore, account: AccountId) -> None:
        self._home: Final = home
        self._account: Final = account
        self._binding: Final = Binding(home.region.code, account_key(account))

    async def create(self, keys: PublicKeys, subscriber: Subscriber) -> None:
        """Raises AlreadyExists."""
        await self._home.mail.put_if_absent(self._binding.key, self._seal(keys, subscriber))

    async def replace(self, keys: PublicKeys, subscriber: Subscriber) -> None:
        """Write it, whatever was there."""
        await self._home.mail.put(self._binding.key, self._seal(keys, subscriber))

    async def read(self) -> Subscriber:
        """Raises NotFound, Corrupt, Forbidden, Unavailable."""
        return (await self._read())[0]

    async def amend(self, change: Callable[[Subscriber], Subscriber]) -> Subscriber:
        """Apply a change to the newest record, again where somebody else's came first."""
        while True:
            before, keys, etag = await self._read()
            after = change(before)
            if after == before:
                return before
            try:
                await self._home.mail.compare_and_swap(self._binding.key, self._seal(keys, after), etag)
            except Conflict:
                continue
            return after

    async def _read(self) -> tuple[Subscriber, PublicKeys, ETag]:
        key = self._binding.key
        blob = await self._home.mail.get(key)
        keyring = await Keyring.load(
            self._home.mail, self._home.keys, Keyholder(self._home.region.code, self._account)
        )
        generation = read_document_header(self._binding, blob.body).generation
        private = await keyring.private(Purpose.RECORD, generation, opens=key)
        try:
            stored = _Stored.model_validate_json(open_document(private, self._binding, blob.body))
        except ValidationError:
            raise Corrupt(key, "it opens, and holds no subscriber record") from None
        return Subscriber(**dict(stored)), keyring.public, blob.etag

    def _seal(self, keys: PublicKeys, subscriber: Subscriber) -> bytes:
        document = _Stored.model_validate(subscriber).model_dump_json().encode()
        return seal_document(keys, self._binding, document)
