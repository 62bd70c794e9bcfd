"""Who works at a region's gateway: operator records, sealed in the region that they clear for.

An operator's clearance for a region is the record *in that region*: whoever holds another
region's credentials can make no operator for this one, and a region that cannot be read clears
nobody. A token is `situs_<id>_<secret>`. It is shown once, when it is made; at rest there is its
argon2id hash alone (RFC 9106).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from policy.clearance import Operator, Role
from policy.geography import GeographyError, RegionCode
from storage.errors import AlreadyExists, Corrupt
from storage.objects import Blob, ETag, Listed

_TOKEN: Final = re.compile(r"situs_([0-9a-f]{16})_([0-9a-f]{64})\Z")
_PREFIX: Final = "operators/"
# RFC 9106 4, second recommended option, as argon2-cffi ships it: 64 MiB, 3 passes, 4 lanes.
_HASHER: Final = PasswordHasher()


class Documents(Protocol):
    """What the register needs of a region's vault."""

    async def put_if_absent(self, key: str, document: bytes) -> ETag: ...
    async def get(self, key: str) -> Blob: ...
    async def compare_and_swap(self, key: str, document: bytes, expected: ETag | None) -> ETag: ...
    def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]: ...


@final
@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, parsed. `repr` shows no secret."""

    id: str
    secret: str

    @classmethod
    def new(cls) -> Token:
        return cls(secrets.token_hex(8), secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """None for anything that is not a token's text."""
        found = _TOKEN.match(text)
        return cls(found.group(1), found.group(2)) if found else None

    @property
    def text(self) -> str:
        return f"situs_{self.id}_{self.secret}"

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the text: what a cache of verified tokens may hold in memory."""
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def hint(self) -> str:
        """32 bits of the secret's SHA-256: no help in finding 256 bits, and enough to tell a wrong secret.

        Without it, whoever knows a token's id could have the gateway compute an argon2 hash for each guess.
        """
        return hashlib.sha256(self.secret.encode()).hexdigest()[:8]

    def hash(self) -> str:
        """argon2id, in the PHC string format. Takes some 50 ms of CPU: call it in a thread."""
        return _HASHER.hash(self.secret)

    def matches(self, phc: str) -> bool:
        """Whether `phc` is this token's hash. As slow as `hash`."""
        try:
            return _HASHER.verify(phc, self.secret)
        except (VerificationError, InvalidHashError):
            return False

    def __repr__(self) -> str:
        return f"Token({self.id!r})"


class Credential(Protocol):
    """How somebody shows who they are. `id` finds their record, `matches` says whether it is theirs.

    `hint`: what a record may keep to say at once that it is not; None where `matches` costs nothing.
    """

    @property
    def id(self) -> str: ...
    @property
    def hint(self) -> str | None: ...
    @property
    def fingerprint(self) -> bytes: ...
    def matches(self, kept: str) -> bool: ...


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody whom an OpenID Connect issuer knows under `subject`."""

    issuer: str
    subject: str

    @property
    def kept(self) -> str:
        """What a record keeps of it."""
        return f"oidc {self.issuer} {self.subject}"

    @property
    def id(self) -> str:
        return _named_by(self.kept)

    @property
    def hint(self) -> None:
        return None

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(self.kept.encode()).digest()

    def matches(self, kept: str) -> bool:
        return kept == self.kept


@final
@dataclass(frozen=True, slots=True)
class HeldKey:
    """Somebody who holds the private key of a TLS client certificate: `spki` is the key's SHA-256 in hex."""

    spki: str

    @property
    def kept(self) -> str:
        """What a record keeps of it."""
        return f"tls sha256:{self.spki}"

    @property
    def id(self) -> str:
        return _named_by(self.kept)

    @property
    def hint(self) -> None:
        return None

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(self.kept.encode()).digest()

    def matches(self, kept: str) -> bool:
        return kept == self.kept


def _named_by(kept: str) -> str:
    """A record's id for a credential that has none of its own: 16 hexadecimal digits."""
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


