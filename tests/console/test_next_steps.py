"""What a page says of a case may be read out in court: no state says more than is so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.console.next_steps import decided_by, encrypted_to, owed, what_next
from gateway.disclosure.approval import waits
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingDisclosure,
    Cancelled,
    Disclosed,
    Disclosure,
    DisclosureNotAvailable,
    Entry,
    Heard,
    Rejected,
)
from gateway.disclosure.models import Obligation
from tests.disclosure.desk import IRELAND, NOW
from tests.disclosure.test_lifecycle import DEED, case, every_state

NOTHING = "Nothing was released"


@pytest.mark.parametrize("state", every_state(), ids=lambda state: str(state.status))
def test_every_state_says_what_comes_next(state: Disclosure) -> None:
    assert what_next(state, NOW).endswith(".")


def test_only_what_was_never_approved_is_said_to_have_released_nothing() -> None:
    assert NOTHING in what_next(Cancelled(case(), None, "why", NOW), NOW)
    called_off = what_next(Cancelled(case(), DEED, "why", NOW), NOW)
    assert NOTHING not in called_off
    assert "audit log" in called_off


def test_a_refusal_by_the_law_is_not_said_to_be_a_persons() -> None:
    assert "The law" in what_next(Rejected(case(), None, None), NOW)
    assert "An approver" in what_next(Rejected(case(), DEED, "why"), NOW)


@pytest.mark.parametrize("kind", [Disclosed, DisclosureNotAvailable])
def test_a_package_is_said_to_be_there_only_while_it_is(kind: Any) -> None:
    until = NOW + timedelta(days=1)
    state = kind(case(), DEED, Entry(IRELAND.code, 1), NOW, "sha256:" + "0" * 64, until)
    assert "can be fetched" in what_next(state, until - timedelta(seconds=1))
    assert "could be fetched" in what_next(state, until)


def test_a_release_waits_until_somebody_was_heard_and_only_where_the_law_says_so() -> None:
    waiting = replace(case(), decision={"outcome": "await"})
    heard = Heard(DEED, None)
    for kind in (AwaitingApproval(waiting), AwaitingDisclosure(waiting, DEED)):
        assert waits(kind)
        assert "enforcing authority" in what_next(kind, NOW)
        assert not waits(replace(kind, heard=heard))
        assert "enforcing authority" not in what_next(replace(kind, heard=heard), NOW)
        assert not waits(replace(kind, case=replace(waiting, decision={"outcome": "permit"})))


def test_who_is_named_is_named_for_what_they_did() -> None:
    assert decided_by(AwaitingDisclosure(case(), DEED)) == "Approved by"
    assert decided_by(Rejected(case(), DEED, "why")) == "Rejected by"
    assert decided_by(Cancelled(case(), DEED, "why", NOW)) == "Last decided on by"
    assert encrypted_to(case(), None) == f"the certificate of {case().issuer}"
    assert encrypted_to(case(), "PEM") == "the certificate that the order names"


@pytest.mark.parametrize(
    ("code", "known", "said"),
    [
        pytest.param("production-deadline", {}, "Overdue by 2 hours", id="not-produced"),
        pytest.param("production-deadline", {"running": False}, "", id="produced"),
        pytest.param("validation", {}, "Overdue by 2 hours", id="not-validated"),
        pytest.param("validation", {"validated": True}, "Given", id="validated"),
        pytest.param("preserve", {"held": True}, "A hold was placed", id="held"),
        pytest.param("preserve", {}, "", id="not-held"),
        pytest.param("enforcing-authority", {}, "Passed 2 hours ago", id="anothers-period"),
        pytest.param("preservation-ends", {}, "Passed 2 hours ago", id="as-decided"),
        pytest.param("preservation-ends", {"kept": None}, "Not any more: kept without an end", id="form-5"),
        pytest.param(
            "preservation-ends",
            {"kept": NOW + timedelta(days=30)},
            "Not any more: kept until 24 December 2026, 12:00 UTC",
            id="form-6",
        ),
        pytest.param("form-3", {}, "Passed 2 hours ago", id="a-letter-that-is-written-elsewhere"),
    ],
)
def test_only_what_is_known_to_be_undone_is_overdue(code: str, known: dict[str, Any], said: str) -> None:
    each = Obligation(code=code, due=NOW - timedelta(hours=2), detail="d", source="s")
    usual: dict[str, Any] = {"running": True, "held": False, "validated": False, "kept": each.due}
    found = owed(each, NOW, timedelta(hours=24), **usual | known)
    assert found is not None
    assert found.said == said
    assert (found.urgency == "overdue") == said.startswith("Overdue")


def test_a_period_that_runs_says_how_long() -> None:
    each = Obligation(code="notice-delay", due=NOW + timedelta(days=9), detail="d", source="s")
    found = owed(each, NOW, timedelta(hours=24), running=True, held=False, validated=False, kept=each.due)
    assert found is not None
    assert (found.urgency, found.said) == ("", "9 days left")
