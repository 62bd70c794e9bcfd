"""The keys that an OpenID Connect issuer signs with, fetched from where it says that they are.

Keys are found by discovery (OpenID Connect Discovery 1.0), kept for a while, and fetched again early when a
token names a key that is not among them: so that keys can rotate, and a flood of invented key ids fetches
nothing twice. A key that the issuer has taken back is forgotten after `_FRESH`, or, while the issuer cannot
be reached, after `_STALE`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final, final
from urllib.parse import urlsplit

import aiohttp
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet, RSAKey

from policy.strict_json import parse
from storage.errors import Unavailable
from storage.identity import Clock
from storage.web_answers import read_whole

_FRESH: Final = timedelta(minutes=10)
_NOT_SOONER: Final = timedelta(seconds=30)
_STALE: Final = timedelta(hours=1)  # how long keys serve while the issuer cannot be reached
_LARGEST: Final = 256 * 1024  # octets of a document of the issuer's
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_WEAKEST: Final = 2048  # bits of an RSA modulus (RFC 7518 3.3)
# No answer, no JSON, or JSON that is no key set.
_NO_KEYS: Final = (aiohttp.ClientError, OSError, TimeoutError, JoseError, ValueError, TypeError, KeyError)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_log: Final = structlog.get_logger("situs.disclosure")


@final
class IssuerKeys:
    """The keys of one issuer, as they were not long ago."""

    def __init__(self, issuer: str, clock: Clock) -> None:
        self._issuer: Final = issuer
        self._clock: Final = clock
        self._fetching: Final = asyncio.Lock()
        self._keys: KeySet | None = None
        self._fetched: datetime | None = None
        self._tried: datetime | None = None

    async def naming(self, kid: object) -> KeySet:
        """Keys that are fresh and name `kid`, or else the ones there are. Raises Unavailable for none.

        Whoever brings a key id that nobody knows waits for the issuer; nobody waits behind them.
        """
        if not self._suffice(kid, self._clock()):
            async with self._fetching:
                await self._fetch_where_due(kid, self._clock())
        if self._keys is None or self._fetched is None or self._clock() - self._fetched >= _STALE:
            raise Unavailable(f"{self._issuer}: there are no keys to check a token with")
        return self._keys

    def _suffice(self, kid: object, now: datetime) -> bool:
        fresh = self._fetched is not None and now - self._fetched < _FRESH
        return fresh and self._keys is not None and _names(self._keys, kid)

    async def _fetch_where_due(self, kid: object, now: datetime) -> None:
        if self._suffice(kid, now) or (self._tried is not None and now - self._tried < _NOT_SOONER):
            return
        self._tried = now
        try:
            self._keys, self._fetched = await self._fetch(), now
        except _NO_KEYS as error:
            _log.warning("the issuer's keys cannot be fetched", issuer=self._issuer, error=repr(error))

    async def _fetch(self) -> KeySet:
        where = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            found = await _document(session, where)
            if found["issuer"] != self._issuer:  # OpenID Connect Discovery 1.0, 4.3
                raise ValueError(f"{where} is another issuer's")
            require_safe(str(found["jwks_uri"]))
            keys = await _document(session, str(found["jwks_uri"]))
        return _key_set(keys["keys"])


def require_safe(url: str) -> None:
    """https, or plain HTTP to this very machine. Raises ValueError."""
    found = urlsplit(url)
    if found.scheme != "https" and not (found.scheme == "http" and found.hostname in _LOOPBACK):
        raise ValueError(f"{url}: https is expected")


async def _document(session: aiohttp.ClientSession, where: str) -> dict[str, Any]:
    async with session.get(where, allow_redirects=False) as reply:
        reply.raise_for_status()
        if reply.status != 200:  # somewhere else, say, where nothing vouches for what stands
            raise ValueError(f"{where}: status {reply.status}")
        found = parse(await read_whole(reply.content, _LARGEST))
    if not isinstance(found, dict):
        raise TypeError(f"{where}: a JSON object is expected")
    return found


def _key_set(listed: object) -> KeySet:
    """The keys that can be used here. Raises ValueError where there are none.

    RFC 7517 5: what is not understood, lacks a member or is out of range is ignored. One new key in the
    set must not lock out everybody whose token another one has signed.
    """
    found = [key for each in listed if (key := _key(each)) is not None] if isinstance(listed, list) else []
    if not found:
        raise ValueError("the key set has no key that can be used here")
    return KeySet(found)


def _key(given: object) -> Key | None:
    if not isinstance(given, dict):
        return None
    try:
        key = JWKRegistry.import_key(given)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        _log.info("a key of the issuer's is left out", reason=repr(error))
        return None
    return None if isinstance(key, RSAKey) and key.raw_value.key_size < _WEAKEST else key


def _names(keys: KeySet, kid: object) -> bool:
    return kid is None or any(key.kid == kid for key in keys.keys)
