"""What an authority asks for: the claims of a lawful order, parsed once and strictly.

An `Order` is words only. It says what its text says, never that the text is genuine:
that is `policy.verification`, and what follows from it is `policy.decision`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar, final

from policy.address import Address, AddressError
from policy.geography import GeographyError, Jurisdiction

_INSTRUMENT: Final = re.compile(r"[a-z]{2,3}\.[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_Word = TypeVar("_Word", bound=StrEnum)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)\Z")


class ClaimError(ValueError):
    """A claim breaks a rule. `claim` is its dotted name, `rule` what was expected."""

    def __init__(self, claim: str, rule: str) -> None:
        super().__init__(f"{claim}: {rule}")
        self.claim: Final = claim
        self.rule: Final = rule


class DataCategory(StrEnum):
    """What the law tells apart, from the least to the most intrusive.

    Reg. (EU) 2023/1543 Art. 3(9)-(12); 18 U.S.C. 2703(a)-(c) draws the same lines.
    """

    SUBSCRIBER = "subscriber"
    IDENTIFICATION = "identification"
    TRAFFIC = "traffic"
    CONTENT = "content"


class IssuerRole(StrEnum):
    """The office that an authority holds. It counts only as the trust list gives it."""

    JUDGE = "judge"
    COURT = "court"
    INVESTIGATING_JUDGE = "investigating_judge"
    PROSECUTOR = "prosecutor"
    POLICE = "police"
    OTHER_AUTHORITY = "other_authority"


class SignatureRole(StrEnum):
    """What a signature does: makes the order, validates it, or takes it up in another state."""

    ISSUE = "issue"
    VALIDATE = "validate"
    RECOGNISE = "recognise"


@final
@dataclass(frozen=True, slots=True)
class Timespan:
    """Half open: a message received at `end` lies outside. Both are UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ClaimError("timespan", "start must be before end")

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@final
@dataclass(frozen=True, slots=True)
class Offence:
    """What is being investigated, as far as the law asks.

    `domestic`: offence and residence lie in the issuing state (Reg. (EU) 2023/1543 Art. 8(2)).
    """

    max_custodial_years: float = 0.0
    listed: bool = False
    domestic: bool = False


@final
@dataclass(frozen=True, slots=True)
class Order:
    """The claims of one order. Times are UTC; `categories` is never empty."""

    reference: str
    issuer: str
    issued_at: datetime
    not_before: datetime
    expires_at: datetime
    instrument: str
    issuing_state: Jurisdiction
    issuer_role: IssuerRole
    target: Address
    categories: frozenset[DataCategory]
    timespan: Timespan | None = None
    emergency: bool = False
    offence: Offence | None = None
    deliver_to: str | None = None
    matter: str | None = None

    @classmethod
    def parse(cls, claims: Mapping[str, Any]) -> Order:
        """The JSON payload of a signed order -> Order.

        Raises ClaimError naming the first claim that is unknown, missing, of the wrong type
        or impossible. Unknown claims are refused: a condition that we do not understand is a
        condition that we would break.
        """
        reader = _Claims(claims, "")
        reader.refuse_unknown(_ORDER_CLAIMS)
        issued_at = reader.moment("iat")
        not_before = reader.moment("nbf") if "nbf" in claims else issued_at
        expires_at = reader.moment("exp")
        if not not_before < expires_at:
            raise ClaimError("exp", "must be after nbf (or iat, where nbf is left out)")
        return cls(
            reference=reader.text("jti", limit=256),
            issuer=reader.text("iss", limit=256),
            issued_at=issued_at,
            not_before=not_before,
            expires_at=expires_at,
            instrument=reader.instrument("instrument"),
            issuing_state=reader.jurisdiction("issuing_state"),
            issuer_role=reader.word("issuer_role", IssuerRole),
            target=_target(reader),
            categories=parse_categories(claims.get("categories"), "categories"),
            timespan=_timespan(reader),
            emergency=reader.flag("emergency"),
            offence=_offence(reader),
            deliver_to=reader.text("deliver_to", limit=16_384) if "deliver_to" in claims else None,
            matter=reader.text("matter", limit=256) if "matter" in claims else None,
        )


_ORDER_CLAIMS: Final = frozenset(
    "jti iss iat nbf exp instrument issuing_state issuer_role target categories timespan "
    "emergency offence deliver_to matter".split()
)