@final
@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """One credential of one person. Two credentials of one person carry the same `name`.

    `credential`: a token's argon2id hash, or who somebody is elsewhere (`Subject.kept`, `HeldKey.kept`).
    `hint`: the token's own; None for a record without a token, or from before there were hints.
    """

    id: str
    name: str
    roles: frozenset[Role]
    regions: frozenset[RegionCode]
    credential: str
    created: datetime
    expires: datetime
    revoked: datetime | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        Operator(self.name, self.roles, self.regions)  # raises RolesConflict

    def operator(self, region: RegionCode) -> Operator:
        """Whom this record clears, for the region that it was read in and no other."""
        return Operator(person(self.name), self.roles, frozenset({region}) & self.regions)

    def in_force(self, now: datetime) -> bool:
        return self.revoked is None and now < self.expires

    def may_be_of(self, credential: Credential) -> bool:
        """False where the hint tells already that it is not; otherwise `Credential.matches` has the word."""
        return self.hint is None or self.hint == credential.hint

    def to_bytes(self) -> bytes:
        return json.dumps(
            {
                "version": 1,
                "id": self.id,
                "name": self.name,
                "roles": sorted(self.roles),
                "regions": sorted(str(region) for region in self.regions),
                "credential": self.credential,
                "created": self.created.isoformat(),
                "expires": self.expires.isoformat(),
                "revoked": self.revoked.isoformat() if self.revoked else None,
                "hint": self.hint,
            }
        ).encode()

    @classmethod
    def from_bytes(cls, key: str, body: bytes) -> OperatorRecord:
        """Raises Corrupt naming `key`."""
        try:
            found = json.loads(body)
            if found["version"] != 1:
                raise Corrupt(key, f"operator record version {found['version']!r} is unknown")
            return cls(
                id=found["id"],
                name=found["name"],
                roles=frozenset(Role(role) for role in found["roles"]),
                regions=frozenset(RegionCode.parse(region) for region in found["regions"]),
                credential=found["credential"],
                created=datetime.fromisoformat(found["created"]),
                expires=datetime.fromisoformat(found["expires"]),
                revoked=datetime.fromisoformat(found["revoked"]) if found["revoked"] else None,
                hint=found.get("hint"),
            )
        except (KeyError, TypeError, ValueError, GeographyError) as error:
            raise Corrupt(key, f"not an operator record ({error})") from None


def person(name: str) -> str:
    """The spelling by which two names are one person: four eyes must not be fooled by a capital.

    Nor by what nobody sees, nor by the apostrophe or hyphen that another keyboard makes.
    Raises ValueError for a name that is empty, longer than 100 characters or not printable.
    """
    spelt = _UNSEEN.sub("", unicodedata.normalize("NFKC", name.translate(_TYPED))).strip()
    if not spelt or len(spelt) > 100 or not spelt.isprintable():
        raise ValueError("an operator's name is 1 to 100 printable characters")
    return " ".join(unicodedata.normalize("NFKC", spelt.casefold()).split())


# Default_Ignorable_Code_Point (UAX 44), as far as Python calls it printable: joiners, fillers, selectors.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_TYPED: Final = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02bd\u2032\u00b4`", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)


def one_script(name: str) -> None:
    """Refuse a name that mixes scripts: `Аoife` with a Cyrillic А is another person who looks like Aoife.

    UTS 39 5.2, "single script". Asked where a name is given; records
    that stand already are read as they are. A name wholly in another script passes: it says what it is.
    Raises ValueError naming the scripts.
    """
    spelt = unicodedata.normalize("NFKC", name)
    letters = (letter for letter in spelt if unicodedata.category(letter) in _LETTERS)
    scripts = {unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters}
    if len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER):
        raise ValueError(f"letters of one script are expected, {' and '.join(sorted(scripts))} were found")


_LETTERS: Final = frozenset({"Lu", "Ll", "Lt", "Lo"})
# UTS 39 5.1: writing systems that use several scripts. The words are those that Unicode names begin with.
_WRITTEN_TOGETHER: Final = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"CJK", "BOPOMOFO"}),
    frozenset({"CJK", "HANGUL"}),
)


class OperatorRegister:
    """The operators of one region."""

    def __init__(self, documents: Documents) -> None:
        self._documents: Final = documents

    async def add(self, record: OperatorRecord) -> None:
        """Raises AlreadyExists for an id whose record is in force; Conflict where another one is added.

        A token's id is never the same by chance. A subject or a key has the same id always: its
        record can be made anew once the earlier one has ended.
        """
        key = _key(record.id)
        try:
            await self._documents.put_if_absent(key, record.to_bytes())
        except AlreadyExists:
            blob = await self._documents.get(key)
            if OperatorRecord.from_bytes(key, blob.body).in_force(record.created):
                raise
            await self._documents.compare_and_swap(key, record.to_bytes(), blob.etag)

    async def get(self, token_id: str) -> OperatorRecord:
        """Raises NotFound, Corrupt, Unavailable."""
        key = _key(token_id)
        return OperatorRecord.from_bytes(key, (await self._documents.get(key)).body)

    async def revoke(self, token_id: str, now: datetime) -> OperatorRecord:
        """Ends a token for good. Revoking it again changes nothing. Raises NotFound."""
        key = _key(token_id)
        blob = await self._documents.get(key)
        record = OperatorRecord.from_bytes(key, blob.body)
        if record.revoked is None:
            record = replace(record, revoked=now)
            await self._documents.compare_and_swap(key, record.to_bytes(), blob.etag)
        return record

    async def list(self) -> tuple[OperatorRecord, ...]:
        """Every record, revoked and expired ones too, ordered by name."""
        records = [
            await self.get(listed.key.rpartition("/")[2]) async for listed in self._documents.list(_PREFIX)
        ]
        return tuple(sorted(records, key=lambda record: (record.name, record.created)))


def _key(token_id: str) -> str:
    return f"{_PREFIX}{token_id}"
