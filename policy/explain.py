"""A hypothetical: what would be decided, from claims alone. The JSON of `situs law explain`.

Nothing is verified here and nothing is opened: the scenario says who has signed, and the
answer is worth what the scenario is worth. Besides CONTRACT.md's keys a scenario may say
`addressee_state` (where the order was addressed to), `target_state` (where the target is and
belongs), `received_at` (when the order came) and `enforcing_authority` (`nothing`, `cleared`
or `objected`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, final

from policy.assessment import Assessment, Circumstances, EnforcingAnswer, Setting
from policy.decision import assess
from policy.geography import GeographyError, Jurisdiction, Region, RegionCode
from policy.lawbook import Lawbook, UnknownRegion
from policy.order import (
    ClaimError,
    DataCategory,
    IssuerRole,
    Order,
    SignatureRole,
    parse_categories,
    parse_moment,
)
from policy.rules import JurisdictionKind
from policy.signatory import Signatory
from policy.strict_json import JsonFault, parse

_KEYS: Final = frozenset(
    "storage_region storage_country now provider_entities order signatories requested "
    "addressee_state target_state received_at enforcing_authority".split()
)
_SIGNATORY_KEYS: Final = frozenset({"role", "jurisdiction", "issuer_roles", "name"})
_VALID_FOR: Final = timedelta(days=30)  # what an order that says no `exp` is taken to be good for


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """One hypothetical, read strictly."""

    order: Order
    signatories: tuple[Signatory, ...]
    requested: frozenset[DataCategory]
    setting: Setting
    circumstances: Circumstances
    at: datetime

    @classmethod
    def parse(cls, raw: bytes, lawbook: Lawbook) -> Scenario:
        """JSON text -> Scenario. Raises ClaimError naming the first key that breaks a rule."""
        try:
            values = parse(raw)
        except JsonFault as fault:
            raise ClaimError("scenario", str(fault)) from None
        if not isinstance(values, dict):
            raise ClaimError("scenario", "a JSON object is expected")
        return cls.read(values, lawbook)

    @classmethod
    def read(cls, values: Mapping[str, Any], lawbook: Lawbook) -> Scenario:
        """The scenario's JSON object -> Scenario. Raises ClaimError."""
        _refuse_unknown(values, _KEYS, "")
        now = parse_moment(_get(values, "now"), "now")
        claims = _get(values, "order")
        if not isinstance(claims, Mapping):
            raise ClaimError("order", "a JSON object of claims is expected")
        try:
            order = Order.parse(_with_times(claims, now))
        except ClaimError as error:
            raise ClaimError(f"order.{error.claim}", error.rule) from None
        requested = order.categories
        if "requested" in values:
            requested = parse_categories(values["requested"], "requested")
        return cls(
            order=order,
            signatories=_signatories(values.get("signatories", [])),
            requested=requested,
            setting=Setting(
                region=_region(values, lawbook),
                provider_entities=_entities(values.get("provider_entities", [])),
                addressee=_optional_state(values, "addressee_state"),
            ),
            circumstances=_circumstances(values, now),
            at=now,
        )


def explain(scenario: Scenario, lawbook: Lawbook) -> Assessment:
    """What would be decided."""
    return assess(
        scenario.order,
        scenario.signatories,
        scenario.requested,
        scenario.setting,
        lawbook,
        scenario.at,
        scenario.circumstances,
    )


