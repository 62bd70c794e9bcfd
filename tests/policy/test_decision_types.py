"""What `decide` gives can be had from it alone, and is worth what the verified order is worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policy.assessment import Assessment, Circumstances, EnforcingAnswer, Outcome, Setting
from policy.decision import Await, Permit, Preserve, Refusal, assess, decide
from policy.geography import Jurisdiction, Region, RegionCode
from policy.order import DataCategory, SignatureRole, Timespan
from policy.verification import VerifiedOrder
from tests.policy import pki
from tests.policy.lawcases import shipped_lawbook

IRELAND = Setting(Region(RegionCode("eu-west-1"), Jurisdiction("IE")), frozenset({Jurisdiction("US")}))
CONTENT = frozenset({DataCategory.CONTENT})
GRAVE = {"max_custodial_years": 5}
Decision = Permit | Preserve | Await | Refusal


def _decide(verified: VerifiedOrder, requested: frozenset[DataCategory] = CONTENT) -> Decision:
    return decide(verified, requested, IRELAND, shipped_lawbook(), pki.NOW)


def _signed(by: str, **claims: object) -> VerifiedOrder:
    signer = pki.judge(by)
    order = signer.sign(pki.claims(issuing_state=by, **claims))
    return pki.verify(order, pki.usual_trust())


def test_an_irish_order_is_a_permit_for_what_it_names() -> None:
    span = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
    verified = _signed("IE", timespan=span)
    permit = _decide(verified)
    assert isinstance(permit, Permit)
    assert permit.verified is verified
    assert str(permit.address) == "aoife@example.ie"
    assert permit.categories == CONTENT
    assert permit.region == IRELAND.region
    # Cut at the moment when the order came: production reaches stored data alone.
    assert permit.timespan == Timespan(datetime(2026, 1, 1, tzinfo=UTC), pki.NOW)
    assert permit.assessment.lawbook == shipped_lawbook().digest


def test_a_us_warrant_is_a_refusal_with_its_conflict() -> None:
    refusal = _decide(_signed("US", instrument="us.sca-warrant"))
    assert isinstance(refusal, Refusal)
    assert refusal.categories == frozenset()
    assert refusal.assessment.conflict is not None
    assert refusal.assessment.conflict.law == "18 U.S.C. 2713"
    assert [remedy.instrument for remedy in refusal.assessment.remedies] == [
        "eu.epoc",
        "ie.production-order",
        "mla.request",
    ]


def test_a_us_warrant_that_the_irish_court_signs_too_is_a_permit() -> None:
    warrant = pki.judge("US").sign(pki.claims(issuing_state="US", instrument="us.sca-warrant"))
    taken_up = pki.judge("IE").add(warrant, SignatureRole.RECOGNISE)
    assert isinstance(_decide(pki.verify(taken_up, pki.usual_trust())), Permit)
    by_germany = pki.judge("DE").add(warrant, SignatureRole.RECOGNISE)
    assert isinstance(_decide(pki.verify(by_germany, pki.usual_trust())), Refusal)


def test_an_epoc_for_content_waits_and_a_preservation_preserves() -> None:
    waiting = _decide(_signed("DE", instrument="eu.epoc", offence=GRAVE))
    assert isinstance(waiting, Await)
    assert waiting.assessment.due == pki.NOW + timedelta(days=10)
    kept = _decide(_signed("DE", instrument="eu.epoc-pr"))
    assert isinstance(kept, Preserve)
    assert kept.timespan is None


def test_circumstances_reach_the_decision() -> None:
    verified = _signed("DE", instrument="eu.epoc", offence=GRAVE)
    heard = Circumstances(pki.NOW - timedelta(days=3), EnforcingAnswer.CLEARED)
    permit = decide(verified, CONTENT, IRELAND, shipped_lawbook(), pki.NOW, heard)
    assert isinstance(permit, Permit)
    assert permit.timespan.end == pki.NOW - timedelta(days=3)
    assert permit.assessment.due == pki.NOW + timedelta(days=7)


def test_without_a_timespan_everything_stored_when_the_order_came() -> None:
    permit = _decide(_signed("IE"))
    assert isinstance(permit, Permit)
    assert permit.timespan.end == pki.NOW


def test_subscriber_data_needs_no_past() -> None:
    """A timespan that lies ahead carries no content; the subscriber's name is not in time at all."""
    ahead = {"start": "2026-12-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
    verified = _signed("IE", timespan=ahead)
    permit = _decide(verified, frozenset({DataCategory.SUBSCRIBER, DataCategory.CONTENT}))
    assert isinstance(permit, Permit)
    assert permit.categories == {DataCategory.SUBSCRIBER}


@pytest.mark.parametrize("kind", [Permit, Preserve, Await, Refusal])
def test_no_decision_can_be_made_elsewhere(kind: type[Decision]) -> None:
    verified = _signed("IE")
    assessment = _decide(verified).assessment
    arguments: list[object] = [assessment, verified, IRELAND.region]
    if kind is Permit:
        arguments.append(Timespan(pki.MADE, pki.NOW))
    with pytest.raises(TypeError, match=r"is made by policy\.decision\.decide"):
        kind(*arguments, mint=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kind(*arguments)  # type: ignore[call-arg, arg-type]


def test_words_are_not_a_verified_order() -> None:
    verified = _signed("IE")

    class Lookalike:
        order = verified.order
        signatories = verified.signatories

    for words in (verified.order, Lookalike()):
        with pytest.raises(TypeError, match="needs a VerifiedOrder"):
            _decide(words)  # type: ignore[arg-type]


def test_a_decision_does_not_change() -> None:
    decision = _decide(_signed("IE"))
    other: Assessment = _decide(_signed("US", instrument="us.sca-warrant")).assessment
    with pytest.raises(AttributeError, match="does not change"):
        decision.assessment = other  # type: ignore[misc]
    assert isinstance(decision, Permit)
    with pytest.raises(AttributeError, match="does not change"):
        decision.timespan = Timespan(pki.MADE, pki.NOW)  # type: ignore[misc]


def test_an_order_cannot_have_come_after_now() -> None:
    verified = _signed("IE")
    late = Circumstances(received_at=pki.NOW + timedelta(seconds=1))
    with pytest.raises(ValueError, match="received_at must not be after now"):
        decide(verified, CONTENT, IRELAND, shipped_lawbook(), pki.NOW, late)


def test_nothing_requested_is_nothing_carried() -> None:
    verified = _signed("IE")
    nothing: frozenset[DataCategory] = frozenset()
    assessment = assess(verified.order, verified.signatories, nothing, IRELAND, shipped_lawbook(), pki.NOW)
    assert assessment.outcome is Outcome.REFUSE


def test_a_clock_that_runs_a_little_ahead_is_no_order_of_tomorrow() -> None:
    """Verification lets an issuer's clock run two minutes ahead; the decision agrees, but not for nbf."""
    soon = int((pki.NOW + timedelta(seconds=90)).timestamp())
    assert isinstance(_decide(_signed("IE", iat=soon)), Permit)
    assert isinstance(_decide(_signed("IE", nbf=soon)), Refusal)
