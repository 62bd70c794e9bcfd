"""Deletions that say so before they begin, so that a hold can wait for them.

S3 has no transaction over a hold and a deletion. Two flags do instead (Dekker's, with objects for
flags; both engines show a finished write to every later read and listing):

    whoever deletes                        whoever places a hold
    1. writes an intent: these versions    a. writes the hold
    2. reads the holds                     b. reads the intents
    3. deletes what no hold forbids        c. waits until those it found are withdrawn or renewed
    4. withdraws the intent                d. returns: the hold is in force

If 2 does not see the hold of a, then 2 came before a ended, so that 1 ended before b began: b sees
the intent, and d comes after 3. Whichever came first, after d nothing in scope is deleted.

A deleter that died leaves its intent behind, so an intent has an end: the deleter starts no
request in its last `_MARGIN`, and the one who waits lets it pass, `_SKEW` later, for clocks that
differ. Then it puts Object Lock's legal hold on the versions that the dead intent named, for the
deleter that was not dead but asleep: the bucket itself refuses it.

An intent lies at `deleting/<account>/<id>`, sealed. It is removed with all its versions when it is
withdrawn, and by the sweeper when its maker died.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, final

from storage.bookkeeping import discard
from storage.errors import Corrupt, NotFound
from storage.identity import AccountId, Clock
from storage.objects import ETag
from storage.vault import Vault
from storage.versions import Version, Versions

PREFIX: Final = "deleting/"
LEASE: Final = timedelta(seconds=30)
# A request takes at most two attempts of 3 s to connect and 4 s to answer, and the pause between.
_MARGIN: Final = timedelta(seconds=16)
_SKEW: Final = timedelta(seconds=2)
_FIRST_PAUSE: Final = 0.01  # seconds
_LONGEST_PAUSE: Final = 0.2
_ABANDONED: Final = timedelta(hours=1)


@final
@dataclass(frozen=True, slots=True)
class Intent:
    """One deleter's word: until `until` it may be deleting these versions of the account's.

    `serial` rises with each batch: a higher one says that the batches before it are done.
    """

    key: str
    account: AccountId
    serial: int
    until: datetime
    versions: tuple[Version, ...]

    def to_bytes(self) -> bytes:
        named = [[version.key, version.id] for version in self.versions]
        fields = {"version": 1, "serial": self.serial, "until": self.until.isoformat(), "versions": named}
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, key: str, body: bytes) -> Intent:
        """Raises Corrupt naming `key`."""
        try:
            found = json.loads(body)
            if found["version"] != 1:
                raise ValueError(f"version {found['version']!r} is unknown")
            return cls(
                key,
                AccountId.parse(key.split("/")[1]),
                int(found["serial"]),
                datetime.fromisoformat(found["until"]),
                tuple(Version(name, version) for name, version in found["versions"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Corrupt(key, f"not a deletion's intent ({error})") from None


@final
class Declared:
    """An intent that stands. Each batch renews it before the holds are read."""

    def __init__(self, intents: Intents, account: AccountId) -> None:
        self._intents: Final = intents
        self._account: Final = account
        self._key: Final = f"{PREFIX}{account}/{secrets.token_hex(16)}"
        self._serial: int = 0
        self._etag: ETag | None = None
        self._safe_until: float = 0.0
        self._in_doubt = False

    async def renew(self, versions: Sequence[Version] = ()) -> None:
        """Name the next batch; the one before it is done. Raises Unavailable, Conflict."""
        if self._in_doubt:
            raise RuntimeError("a batch whose outcome is not known cannot be called done")
        # Taken before the write: an answer that comes late has used up its own lease.
        started = asyncio.get_running_loop().time()
        self._serial += 1
        until = self._intents.clock() + LEASE
        intent = Intent(self._key, self._account, self._serial, until, tuple(versions))
        self._etag = await self._intents.vault.compare_and_swap(self._key, intent.to_bytes(), self._etag)
        self._safe_until = started + (LEASE - _MARGIN).total_seconds()

    @contextmanager
    def acting(self) -> Iterator[float]:
        """Around each request: gives the monotonic time after which it may not be started any more.

        A request that ends without an answer, or whose caller is cancelled, may still be carried
        out: the intent then stays until it lapses.
        """
        self._in_doubt = True
        yield self._safe_until
        self._in_doubt = False

    async def withdraw(self) -> None:
        if self._etag is not None and not self._in_doubt:
            await self._intents.remove(self._key)


@final
class Intents:
    """The intents of one region."""

    def __init__(self, vault: Vault, versions: Versions, clock: Clock) -> None:
        self.vault: Final = vault
        self.clock: Final = clock
        self._versions: Final = versions

    @asynccontextmanager
    async def declared(self, account: AccountId) -> AsyncIterator[Declared]:
        """An intent for as long as the context is open. It stands from the first `renew` on."""
        declared = Declared(self, account)
        try:
            yield declared
        finally:
            await declared.withdraw()

    async def standing(self, account: AccountId | None = None) -> AsyncIterator[Intent]:
        """The intents for one account, or for all. Raises Corrupt, Unavailable."""
        prefix = PREFIX if account is None else f"{PREFIX}{account}/"
        async for listed in self.vault.list(prefix):
            if (intent := await self._read(listed.key)) is not None:
                yield intent

    async def drained(self, account: AccountId | None = None) -> tuple[Version, ...]:
        """Wait for the deletions that stand at this moment: steps b and c.

        Returns the versions that were named by deleters of which nothing more was heard. Raises
        Corrupt, Unavailable: then nothing is known of the deletions, and the caller has to say so.
        """
        found = [intent async for intent in self.standing(account)]
        left = await asyncio.gather(*(self._outlived(intent) for intent in found))
        return tuple(version for versions in left for version in versions)

    async def sweep(self) -> int:
        """Remove the intents of deleters that died long ago; how many there were."""
        dead = [one async for one in self.standing() if self.clock() - one.until > _ABANDONED]
        for intent in dead:
            await self.remove(intent.key)
        return len(dead)

    async def remove(self, key: str) -> None:
        await discard(self._versions, key)

    async def _outlived(self, intent: Intent) -> tuple[Version, ...]:
        pause = _FIRST_PAUSE
        while self.clock() < intent.until + _SKEW:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            now = await self._read(intent.key)
            if now is None or now.serial != intent.serial:
                return ()
        return intent.versions

    async def _read(self, key: str) -> Intent | None:
        try:
            return Intent.from_bytes(key, (await self.vault.get(key)).body)
        except NotFound:
            return None
