"""What is due is said in words, and what is due first stands first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.console.words import Deadline, deadline
from tests.console.eyes import signed_in
from tests.disclosure.desk import NOW, Gateway, claims, order
from tests.policy import pki

NEAR = timedelta(hours=24)
AT = datetime(2026, 12, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "urgency", "said"),
    [
        pytest.param(timedelta(days=9, hours=5), "", "9 days left", id="in-time"),
        pytest.param(timedelta(hours=25), "", "25 hours left", id="not-yet-near"),
        pytest.param(timedelta(hours=24), "near", "Nearly due: 24 hours left", id="near"),
        pytest.param(
            timedelta(seconds=1), "near", "Nearly due: less than two minutes left", id="the-last-second"
        ),
        pytest.param(timedelta(0), "overdue", "Overdue by less than two minutes", id="due"),
        pytest.param(-timedelta(days=3), "overdue", "Overdue by 3 days", id="late"),
    ],
)
def test_a_deadline_in_words(before: timedelta, urgency: str, said: str) -> None:
    assert deadline(AT, AT - before, NEAR) == Deadline(AT, urgency, said)


def test_a_clock_that_has_stopped_is_not_overdue() -> None:
    assert deadline(AT, AT + timedelta(days=1), NEAR, running=False) == Deadline(AT, "", "")
    assert deadline(None, AT, NEAR) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_the_queue_tells_what_is_near_and_what_is_overdue(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 10(2): ten days from receipt."""
    epoc = claims(
        instrument="eu.epoc",
        issuing_state="DE",
        iss="DE court",
        categories=["traffic", "content"],
        exp=int((NOW + timedelta(days=40)).timestamp()),
    )
    assert (await desk.present(order(exp=epoc["exp"]))).status == 201
    assert (await desk.present(pki.judge("DE").sign(epoc))).status == 201
    for days, said in ((1, "days left"), (9.5, "Nearly due: 12 hours left"), (12, "Overdue by 2 days")):
        desk.clock.now = NOW + timedelta(days=days)
        shown = await desk.ask("GET", "/console/disclosures", None, headers=await signed_in(desk, "art"))
        text = shown.body.decode()
        assert said in text
        assert text.index("eu.epoc") < text.index("ie.production-order"), "what is never due stands last"
