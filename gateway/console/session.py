"""A console session: what the operator signed in with, sealed into a cookie for an hour.

Any worker can open what another one has sealed. What somebody signed in with is checked again with
every request: a session ends with its token's revocation or expiry, if its hour does not end it first.

    console/session-key              what cookies are sealed with
    console/ended/<until>-<id>       a session that was signed out, kept until its hour is over

Both lie sealed in the region of the gateway's seat, for all its workers: a sign-out at one is a
sign-out at each of them, from the moment at which it is answered.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.bookkeeping import discard_several
from storage.errors import AlreadyExists, NotFound
from storage.identity import Clock
from storage.operators import Documents
from storage.versions import Versions

LIFETIME: Final = timedelta(hours=1)
MAX_TOKEN: Final = 2500  # characters: browsers keep no cookie over 4096 octets (RFC 6265 6.1)

_KEY: Final = "console/session-key"
_BINDING: Final = b"situs-console-session/2"
_NAME: Final = 40  # characters of a name: with the longest token the cookie is still one that browsers keep
_NONCE: Final = 12  # octets, random: 2^32 sessions for one key would be too many (NIST SP 800-38D 8.3)
_ENDED: Final = "console/ended/"
_STAMP: Final = "%Y%m%dT%H%M%SZ"  # UTC, and so in order


@final
@dataclass(frozen=True, slots=True)
class Session:
    """`csrf` stands in every form of this session, and nowhere else.

    Either `token` or, for who signed in with a client certificate, `spki`: the SHA-256 of its key.
    The cookie alone is then worth nothing: each request's own handshake has to prove that key.
    `name` and `roles` are what a page greets with and which ways it shows: they clear nobody for anything.
    """

    id: str
    token: str | None = field(repr=False)
    spki: str | None
    csrf: str = field(repr=False)
    ends: datetime
    name: str = ""
    roles: frozenset[str] = frozenset()


class Sessions:
    """Seals sessions and opens them again."""

    def __init__(self, vault: Documents, clock: Clock) -> None:
        """`vault`: the documents of the region of the gateway's seat."""
        self._vault: Final = vault
        self._clock: Final = clock
        self._loading: Final = asyncio.Lock()
        self._cipher: AESGCM | None = None

    async def begin(
        self, token: str | None, spki: str | None, name: str = "", roles: Iterable[str] = ()
    ) -> str:
        """A new session for what has just been found good, as the cookie's value."""
        told = {
            "id": secrets.token_hex(16),
            "token": token,
            "spki": spki,
            "csrf": secrets.token_urlsafe(32),
            "ends": (self._clock() + LIFETIME).isoformat(),
            "name": name if len(name) <= _NAME else f"{name[: _NAME - 1]}…",
            "roles": sorted(roles),
        }
        nonce = os.urandom(_NONCE)
        octets = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        sealed = (await self._key()).encrypt(nonce, octets, _BINDING)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    async def open(self, cookie: str) -> Session | None:
        """The session, or None for what was not sealed here, is over, or was signed out.

        Raises Unavailable, and whatever else reading the vault may raise: a session of which nobody
        can say whether it was signed out is none.
        """
        cipher = await self._key()
        try:
            octets = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            found = json.loads(cipher.decrypt(octets[:_NONCE], octets[_NONCE:], _BINDING))
        except (InvalidTag, ValueError, binascii.Error):
            return None
        ends = datetime.fromisoformat(found["ends"])
        session = Session(
            found["id"],
            found["token"],
            found["spki"],
            found["csrf"],
            ends,
            found["name"],
            frozenset(found["roles"]),
        )
        if self._clock() >= session.ends or await self._was_ended(session):
            return None
        return session

    async def end(self, session: Session) -> None:
        """Signed out: the cookie is worth nothing any more, at any worker, whoever has a copy."""
        with contextlib.suppress(AlreadyExists):
            await self._vault.put_if_absent(_ended(session), b"{}")

    async def forget(self, versions: Versions) -> None:
        """Remove what says of sessions whose hour is over that they were signed out. Raises StorageError."""
        over = f"{_ENDED}{self._clock():{_STAMP}}"
        lapsed = [listed.key async for listed in self._vault.list(_ENDED) if listed.key < over]
        if lapsed:
            await discard_several(versions, _ENDED, lapsed)

    async def _was_ended(self, session: Session) -> bool:
        try:
            await self._vault.get(_ended(session))
        except NotFound:
            return False
        return True

    async def _key(self) -> AESGCM:
        async with self._loading:
            if self._cipher is None:
                # There may be one: another worker's, or this gateway's of yesterday.
                with contextlib.suppress(AlreadyExists):
                    await self._vault.put_if_absent(_KEY, AESGCM.generate_key(256))
                self._cipher = AESGCM((await self._vault.get(_KEY)).body)
            return self._cipher


def _ended(session: Session) -> str:
    """Sorted by when it may be forgotten; a second is added, for the part of one that the name leaves out."""
    return f"{_ENDED}{session.ends + timedelta(seconds=1):{_STAMP}}-{session.id}"
