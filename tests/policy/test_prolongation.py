"""How long an order's preservation may go on: the figures of the lawbook as it is shipped."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from gateway.law import packaged_lawbook
from policy.address import Address
from policy.geography import Jurisdiction, RegionCode
from policy.hold import Basis, Hold, HoldId, HoldState, MailboxScope, OrderBasis, OwnLitigation
from policy.lawbook import Lawbook
from policy.prolongation import require_lawful
from tests.policy.pki import NOW


@pytest.fixture(scope="module")
def lawbook() -> Lawbook:
    return packaged_lawbook()


def ordered(instrument: str) -> OrderBasis:
    return OrderBasis(instrument, "DC-1", "a court", Jurisdiction("DE"), f"sha256:{'0' * 64}")


def held(basis: Basis, days: int | None) -> Hold:
    return Hold(
        id=HoldId.parse("0" * 32),
        region=RegionCode.parse("eu-west-1"),
        scope=MailboxScope("0" * 32, Address.parse("aoife@example.ie")),
        basis=basis,
        placed_by="ina",
        placed_at=NOW,
        until=None if days is None else after(days),
    )


def after(days: int) -> datetime:
    return NOW + timedelta(days=days)


@pytest.mark.parametrize(
    ("instrument", "ends", "until"),
    [
        ("eu.epoc-pr", 60, 90),
        ("eu.epoc-pr", 60, 61),
        ("us.sca-2703f", 90, 180),
        ("us.sca-2703f", 180, 270),  # 18 U.S.C. 2703(f)(2): renewed, and renewed again
        ("ie.production-order", 30, None),  # it preserves nothing by itself
    ],
)
def test_as_far_as_the_law_goes(lawbook: Lawbook, instrument: str, ends: int, until: int | None) -> None:
    require_lawful(held(ordered(instrument), ends), None if until is None else after(until), lawbook)


@pytest.mark.parametrize(
    ("instrument", "ends", "until", "says"),
    [
        ("eu.epoc-pr", 60, 91, "by 30 days"),
        ("eu.epoc-pr", 75, 80, "prolonged before"),  # Reg. (EU) 2023/1543 Art. 11(1): once
        ("eu.epoc-pr", 60, None, "until a production order is confirmed"),
        ("us.sca-2703f", 90, 181, "by 90 days"),
        ("ca.preservation-demand", 21, 22, "cannot be prolonged"),  # Criminal Code (Canada) s. 487.012
    ],
)
def test_and_no_further(lawbook: Lawbook, instrument: str, ends: int, until: int | None, says: str) -> None:
    with pytest.raises(HoldState, match=says):
        require_lawful(held(ordered(instrument), ends), None if until is None else after(until), lawbook)


def test_a_litigation_of_our_own_has_no_such_end(lawbook: Lawbook) -> None:
    require_lawful(held(OwnLitigation("a dispute"), 10), None, lawbook)
    require_lawful(held(OwnLitigation("a dispute"), 10), after(5000), lawbook)


def test_what_is_confirmed_has_no_end_to_prolong(lawbook: Lawbook) -> None:
    require_lawful(held(ordered("eu.epoc-pr"), None), after(100), lawbook)
