"""Directory records: what a region may know of an address without holding it.

A record lies at `directory/<name>`, and its name is an HMAC of the address: a bucket's reader
cannot tell whose it is, nor try out a list of addresses without the deployment's directory key.
The record is authenticated under a second key derived from the same one, together with its
name: a bucket in another country cannot redirect anybody's mail by editing or moving a record.
(It can give back an older version of a record; `situs directory sync` names and mends that.)
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated, Final, Literal, NewType, final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from policy.address import Address
from policy.geography import Region
from storage.errors import Corrupt
from storage.fields import AccountField, JurisdictionField, PublicKeysField, RegionField
from storage.located import AccountStatus, Located

Name = NewType("Name", str)  # 64 hexadecimal digits

PREFIX: Final = "directory/"

_HexName = Annotated[Name, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    # Rises with every change: of two copies the one with the higher serial is the newer.
    serial: Annotated[int, Field(ge=1)] = 1


@final
class Reservation(_Record):
    """An address whose account is being made. Takes no mail, and keeps everybody else away.

    It stays where the maker died half-way: whoever continues does so with the same account
    and home, so that nothing is ever left under an account that no record names.
    """

    kind: Literal["reservation"] = "reservation"
    account: AccountField
    home: RegionField
    country: JurisdictionField
    maker: str  # of chance: two racers never write the same octets
    until: int  # Unix time in seconds after which somebody else may continue


@final
class AccountRecord(_Record):
    """An address that is an account's own."""

    kind: Literal["account"] = "account"
    account: AccountField
    home: RegionField
    country: JurisdictionField
    status: AccountStatus
    keys: PublicKeysField
    # Whether new mail is written under S3 Object Lock's legal hold. Veiled where it lies: that a
    # mailbox is under hold is nothing to tell the other regions' buckets.
    legal_hold: bool = False

    def located(self) -> Located:
        home = Region(self.home, self.country)
        return Located(self.account, home, self.keys, self.status, self.legal_hold)


@final
class AliasRecord(_Record):
    """An address whose mail goes to the account at `target`. Never to another alias."""

    kind: Literal["alias"] = "alias"
    target: _HexName


@final
class DomainRecord(_Record):
    """What holds for a whole domain: who is its postmaster, and who takes what nobody else does."""

    kind: Literal["domain"] = "domain"
    postmaster: _HexName
    catch_all: _HexName | None = None


@final
class RemovedRecord(_Record):
    """An alias that was taken away. It stays, so that a region which was down learns of it."""

    kind: Literal["removed"] = "removed"


Record = Reservation | AccountRecord | AliasRecord | DomainRecord | RemovedRecord
_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


@final
class DirectoryKey:
    """The deployment's directory key: makes names of addresses, and signs records."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is 32 octets of chance, the same for every process of a deployment."""
        if len(secret) != 32:
            raise ValueError("a directory key is 32 octets")
        self._names: Final = _derived(secret, b"situs directory names")
        self._records: Final = _derived(secret, b"situs directory records")
        self._veils: Final = _derived(secret, b"situs directory veils")

    def of_address(self, address: Address) -> Name:
        return self._name(b"address", str(address))

    def of_domain(self, domain: str) -> Name:
        """`domain` as `Address.domain` writes it."""
        return self._name(b"domain", domain)

    def _name(self, kind: bytes, text: str) -> Name:
        digest = hmac.new(self._names, kind + b"\0" + text.encode(), hashlib.sha256)
        return Name(digest.hexdigest())

    def write(self, name: Name, record: Record) -> bytes:
        """The record as it lies in a bucket: the same octets in every region."""
        fields = record.model_dump(mode="json")
        if isinstance(record, AccountRecord):
            fields["legal_hold"] = self._veil(name, record.serial, record.legal_hold)
        return _canonical({"mac": self._mac(name, fields), "record": fields})

    def read(self, name: Name, body: bytes) -> Record:
        """Raises Corrupt, naming the object, for a record that `write` did not make for this name."""
        key = f"{PREFIX}{name}"
        try:
            document = json.loads(body)
            fields, mac = document["record"], document["mac"]
            if not hmac.compare_digest(str(mac), self._mac(name, fields)):
                raise Corrupt(key, "its authentication code is not this deployment's")
            if "legal_hold" in fields:
                held = self._veil(name, fields["serial"], True)
                fields["legal_hold"] = hmac.compare_digest(str(fields["legal_hold"]), held)
            return _RECORD.validate_python(fields)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Corrupt(key, "it is not a directory record") from None

    def _veil(self, name: Name, serial: int, held: bool) -> str:
        """A flag that looks like chance to whoever has no directory key: another one in each record."""
        text = f"{name}\0{serial}\0{held}"
        return hmac.new(self._veils, text.encode(), hashlib.sha256).hexdigest()[:16]

    def _mac(self, name: Name, fields: object) -> str:
        return hmac.new(self._records, name.encode() + b"\0" + _canonical(fields), hashlib.sha256).hexdigest()


def _canonical(value: object) -> bytes:
    # Written and read by this module alone, from texts and whole numbers: sorted keys suffice.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=purpose).derive(secret)