def _with_times(claims: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A hypothetical order may leave out its reference, its issuer's name and its times.

    It is then one that was just made and is good for a month; a time that is given stands, and
    the ones left out are chosen so as not to contradict it.
    """
    filled: dict[str, Any] = {"jti": "hypothetical", "iss": "hypothetical authority", **claims}
    known = {name: parse_moment(claims[name], name) for name in ("iat", "nbf", "exp") if name in claims}
    if "iat" not in known:
        starts = [now, *([known["nbf"]] if "nbf" in known else [])]
        if "exp" in known:
            starts.append(known["exp"] - _VALID_FOR)
        known["iat"] = min(starts)
        filled["iat"] = known["iat"].isoformat()
    if "exp" not in known:
        filled["exp"] = (max(now, *known.values()) + _VALID_FOR).isoformat()
    return filled


def _region(values: Mapping[str, Any], lawbook: Lawbook) -> Region:
    """`storage_region` by the lawbook's table, or `storage_country`; both must agree."""
    country = _optional_state(values, "storage_country")
    if country is not None:
        law = lawbook.law(country)
        if law is not None and law.kind is not JurisdictionKind.STATE:
            raise ClaimError("storage_country", f"{country} is no state: a bucket stands in a country")
    if "storage_region" not in values:
        if country is None:
            raise ClaimError("storage_region", "storage_region or storage_country is required")
        return Region(RegionCode.parse(f"somewhere-{country.code.lower()}"), country)
    try:
        code = RegionCode.parse(values["storage_region"])
        if country is not None and code not in lawbook.regions:
            return Region(code, country)
        region = lawbook.region(code)
    except (GeographyError, UnknownRegion) as error:
        raise ClaimError("storage_region", str(error)) from None
    if country is not None and region.country != country:
        raise ClaimError("storage_country", f"{code} stands in {region.country}, not in {country}")
    return region


def _circumstances(values: Mapping[str, Any], now: datetime) -> Circumstances:
    received_at = None
    if "received_at" in values:
        received_at = parse_moment(values["received_at"], "received_at")
        if received_at > now:
            raise ClaimError("received_at", "must not be after now")
    answer = EnforcingAnswer.NOTHING
    if "enforcing_authority" in values:
        try:
            answer = EnforcingAnswer(values["enforcing_authority"])
        except ValueError:
            raise ClaimError(
                "enforcing_authority", f"one of {', '.join(EnforcingAnswer)} is expected"
            ) from None
    return Circumstances(received_at, answer, _optional_state(values, "target_state"))


def _signatories(value: object) -> tuple[Signatory, ...]:
    if not isinstance(value, list):
        raise ClaimError("signatories", "a list is expected")
    return tuple(_signatory(item, f"signatories[{position}]") for position, item in enumerate(value))


def _signatory(value: object, place: str) -> Signatory:
    if not isinstance(value, Mapping):
        raise ClaimError(place, "a JSON object is expected")
    _refuse_unknown(value, _SIGNATORY_KEYS, f"{place}.")
    roles = _get(value, "issuer_roles", f"{place}.")
    name = value.get("name", place)
    if not isinstance(name, str) or not name.strip():
        raise ClaimError(f"{place}.name", "a text is expected")
    try:
        role = SignatureRole(_get(value, "role", f"{place}."))
    except ValueError:
        raise ClaimError(f"{place}.role", f"one of {', '.join(SignatureRole)} is expected") from None
    jurisdiction = _state(_get(value, "jurisdiction", f"{place}."), f"{place}.jurisdiction")
    if not isinstance(roles, list) or not roles:
        raise ClaimError(f"{place}.issuer_roles", "a list of one or more offices is expected")
    try:
        offices = frozenset(IssuerRole(item) for item in roles)
    except ValueError:
        raise ClaimError(f"{place}.issuer_roles", f"each must be one of {', '.join(IssuerRole)}") from None
    return Signatory(role, jurisdiction, offices, name)


def _entities(value: object) -> frozenset[Jurisdiction]:
    if not isinstance(value, list):
        raise ClaimError("provider_entities", "a list of countries is expected")
    return frozenset(_state(item, "provider_entities") for item in value)


def _optional_state(values: Mapping[str, Any], key: str) -> Jurisdiction | None:
    return _state(values[key], key) if key in values else None


def _state(value: Any, place: str) -> Jurisdiction:
    try:
        return Jurisdiction.parse(value)
    except GeographyError as error:
        raise ClaimError(place, str(error)) from None


def _get(values: Mapping[str, Any], key: str, prefix: str = "") -> Any:
    if key not in values:
        raise ClaimError(f"{prefix}{key}", "is required")
    return values[key]


def _refuse_unknown(values: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            raise ClaimError(f"{prefix}{key}", f"unknown; known here: {', '.join(sorted(known))}")
