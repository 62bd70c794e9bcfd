"""Operators who sign in elsewhere: bearer tokens of one OpenID Connect issuer.

The issuer says who somebody is; what they may do is still the region's own record. A token is read as an
order is: in one way or not at all, whatever the library would let through.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, final

from joserfc import jws, jwt
from joserfc.errors import JoseError

from gateway.disclosure.issuer_keys import IssuerKeys, require_safe
from policy.strict_json import parse
from storage.identity import Clock
from storage.operators import Subject

# Asymmetric alone: with a shared secret, or none, whoever can check a token can make one (RFC 8725 3.1).
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519")  # RFC 7518, RFC 9864
# RFC 8725 3.11: the issuer signs other things with the same keys for the same audience. An ID token calls
# itself JWT or nothing, an access token at+jwt (RFC 9068 2.1); a logout token, say, is neither.
_TYPES: Final = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_LEEWAY: Final = 30  # seconds that the issuer's clock may differ from ours
_HEADER: Final = 1024  # characters, before anything looks inside; the library takes fewer yet
_CLAIMS_DEPTH: Final = 32  # issuers say more of somebody than we read


class NotOurs(Exception):
    """Not a token of the issuer for us, or not one any more. The text is for our log alone."""


@final
@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Whom to believe. Raises ValueError for an issuer that anybody on the way could impersonate.

    `audience`: what tokens for this gateway name in `aud`, by itself or among others. Which client asked for
    the token (`azp`) says nothing: it is another one than the gateway.
    """

    issuer: str
    audience: str

    def __post_init__(self) -> None:
        require_safe(self.issuer)
        if not self.audience:
            raise ValueError("audience: must say for whom tokens are made, or every client's would do")


class Issuer:
    """One OpenID Connect issuer."""

    def __init__(self, settings: IssuerSettings, clock: Clock) -> None:
        self._settings: Final = settings
        self._clock: Final = clock
        self._keys: Final = IssuerKeys(settings.issuer, clock)

    async def identify(self, token: str) -> Subject:
        """Whose token it is. Raises NotOurs; Unavailable where there are no keys to check it with."""
        try:
            keys = await self._keys.naming(_header(token).get("kid"))
            signed = jws.deserialize_compact(token, keys, algorithms=list(_ALGORITHMS))
            claims = _object(signed.payload, _CLAIMS_DEPTH)
            self._registry().validate(claims)
        except (JoseError, ValueError) as error:  # JsonFault and UnicodeError are ValueErrors
            raise NotOurs(f"{type(error).__name__}: {error}") from None
        if "events" in claims:  # RFC 8417 2.2: it tells of something that happened to somebody
            raise NotOurs("a security event, whatever type it gives itself")
        subject = claims["sub"]
        if not 0 < len(subject) <= 255:  # OpenID Connect Core 2: 255 at most
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


def _header(token: str) -> dict[str, Any]:
    """The protected header, that nobody stands behind yet. Raises NotOurs, ValueError."""
    encoded = token.partition(".")[0]
    if len(encoded) > _HEADER:
        raise NotOurs(f"a header of {len(encoded)} characters")
    header = _object(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)), 4)
    if header.get("alg") not in _ALGORITHMS:
        raise NotOurs("the token's algorithm is not one of " + ", ".join(_ALGORITHMS))
    if "crit" in header:  # RFC 7515 4.1.11: no extension is understood here, and none is needed
        raise NotOurs("crit: the token asks for what is not understood here")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.casefold() not in _TYPES:
        raise NotOurs("typ: another paper than an ID token or an access token")
    return header


def _object(octets: bytes, depth: int) -> dict[str, Any]:
    """A JSON object with one reading. Raises NotOurs, JsonFault."""
    found = parse(octets, max_depth=depth)
    if not isinstance(found, dict):
        raise NotOurs("a JSON object is expected")
    return found
