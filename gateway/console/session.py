"""A console session: the operator's token, sealed into a cookie for an hour.

Nothing about sessions is stored, so that any worker can open what another one has sealed. The
token is checked again with every request: a session ends with its token's revocation or expiry,
if its hour does not end it first. The key lies sealed in the region of the gateway's seat.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import AlreadyExists
from storage.identity import Clock
from storage.vault import Vault

LIFETIME: Final = timedelta(hours=1)
MAX_TOKEN: Final = 2500  # characters: browsers keep no cookie over 4096 octets (RFC 6265 6.1)

_KEY: Final = "console/session-key"
_BINDING: Final = b"situs-console-session/1"
_NONCE: Final = 12  # octets, random: 2^32 sessions for one key would be too many (NIST SP 800-38D 8.3)
_ENDED: Final = 10_000


@final
@dataclass(frozen=True, slots=True)
class Session:
    """`csrf` stands in every form of this session, and nowhere else."""

    id: str
    token: str = field(repr=False)
    csrf: str = field(repr=False)
    ends: datetime


class Sessions:
    """Seals sessions and opens them again."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault: Final = vault
        self._clock: Final = clock
        self._loading: Final = asyncio.Lock()
        self._cipher: AESGCM | None = None
        # Signed out before their hour: remembered here, and by no other worker.
        self._ended: Final[OrderedDict[str, None]] = OrderedDict()

    async def begin(self, token: str) -> str:
        """A new session for a token that has just been found good, as the cookie's value."""
        session = Session(secrets.token_hex(16), token, secrets.token_urlsafe(32), self._clock() + LIFETIME)
        told = {
            "id": session.id,
            "token": session.token,
            "csrf": session.csrf,
            "ends": session.ends.isoformat(),
        }
        nonce = os.urandom(_NONCE)
        sealed = (await self._key()).encrypt(nonce, json.dumps(told).encode(), _BINDING)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    async def open(self, cookie: str) -> Session | None:
        """The session, or None for what was not sealed here, is over, or was signed out."""
        cipher = await self._key()
        try:
            octets = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            found = json.loads(cipher.decrypt(octets[:_NONCE], octets[_NONCE:], _BINDING))
        except (InvalidTag, ValueError, binascii.Error):
            return None
        session = Session(found["id"], found["token"], found["csrf"], datetime.fromisoformat(found["ends"]))
        if self._clock() >= session.ends or session.id in self._ended:
            return None
        return session

    def end(self, session: Session) -> None:
        """Signed out: the cookie is worth nothing any more, whoever has a copy."""
        self._ended[session.id] = None
        while len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    async def _key(self) -> AESGCM:
        async with self._loading:
            if self._cipher is None:
                # There may be one: another worker's, or this gateway's of yesterday.
                with contextlib.suppress(AlreadyExists):
                    await self._vault.put_if_absent(_KEY, AESGCM.generate_key(256))
                self._cipher = AESGCM((await self._vault.get(_KEY)).body)
            return self._cipher
