"""A scenario is read strictly: what is wrong is named, and what may be left out is filled in openly."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policy.assessment import Assessment, Outcome
from policy.explain import Scenario, explain
from policy.order import ClaimError, DataCategory
from tests.policy.lawcases import shipped_lawbook

NOW = "2026-11-24T10:00:00Z"
USUAL: dict[str, Any] = {
    "storage_region": "eu-west-1",
    "now": NOW,
    "provider_entities": ["US"],
    "order": {
        "instrument": "ie.production-order",
        "issuing_state": "IE",
        "issuer_role": "judge",
        "target": {"address": "aoife@example.ie"},
        "categories": ["content"],
    },
    "signatories": [{"role": "issue", "jurisdiction": "IE", "issuer_roles": ["judge"]}],
    "requested": ["content"],
}
_GONE = object()


def _scenario(changes: dict[str, object]) -> Any:
    """USUAL with dotted keys changed, or taken away."""
    scenario: Any = copy.deepcopy(USUAL)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place: Any = scenario
        for part in path:
            place = place[int(part)] if part.isdigit() else place[part]
        if value is _GONE:
            del place[last]
        else:
            place[last] = value
    return scenario


def _explain(**changes: object) -> Assessment:
    lawbook = shipped_lawbook()
    return explain(
        Scenario.read(_scenario({k.replace("__", "."): v for k, v in changes.items()}), lawbook), lawbook
    )


FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "unknown key": ({"storage": "IE"}, "storage", "unknown"),
    "unknown claim": ({"order.colour": "red"}, "order.colour", "unknown claim"),
    "unknown claim of the target": ({"order.target.name": "x"}, "order.target.name", "unknown claim"),
    "no now": ({"now": _GONE}, "now", "is required"),
    "no order": ({"order": _GONE}, "order", "is required"),
    "an order that is none": ({"order": "x"}, "order", "object of claims"),
    "a date that cannot be": ({"now": "2026-02-30T00:00:00Z"}, "now", "no possible time"),
    "a time without an offset": ({"now": "2026-11-24T10:00:00"}, "now", "RFC 3339"),
    "an end before the beginning": (
        {"order.timespan": {"start": NOW, "end": "2026-01-01T00:00:00Z"}},
        "order.timespan",
        "before end",
    ),
    "an impossible exp": ({"order.exp": "2026-13-01T00:00:00Z"}, "exp", "no possible time"),
    "exp before nbf": ({"order.nbf": NOW, "order.exp": "2026-11-01T00:00:00Z"}, "order.exp", "after nbf"),
    "wrong type": ({"order.emergency": "yes"}, "order.emergency", "true or false"),
    "unknown category": ({"order.categories": ["mail"]}, "order.categories", "each must be one of"),
    "unknown requested": ({"requested": ["mail"]}, "requested", "each must be one of"),
    "nothing requested": ({"requested": []}, "requested", "one or more"),
    "unknown office": ({"order.issuer_role": "sheriff"}, "order.issuer_role", "one of judge"),
    "unknown region": ({"storage_region": "mars-north-1"}, "storage_region", "mars-north-1"),
    "a region that is none": ({"storage_region": 7}, "storage_region", "not a region code"),
    "no place": ({"storage_region": _GONE}, "storage_region", "storage_region or storage_country"),
    "a country that is none": ({"storage_country": "Ireland"}, "storage_country", "ISO 3166-1"),
    "a country that is a union": (
        {"storage_region": _GONE, "storage_country": "EU"},
        "storage_country",
        "no state",
    ),
    "a region of another country": ({"storage_country": "DE"}, "storage_country", "eu-west-1 stands in IE"),
    "entities": ({"provider_entities": "US"}, "provider_entities", "list of countries"),
    "an entity": ({"provider_entities": ["USA"]}, "provider_entities", "ISO 3166-1"),
    "signatories": ({"signatories": {}}, "signatories", "a list"),
    "a signatory": ({"signatories": ["IE"]}, "signatories[0]", "JSON object"),
    "a signatory's key": ({"signatories.0.rank": 1}, "signatories[0].rank", "unknown"),
    "a signatory's act": ({"signatories.0.role": "sign"}, "signatories[0].role", "one of issue"),
    "a signatory's state": (
        {"signatories.0.jurisdiction": "ie"},
        "signatories[0].jurisdiction",
        "ISO 3166-1",
    ),
    "a signatory's offices": (
        {"signatories.0.issuer_roles": ["king"]},
        "signatories[0].issuer_roles",
        "must be",
    ),
    "a signatory without office": (
        {"signatories.0.issuer_roles": []},
        "signatories[0].issuer_roles",
        "one or more",
    ),
    "a signatory's name": ({"signatories.0.name": ""}, "signatories[0].name", "a text"),
    "received in the future": ({"received_at": "2026-11-25T00:00:00Z"}, "received_at", "not be after now"),
    "an answer": ({"enforcing_authority": "silent"}, "enforcing_authority", "one of nothing"),
    "an addressee": ({"addressee_state": 5}, "addressee_state", "ISO 3166-1"),
    "a target's state": ({"target_state": "usa"}, "target_state", "ISO 3166-1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_named(name: str) -> None:
    changes, claim, rule = FAULTS[name]
    with pytest.raises(ClaimError) as raised:
        Scenario.read(_scenario(changes), shipped_lawbook())
    assert raised.value.claim.endswith(claim)
    assert rule in raised.value.rule


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"", "not JSON"),
        (b"[]", "a JSON object"),
        (b'{"now": 1, "now": 2}', "stands twice"),
        (b'{"now": NaN}', "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"order": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested deeper"),
    ],
)
def test_what_is_not_one_json_object_is_refused(raw: bytes, rule: str) -> None:
    with pytest.raises(ClaimError, match=rule) as raised:
        Scenario.parse(raw, shipped_lawbook())
    assert raised.value.claim == "scenario"


def test_a_hypothetical_order_needs_no_reference_and_no_times() -> None:
    scenario = Scenario.parse(json.dumps(USUAL).encode(), shipped_lawbook())
    now = datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert scenario.order.issued_at == scenario.order.not_before == scenario.order.issued_at == now
    assert scenario.order.expires_at > now
    assert explain(scenario, shipped_lawbook()).outcome is Outcome.PERMIT


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ({"exp": "2026-11-24T10:00:01Z"}, Outcome.PERMIT),
        ({"exp": NOW}, Outcome.REFUSE),
        ({"exp": "2020-01-01T00:00:00Z"}, Outcome.REFUSE),
        ({"nbf": NOW}, Outcome.PERMIT),
        ({"nbf": "2026-11-24T10:00:01Z"}, Outcome.REFUSE),
        ({"nbf": "2030-01-01T00:00:00Z"}, Outcome.REFUSE),
        ({"nbf": "2020-01-01T00:00:00Z"}, Outcome.PERMIT),
        ({"nbf": "2020-01-01T00:00:00Z", "exp": "2020-02-01T00:00:00Z"}, Outcome.REFUSE),
        ({"nbf": "2020-01-01T00:00:00Z", "exp": "2027-02-01T00:00:00Z"}, Outcome.PERMIT),
        ({"iat": "2026-11-01T00:00:00Z"}, Outcome.PERMIT),
        ({"iat": "2026-12-01T00:00:00Z"}, Outcome.REFUSE),
        ({"iat": 1795516800, "exp": 1795600000}, Outcome.REFUSE),
    ],
)
def test_times_that_are_given_stand(claims: dict[str, object], outcome: Outcome) -> None:
    order = {**USUAL["order"], **claims}
    assert _explain(order=order).outcome is outcome


def test_left_out_means_the_whole_order_no_signature_and_no_entity() -> None:
    assert _explain(requested=_GONE).categories == {DataCategory.CONTENT}
    assert _explain(signatories=_GONE).outcome is Outcome.REFUSE
    assert _explain(provider_entities=_GONE).outcome is Outcome.PERMIT


def test_a_country_does_for_a_region() -> None:
    assert _explain(storage_region=_GONE, storage_country="IE").outcome is Outcome.PERMIT
    assert _explain(storage_country="IE").outcome is Outcome.PERMIT
    # A region of one's own, whose country the lawbook does not know, stands where the scenario says.
    assert _explain(storage_region="ie-dublin-2", storage_country="IE").outcome is Outcome.PERMIT


def test_received_at_starts_the_clocks() -> None:
    order = {
        **USUAL["order"],
        "instrument": "eu.epoc",
        "issuing_state": "DE",
        "categories": ["subscriber"],
    }
    signatories = [{"role": "issue", "jurisdiction": "DE", "issuer_roles": ["judge"]}]
    received = datetime(2026, 11, 20, tzinfo=UTC)
    answer = _explain(
        order=order, signatories=signatories, requested=["subscriber"], received_at=received.isoformat()
    )
    assert answer.due == received + timedelta(days=10)


def test_the_answer_is_json_in_one_spelling() -> None:
    answers = [json.dumps(_explain().to_json(), ensure_ascii=False) for _ in range(2)]
    assert answers[0] == answers[1]
    assert json.loads(answers[0])["categories"] == ["content"]