def parse_categories(value: object, claim: str) -> frozenset[DataCategory]:
    """`["traffic", "content"]` -> categories. Raises ClaimError; empty and repeated are refused."""
    if not isinstance(value, list) or not value:
        raise ClaimError(claim, "a list of one or more data categories is expected")
    try:
        found = [DataCategory(item) for item in value]
    except ValueError:
        raise ClaimError(claim, f"each must be one of {', '.join(DataCategory)}") from None
    if len(set(found)) != len(found):
        raise ClaimError(claim, "a category stands twice")
    return frozenset(found)


def parse_moment(value: object, claim: str) -> datetime:
    """NumericDate (RFC 7519 2) or RFC 3339 text -> aware UTC datetime. Raises ClaimError."""
    rule = "a NumericDate or an RFC 3339 time with an offset is expected"
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(0, UTC) + timedelta(seconds=value)
        if isinstance(value, str) and _RFC3339.match(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ClaimError(claim, f"{value!r} is no possible time: {rule}") from None
    raise ClaimError(claim, rule)


class _Claims:
    """A JSON object being read; errors carry the dotted name of the claim."""

    def __init__(self, values: object, prefix: str) -> None:
        if not isinstance(values, Mapping):
            raise ClaimError(prefix.rstrip(".") or "claims", "a JSON object is expected")
        self.values: Final[Mapping[str, Any]] = values
        self._prefix: Final = prefix

    def refuse_unknown(self, known: frozenset[str]) -> None:
        for name in self.values:
            if name not in known:
                raise ClaimError(f"{self._prefix}{name}", "unknown claim")

    def get(self, name: str) -> Any:
        if name not in self.values:
            raise ClaimError(f"{self._prefix}{name}", "this claim is required")
        return self.values[name]

    def nested(self, name: str) -> _Claims:
        return _Claims(self.get(name), f"{self._prefix}{name}.")

    def text(self, name: str, *, limit: int) -> str:
        value = self.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > limit:
            raise ClaimError(f"{self._prefix}{name}", f"a text of 1 to {limit} characters is expected")
        if name != "deliver_to" and not value.isprintable():
            raise ClaimError(f"{self._prefix}{name}", "control characters are not allowed")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise ClaimError(f"{self._prefix}{name}", "true or false is expected")
        return value

    def moment(self, name: str) -> datetime:
        return parse_moment(self.get(name), f"{self._prefix}{name}")

    def jurisdiction(self, name: str) -> Jurisdiction:
        try:
            return Jurisdiction.parse(self.get(name))
        except GeographyError as error:
            raise ClaimError(f"{self._prefix}{name}", str(error)) from None

    def instrument(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str) or not _INSTRUMENT.match(value):
            raise ClaimError(
                f"{self._prefix}{name}", "a lawbook id such as 'ie.production-order' is expected"
            )
        return value

    def word(self, name: str, kind: type[_Word]) -> _Word:
        try:
            return kind(self.get(name))
        except ValueError:
            raise ClaimError(f"{self._prefix}{name}", f"one of {', '.join(kind)} is expected") from None


def _target(reader: _Claims) -> Address:
    target = reader.nested("target")
    target.refuse_unknown(frozenset({"address"}))
    try:
        return Address.parse(target.text("address", limit=320))
    except AddressError as error:
        raise ClaimError("target.address", str(error)) from None


def _timespan(reader: _Claims) -> Timespan | None:
    if "timespan" not in reader.values:
        return None
    span = reader.nested("timespan")
    span.refuse_unknown(frozenset({"start", "end"}))
    return Timespan(span.moment("start"), span.moment("end"))


def _offence(reader: _Claims) -> Offence | None:
    if "offence" not in reader.values:
        return None
    offence = reader.nested("offence")
    offence.refuse_unknown(frozenset({"max_custodial_years", "listed", "domestic"}))
    years = offence.values.get("max_custodial_years", 0)
    if isinstance(years, bool) or not isinstance(years, int | float) or not 0 <= years <= 1000:
        raise ClaimError("offence.max_custodial_years", "a number of years from 0 to 1000 is expected")
    return Offence(float(years), offence.flag("listed"), offence.flag("domestic"))
