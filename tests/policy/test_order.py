"""Claims are parsed once and strictly: each fault names the claim and the rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.address import Address
from policy.order import ClaimError, DataCategory, Order, Timespan, parse_categories, parse_moment

CLAIMS: dict[str, Any] = {
    "jti": "IE-2026-117",
    "iss": "District Court",
    "iat": 1_795_000_000,
    "nbf": 1_795_000_000,
    "exp": "2026-12-31T00:00:00Z",
    "instrument": "ie.production-order",
    "issuing_state": "IE",
    "issuer_role": "judge",
    "target": {"address": "Aoife@example.ie"},
    "categories": ["content", "traffic"],
    "timespan": {"start": "2026-11-01T00:00:00Z", "end": "2026-11-20T01:00:00+01:00"},
    "emergency": False,
    "offence": {"max_custodial_years": 5, "listed": False},
    "matter": "R v. N",
}


def test_a_whole_order_is_read() -> None:
    order = Order.parse(CLAIMS)
    assert order.target == Address("aoife", "example.ie")
    assert order.categories == {DataCategory.CONTENT, DataCategory.TRAFFIC}
    assert order.timespan == Timespan(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC))
    assert order.offence is not None
    assert order.offence.max_custodial_years == 5


@pytest.mark.parametrize(
    "claim",
    ["jti", "iss", "iat", "exp", "instrument", "issuing_state", "issuer_role", "target", "categories"],
)
def test_a_missing_claim_is_named(claim: str) -> None:
    with pytest.raises(ClaimError) as caught:
        Order.parse({name: value for name, value in CLAIMS.items() if name != claim})
    assert caught.value.claim == claim


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("jti", ""),
        ("jti", "x" * 257),
        ("iss", "Court\r\nX: y"),
        ("iat", True),
        ("iat", "yesterday"),
        ("iat", 1e300),
        ("exp", "2026-02-30T00:00:00Z"),
        ("exp", "2026-12-31T00:00:00"),
        ("exp", 1_794_999_999),
        ("instrument", "Production Order"),
        ("issuing_state", "Ireland"),
        ("issuer_role", "king"),
        ("target", "aoife@example.ie"),
        ("target.address", "Aoife <aoife@example.ie>"),
        ("target.name", "Aoife"),
        ("categories", []),
        ("categories", ["content", "content"]),
        ("categories", ["everything"]),
        ("categories", "content"),
        ("timespan", {"start": "2026-11-02T00:00:00Z", "end": "2026-11-01T00:00:00Z"}),
        ("timespan.start", 3e18),
        ("emergency", "yes"),
        ("offence.max_custodial_years", -1),
        ("offence.max_custodial_years", True),
        ("offence.listed", 1),
        ("offence.colour", "red"),
        ("matter", 7),
        ("secret_annex", "x"),
    ],
)
def test_an_impossible_claim_is_named_with_its_rule(claim: str, value: object) -> None:
    claims = dict(CLAIMS)
    outer, _, inner = claim.partition(".")
    claims[outer] = {**CLAIMS[outer], inner: value} if inner else value
    with pytest.raises(ClaimError) as caught:
        Order.parse(claims)
    assert caught.value.claim == claim


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "x"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()) | st.booleans(),
    )
)
def test_no_claims_whatever_raise_anything_but_a_claim_error(changes: dict[str, object]) -> None:
    try:
        Order.parse({**CLAIMS, **changes})
    except ClaimError as error:
        assert error.claim.split(".")[0] in {*changes, "exp"}


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_time_reads_the_same_as_a_number_and_as_text(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC, microsecond=0)
    seconds = int(aware.timestamp())
    assert parse_moment(seconds, "t") == aware == parse_moment(aware.isoformat(), "t")


@given(
    st.datetimes(max_value=datetime(2100, 1, 1)),
    st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=9)),
)
def test_a_timespan_is_half_open(start: datetime, length: timedelta) -> None:
    span = Timespan(start.replace(tzinfo=UTC), start.replace(tzinfo=UTC) + length)
    assert span.start in span
    assert span.end not in span


def test_categories_come_from_a_list_of_known_words() -> None:
    assert parse_categories(["subscriber"], "requested") == {DataCategory.SUBSCRIBER}
    with pytest.raises(ClaimError, match="requested"):
        parse_categories(None, "requested")
