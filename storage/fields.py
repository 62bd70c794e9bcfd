"""Domain types as fields of the JSON documents at rest: parsed on the way in, text on the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import PlainSerializer, PlainValidator

from policy.address import Address
from policy.geography import Jurisdiction, RegionCode
from storage.identity import AccountId
from storage.keys import PublicKeys

_T = TypeVar("_T")


def _made_by(kind: type[_T], parse: Callable[[Any], _T]) -> PlainValidator:
    """What is of the type already stands; what comes out of JSON is parsed."""
    return PlainValidator(lambda value: value if isinstance(value, kind) else parse(value))


AccountField = Annotated[
    AccountId, _made_by(AccountId, lambda text: AccountId.parse(str(text))), PlainSerializer(str)
]
AddressField = Annotated[
    Address, _made_by(Address, lambda text: Address.parse(str(text))), PlainSerializer(str)
]
JurisdictionField = Annotated[Jurisdiction, _made_by(Jurisdiction, Jurisdiction.parse), PlainSerializer(str)]
PublicKeysField = Annotated[
    PublicKeys, _made_by(PublicKeys, PublicKeys.from_json), PlainSerializer(PublicKeys.to_json)
]
RegionField = Annotated[RegionCode, _made_by(RegionCode, RegionCode.parse), PlainSerializer(str)]
