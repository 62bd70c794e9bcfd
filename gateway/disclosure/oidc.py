"""Operators who sign in elsewhere: bearer tokens of one OpenID Connect issuer.

The issuer says who somebody is; what they may do is still the region's own record. Keys are fetched by
discovery (OpenID Connect Discovery 1.0), kept for a while, and fetched again early when a token names a key
that is not among them: so that keys can rotate, and a flood of invented key ids fetches nothing twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, final
from urllib.parse import urlsplit

import aiohttp
import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from policy.strict_json import parse
from storage.errors import Unavailable
from storage.identity import Clock
from storage.operators import Subject
from storage.web_answers import read_whole

# Asymmetric alone: with a shared secret, or none, whoever can check a token can make one (RFC 8725 3.1).
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519")  # RFC 7518, RFC 9864
_LEEWAY: Final = 30  # seconds that the issuer's clock may differ from ours
_FRESH: Final = timedelta(minutes=10)
_NOT_SOONER: Final = timedelta(seconds=30)
_STALE: Final = timedelta(hours=1)  # how long keys serve while the issuer cannot be reached
_LARGEST: Final = 256 * 1024  # octets of a document of the issuer's
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
# No answer, no JSON, or JSON that is no key set.
_NO_KEYS: Final = (aiohttp.ClientError, OSError, TimeoutError, JoseError, ValueError, TypeError, KeyError)
_log: Final = structlog.get_logger("situs.disclosure")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class NotOurs(Exception):
    """Not a token of the issuer for us, or not one any more. The text is for our log alone."""


@final
@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Whom to believe. Raises ValueError for an issuer that anybody on the way could impersonate."""

    issuer: str
    audience: str

    def __post_init__(self) -> None:
        _require_safe(self.issuer)
        if not self.audience:
            raise ValueError("audience: must say for whom tokens are made, or every client's would do")


class Issuer:
    """One OpenID Connect issuer."""

    def __init__(self, settings: IssuerSettings, clock: Clock) -> None:
        self._settings: Final = settings
        self._clock: Final = clock
        self._fetching: Final = asyncio.Lock()
        self._keys: KeySet | None = None
        self._fetched: datetime | None = None
        self._tried: datetime | None = None

    async def identify(self, token: str) -> Subject:
        """Whose token it is. Raises NotOurs; Unavailable where there are no keys to check it with."""
        try:
            header = jws.extract_compact(token.encode()).headers()
            if header.get("alg") not in _ALGORITHMS:
                raise NotOurs("the token's algorithm is not one of " + ", ".join(_ALGORITHMS))
            keys = await self._keys_for(header.get("kid"))
            decoded = jwt.decode(token, keys, algorithms=list(_ALGORITHMS))
            self._registry().validate(decoded.claims)
        except (JoseError, ValueError, UnicodeEncodeError) as error:
            raise NotOurs(f"{type(error).__name__}: {error}") from None
        subject = decoded.claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:  # OpenID Connect Core 2: 255 at most
            raise NotOurs("sub: a text of 1 to 255 characters is expected")
        return Subject(self._settings.issuer, subject)

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=_LEEWAY,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def _keys_for(self, kid: object) -> KeySet:
        """Keys that are fresh, or that name `kid`, or the ones there are. Raises Unavailable for none."""
        async with self._fetching:
            now = self._clock()
            if self._is_due(kid, now):
                self._tried = now
                try:
                    self._keys, self._fetched = await self._fetch(), now
                except _NO_KEYS as error:
                    _log.warning(
                        "the issuer's keys cannot be fetched", issuer=self._settings.issuer, error=repr(error)
                    )
            if self._keys is None or self._fetched is None or now - self._fetched >= _STALE:
                raise Unavailable(f"{self._settings.issuer}: there are no keys to check a token with")
            return self._keys

    def _is_due(self, kid: object, now: datetime) -> bool:
        if self._tried is not None and now - self._tried < _NOT_SOONER:
            return False
        return self._fetched is None or now - self._fetched >= _FRESH or not _names(self._keys, kid)

    async def _fetch(self) -> KeySet:
        where = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            found = await _document(session, where)
            if found["issuer"] != self._settings.issuer:  # OpenID Connect Discovery 1.0, 4.3
                raise ValueError(f"{where} is another issuer's")
            _require_safe(str(found["jwks_uri"]))
            keys = await _document(session, str(found["jwks_uri"]))
        return KeySet.import_key_set({"keys": keys["keys"]})


async def _document(session: aiohttp.ClientSession, where: str) -> dict[str, Any]:
    async with session.get(where, allow_redirects=False) as reply:
        reply.raise_for_status()
        return dict(parse(await read_whole(reply.content, _LARGEST)))


def _names(keys: KeySet | None, kid: object) -> bool:
    return keys is not None and (kid is None or any(key.kid == kid for key in keys.keys))


def _require_safe(url: str) -> None:
    """https, or plain HTTP to this very machine. Raises ValueError."""
    found = urlsplit(url)
    if found.scheme != "https" and not (found.scheme == "http" and found.hostname in _LOOPBACK):
        raise ValueError(f"{url}: https is expected")
