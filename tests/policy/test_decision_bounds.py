"""The edges: the last moment and the first, the figure itself, and what only an operator's file can say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.law import lawbook_files
from policy.assessment import Assessment, Outcome
from policy.explain import Scenario, explain
from policy.lawbook import Lawbook, read_lawbook
from policy.order import DataCategory
from tests.policy.lawcases import policy_cases, shipped_lawbook


def _answer(name: str, lawbook: Lawbook | None = None, **changes: Any) -> Assessment:
    """A policy case with some of its keys changed; `order` is merged into the case's order."""
    scenario = next(case for case in policy_cases() if case.name == name).scenario
    order = {**scenario["order"], **changes.pop("order", {})}
    book = lawbook or shipped_lawbook()
    return explain(Scenario.read({**scenario, **changes, "order": order}, book), book)


def _lawbook(file: str, old: str, new: str) -> Lawbook:
    """The shipped lawbook with one text replaced, which must stand there once."""
    files = lawbook_files()
    assert files[file].count(old.encode()) == 1, old
    return read_lawbook({**files, file: files[file].replace(old.encode(), new.encode())})


@pytest.mark.parametrize(
    ("now", "outcome"), [("2026-11-30T23:59:59Z", Outcome.PERMIT), ("2026-12-01T00:00:00Z", Outcome.REFUSE)]
)
def test_a_rule_ends_with_the_first_moment_of_its_last_day(now: str, outcome: Outcome) -> None:
    ending = _lawbook(
        "ie.toml", "in_force_from = 2011-08-09", "in_force_from = 2011-08-09\nuntil = 2026-12-01"
    )
    assert _answer("Irish production order, Irish mailbox", ending, now=now).outcome is outcome


@pytest.mark.parametrize(
    ("received_at", "outcome"),
    [("2026-11-23T23:59:59Z", Outcome.PERMIT), ("2026-11-24T00:00:00Z", Outcome.REFUSE)],
)
def test_three_months_beginning_with_the_day_on_which_it_is_made(received_at: str, outcome: Outcome) -> None:
    """Crime (Overseas Production Orders) Act 2019 s. 9(1)."""
    answer = _answer(
        "UK overseas production order served on the last day",
        order={"iat": "2026-08-24T09:00:00Z"},
        received_at=received_at,
    )
    assert answer.outcome is outcome


@pytest.mark.parametrize(
    ("made", "received_at", "outcome"),
    [
        # Three months beginning with 30 November end with February; the calendar has no 30 February.
        ("2025-11-30T09:00:00Z", "2026-02-28T23:59:59Z", Outcome.PERMIT),
        ("2025-11-30T09:00:00Z", "2026-03-01T00:00:00Z", Outcome.REFUSE),
    ],
)
def test_three_months_where_the_last_has_no_such_day(made: str, received_at: str, outcome: Outcome) -> None:
    answer = _answer(
        "UK overseas production order served on the last day",
        order={"iat": made, "exp": "2027-01-01T00:00:00Z", "timespan": _span("2025-01-01", "2025-02-01")},
        received_at=received_at,
    )
    assert answer.outcome is outcome


@pytest.mark.parametrize(("years", "outcome"), [(2.9, Outcome.REFUSE), (3, Outcome.AWAIT)])
def test_at_least_three_years_means_three_are_enough(years: float, outcome: Outcome) -> None:
    """Reg. (EU) 2023/1543 Art. 5(4): a maximum of at least three years."""
    offence = {"offence": {"max_custodial_years": years}}
    assert _answer("German EPOC for content, Irish mailbox", order=offence).outcome is outcome


@pytest.mark.parametrize(("years", "outcome"), [(4, Outcome.REFUSE), (5, Outcome.PERMIT)])
def test_an_instruments_own_threshold_and_an_agreements_must_both_be_met(
    years: float, outcome: Outcome
) -> None:
    stricter = _lawbook(
        "gb.toml",
        'source = "Crime (Overseas Production Orders) Act 2019 ss. 1, 4: a judge"',
        'source = "an operator\'s own rule"\noffence = { at_least_years = 5 }',
    )
    answer = _answer(
        "UK overseas production order, US mailbox, target in Britain",
        stricter,
        order={"offence": {"max_custodial_years": years}},
    )
    assert answer.outcome is outcome


@pytest.mark.parametrize(
    ("start", "carried"), [("2026-11-24T09:59:59Z", True), ("2026-11-24T10:00:00Z", False)]
)
def test_mail_that_comes_with_the_order_is_not_stored_before_it(start: str, carried: bool) -> None:
    """A timespan is half open, and production reaches what is stored when the order comes (recital 19)."""
    answer = _answer("Irish production order, Irish mailbox", order={"timespan": _span(start, "2027-01-01")})
    assert (DataCategory.CONTENT in answer.categories) is carried
    assert DataCategory.SUBSCRIBER in answer.categories


def test_an_emergency_waits_where_the_law_says_that_it_does() -> None:
    waiting = _lawbook("eu.toml", "emergency_suspends = false", "emergency_suspends = true")
    name = "German EPOC in an emergency, content"
    assert _answer(name).outcome is Outcome.PERMIT
    answer = _answer(name, waiting)
    assert answer.outcome is Outcome.AWAIT
    assert answer.to_json()["due"] == "2026-11-28T10:00:00Z"  # 96 hours


def test_no_file_of_a_state_lets_it_take_part_where_the_union_says_that_it_does_not() -> None:
    """Directive 2014/41/EU recital 44: an Irish rule could not make an EIO of what Ireland has not joined."""
    willing = _lawbook("ie.toml", 'accepts = ["any"]', 'accepts = ["any", "eu.eio"]')
    name = "European Investigation Order, Irish mailbox"
    for book in (None, willing):
        assert _answer(name, book).outcome is Outcome.REFUSE


def _span(start: str, end: str) -> dict[str, str]:
    return {
        "start": start if "T" in start else f"{start}T00:00:00Z",
        "end": end if "T" in end else f"{end}T00:00:00Z",
    }
