"""What must hold for every order whatever, each with the sentence that it comes from."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.law import lawbook_files
from policy.assessment import Assessment, Circumstances, EnforcingAnswer, FindingCode, Outcome, Setting
from policy.decision import assess
from policy.explain import Scenario, explain
from policy.geography import Jurisdiction, Region, RegionCode
from policy.lawbook import Lawbook, read_lawbook
from policy.order import DataCategory, IssuerRole, Offence, Order, SignatureRole, Timespan
from policy.rules import Deed, Instrument, Opens
from policy.signatory import Signatory
from tests.policy.lawcases import policy_cases, shipped_lawbook
from tests.policy.oracle import BOUND, STATES, STORED_IN, TARGET

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
LAWBOOK = shipped_lawbook()
INSTRUMENTS = tuple(item.id for law in LAWBOOK.laws for item in law.instruments)
_JUDICIAL = {IssuerRole.JUDGE, IssuerRole.COURT, IssuerRole.INVESTIGATING_JUDGE}

states = st.sampled_from(STATES).map(Jurisdiction)
categories = st.frozensets(st.sampled_from(DataCategory), min_size=1)
roles = st.frozensets(st.sampled_from(IssuerRole), min_size=1, max_size=3)
signatory_lists = st.lists(
    st.builds(Signatory, st.sampled_from(SignatureRole), states, roles, st.sampled_from(["a", "b"])),
    max_size=4,
)
spans = st.one_of(
    st.none(),
    st.tuples(st.integers(-900, 30), st.integers(1, 400)).map(
        lambda days: Timespan(NOW + timedelta(days=days[0]), NOW + timedelta(days=sum(days)))
    ),
)
offences = st.one_of(
    st.none(), st.builds(Offence, st.sampled_from([0.0, 2.0, 3.0, 10.0]), st.booleans(), st.booleans())
)


@st.composite
def orders(draw: st.DrawFn, instrument: Instrument, well_made: bool) -> Order:
    """An order; a well made one is issued where the instrument is, by one who may ask."""
    grant = draw(st.sampled_from(instrument.grants))
    home = instrument.home.code if instrument.home else "US"
    own = st.sampled_from(BOUND) if home == "EU" else st.just(home)
    issuing = own.map(Jurisdiction) if well_made else states
    role = sorted(grant.issuers | grant.validated_issuers) if well_made else list(IssuerRole)
    issued_at = NOW - timedelta(hours=draw(st.integers(0, 100)))
    return Order(
        reference="1",
        issuer="issuer",
        issued_at=issued_at,
        not_before=issued_at,
        expires_at=NOW + timedelta(days=draw(st.integers(1, 30))),
        instrument=instrument.id,
        issuing_state=draw(issuing),
        issuer_role=draw(st.sampled_from(role)),
        target=TARGET,
        categories=draw(categories) | (grant.categories if well_made else frozenset()),
        timespan=draw(spans),
        emergency=draw(st.booleans()),
        offence=draw(offences),
    )


@st.composite
def cases(draw: st.DrawFn, only: str | None = None) -> dict[str, object]:
    """The arguments of `assess`: three in four as an authority sends them, one in four anything."""
    instrument = LAWBOOK.instrument(only or draw(st.sampled_from(INSTRUMENTS)))
    assert instrument is not None
    well_made = draw(st.integers(0, 3)) > 0
    order = draw(orders(instrument, well_made))
    signatories = draw(signatory_lists)
    stored = Jurisdiction(draw(st.sampled_from(STORED_IN)))
    if well_made:
        stored = draw(_carried_in(instrument, order.issuing_state))
        issuer = Signatory(SignatureRole.ISSUE, order.issuing_state, frozenset({order.issuer_role}), "issuer")
        judge = frozenset({IssuerRole.JUDGE})
        signatories += [issuer, Signatory(SignatureRole.VALIDATE, order.issuing_state, judge, "judge")]
        if draw(st.booleans()):
            signatories.append(Signatory(SignatureRole.RECOGNISE, stored, judge, "court"))
    return {
        "order": order,
        "signatories": tuple(signatories),
        "requested": draw(categories),
        "setting": Setting(Region(RegionCode("region-1"), stored), draw(st.frozensets(states, max_size=2))),
        "lawbook": LAWBOOK,
        "now": NOW,
        "circumstances": Circumstances(
            NOW - timedelta(days=draw(st.integers(0, 12))),
            draw(st.sampled_from(EnforcingAnswer)),
            draw(st.one_of(st.none(), states)),
        ),
    }


def _carried_in(instrument: Instrument, issuing: Jurisdiction) -> st.SearchStrategy[Jurisdiction]:
    """Where an order of this kind could open a mailbox, or anywhere."""
    if instrument.membership is not None:
        return st.sampled_from([state for state in BOUND if state != issuing.code]).map(Jurisdiction)
    home = st.just(Jurisdiction("US") if instrument.opens is Opens.AGREEMENT else issuing)
    return st.one_of(home, st.sampled_from(STORED_IN).map(Jurisdiction))


@pytest.mark.parametrize(
    ("only", "outcomes"),
    [
        (None, {Outcome.PERMIT: 60, Outcome.PRESERVE: 20, Outcome.REFUSE: 60}),
        ("eu.epoc", {Outcome.PERMIT: 20, Outcome.AWAIT: 4, Outcome.REFUSE: 60}),
    ],
)
def test_the_cases_drawn_are_no_desert(only: str | None, outcomes: dict[Outcome, int]) -> None:
    """Properties of refusals alone would say nothing: every outcome is drawn, and often."""
    drawn = Counter[Outcome]()

    @given(cases(only))
    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    def count(case: dict[str, object]) -> None:
        drawn[_assess(case).outcome] += 1

    count()
    assert all(drawn[outcome] >= least for outcome, least in outcomes.items()), drawn


def _assess(case: dict[str, object], **changes: object) -> Assessment:
    return assess(**{**case, **changes})  # type: ignore[arg-type]


def _stored(case: dict[str, object]) -> Jurisdiction:
    setting = case["setting"]
    assert isinstance(setting, Setting)
    return setting.region.country


def _order(case: dict[str, object]) -> Order:
    order = case["order"]
    assert isinstance(order, Order)
    return order


def _signatories(case: dict[str, object]) -> tuple[Signatory, ...]:
    signatories = case["signatories"]
    assert isinstance(signatories, tuple)
    return signatories


@given(cases())
@settings(max_examples=400, deadline=None)
def test_no_foreign_signature_alone_opens_a_mailbox(case: dict[str, object]) -> None:
    """No foreign signature alone ever opens a mailbox that its state's law does not carry.

    What its state's law carries without a signature of its own: a union's instrument that binds
    both states, and an order that an agreement lets in.
    """
    order, stored = _order(case), _stored(case)
    foreign = tuple(each for each in _signatories(case) if each.jurisdiction != stored)
    answer = _assess(case, signatories=foreign)
    if answer.outcome is Outcome.REFUSE:
        return
    instrument = LAWBOOK.instrument(order.instrument)
    assert instrument is not None
    if instrument.opens is Opens.AGREEMENT:
        assert any(rule.partner == order.issuing_state for rule in LAWBOOK.agreements(stored, instrument))
    else:
        assert order.instrument in {"eu.epoc", "eu.epoc-pr"}
        assert {stored.code, order.issuing_state.code} <= set(BOUND)


@given(cases(), st.sampled_from(DataCategory), st.booleans())
@settings(max_examples=400, deadline=None)
def test_adding_a_category_never_widens_what_another_gets(
    case: dict[str, object], added: DataCategory, to_the_order: bool
) -> None:
    """Adding a category never widens what another category gets."""
    order, requested = _order(case), case["requested"]
    assert isinstance(requested, frozenset)
    before = _assess(case)
    wider = replace(order, categories=order.categories | {added}) if to_the_order else order
    after = _assess(case, order=wider, requested=requested | {added})
    assert after.categories - {added} <= before.categories
    assert (after.categories - {added}) == (before.categories - {added})
    if before.outcome is Outcome.AWAIT:
        assert after.outcome is Outcome.AWAIT


@given(cases(), st.data())
@settings(max_examples=400, deadline=None)
def test_losing_a_signature_or_time_never_opens_anything(
    case: dict[str, object], data: st.DataObject
) -> None:
    """Revoking or expiring anything never turns a refusal into a permit: signatures, and the order itself."""
    before = _assess(case)
    signatories = _signatories(case)
    if signatories:
        gone = data.draw(st.integers(0, len(signatories) - 1))
        after = _assess(case, signatories=signatories[:gone] + signatories[gone + 1 :])
        assert after.categories <= before.categories
    order = _order(case)
    expired = _assess(case, order=replace(order, expires_at=NOW, not_before=order.issued_at))
    assert expired.outcome is Outcome.REFUSE


@pytest.mark.parametrize("name", sorted(lawbook_files()))
def test_the_end_of_a_rule_never_opens_anything(name: str) -> None:
    """Revoking or expiring anything never turns a refusal into a permit: each dated rule of the lawbook."""
    files = lawbook_files()
    scenarios = [Scenario.read(case.scenario, LAWBOOK) for case in policy_cases()]
    before = [explain(scenario, LAWBOOK).categories for scenario in scenarios]
    lines = files[name].decode().split("\n")
    dated = [number for number, line in enumerate(lines) if line.startswith("in_force_from")]
    assert dated or name == "regions.toml"
    for number in dated:
        # A rule in force for one day long ago: dead at the `now` of every case.
        day = lines[number].removeprefix("in_force_from = ")
        until = (datetime.fromisoformat(day) + timedelta(days=1)).date()
        ended = [*lines[: number + 1], f"until = {until}", *lines[number + 1 :]]
        repealed = read_lawbook({**files, name: "\n".join(ended).encode()})
        for scenario, carried in zip(scenarios, before, strict=True):
            after = explain(scenario, repealed).categories
            assert after <= carried, (name, number, scenario.order.instrument)


@given(cases())
@settings(max_examples=300, deadline=None)
def test_a_hold_never_turns_into_a_disclosure(case: dict[str, object]) -> None:
    """A hold never turns into a disclosure, whoever signs it and whatever it is taken up as."""
    answer = _assess(case)
    instrument = LAWBOOK.instrument(_order(case).instrument)
    assert instrument is not None
    if instrument.deed is Deed.PRESERVE:
        assert answer.outcome in {Outcome.PRESERVE, Outcome.REFUSE}
    else:
        assert answer.outcome is not Outcome.PRESERVE


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_signatures_does_not_matter(case: dict[str, object], dice: random.Random) -> None:
    """The decision does not depend on the order of signatures."""
    shuffled = list(_signatories(case))
    dice.shuffle(shuffled)
    assert json.dumps(_assess(case).to_json()) == json.dumps(_assess(case, signatories=shuffled).to_json())


@given(st.permutations(["subscriber", "identification", "traffic", "content"]))
def test_the_order_of_categories_does_not_matter(names: list[str]) -> None:
    """The decision does not depend on the order of categories."""
    scenario = next(
        case for case in policy_cases() if case.name == "German EPOC for content, Irish mailbox"
    ).scenario
    shuffled = {**scenario, "requested": names, "order": {**scenario["order"], "categories": names}}
    usual = {
        **scenario,
        "requested": sorted(names),
        "order": {**scenario["order"], "categories": sorted(names)},
    }
    answers = [explain(Scenario.read(each, LAWBOOK), LAWBOOK).to_json() for each in (shuffled, usual)]
    assert json.dumps(answers[0]) == json.dumps(answers[1])


_EVERY_CASE = """
import hashlib, json
from policy.explain import Scenario, explain
from tests.policy.lawcases import policy_cases, shipped_lawbook
lawbook = shipped_lawbook()
answers = [explain(Scenario.read(case.scenario, lawbook), lawbook).to_json() for case in policy_cases()]
print(hashlib.sha256(json.dumps(answers).encode()).hexdigest())
"""


def test_same_input_same_bytes_in_every_process() -> None:
    """Same input, same bytes out: sets are hashed differently in each process, and nothing may show it."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _EVERY_CASE],
            capture_output=True,
            check=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


@given(cases("eu.epoc"))
@settings(max_examples=300, deadline=None)
def test_a_prosecutor_gets_no_traffic_and_no_content_by_epoc(case: dict[str, object]) -> None:
    """Reg. (EU) 2023/1543 Art. 4(2): traffic and content are for a judge, court or investigating judge."""
    order = replace(_order(case), issuer_role=IssuerRole.PROSECUTOR)
    issuer = Signatory(SignatureRole.ISSUE, order.issuing_state, frozenset({IssuerRole.PROSECUTOR}), "p")
    answer = _assess(case, order=order, signatories=(*_signatories(case), issuer))
    assert not answer.categories & {DataCategory.TRAFFIC, DataCategory.CONTENT}


@given(cases("eu.epoc"))
@settings(max_examples=300, deadline=None)
def test_an_epoc_is_for_another_bound_state(case: dict[str, object]) -> None:
    """Art. 3(1), 34(2), recitals 100-101: issued in one bound state for another, from 18 August 2026."""
    order = _order(case)
    issuer = Signatory(SignatureRole.ISSUE, order.issuing_state, frozenset({order.issuer_role}), "i")
    answer = _assess(case, order=order, signatories=(*_signatories(case), issuer))
    if answer.outcome is not Outcome.REFUSE:
        assert order.issuing_state != _stored(case)
        assert {order.issuing_state.code, _stored(case).code} <= set(BOUND)


@given(cases("eu.epoc"))
@settings(max_examples=300, deadline=None)
def test_content_by_epoc_needs_three_years_or_a_listed_offence(case: dict[str, object]) -> None:
    """Art. 5(4): "a maximum custodial sentence of at least three years" or a listed offence."""
    order = _order(case)
    answer = _assess(case, order=order)
    if answer.categories & {DataCategory.TRAFFIC, DataCategory.CONTENT}:
        assert order.offence is not None
        assert order.offence.max_custodial_years >= 3 or order.offence.listed


@given(cases("eu.epoc"))
@settings(max_examples=300, deadline=None)
def test_an_objection_of_the_enforcing_authority_is_final(case: dict[str, object]) -> None:
    """Art. 12: where a ground for refusal is raised, the addressee stops."""
    order = _order(case)
    circumstances = Circumstances(NOW - timedelta(days=30), EnforcingAnswer.OBJECTED)
    answer = _assess(case, order=order, circumstances=circumstances)
    assert not answer.categories & {DataCategory.TRAFFIC, DataCategory.CONTENT}


@given(cases("us.sca-warrant"))
@settings(max_examples=400, deadline=None)
def test_a_statutory_motion_needs_an_agreement(case: dict[str, object]) -> None:
    """18 U.S.C. 2703(h)(2): a qualifying foreign government, of which there are two."""
    order = replace(_order(case), issuing_state=Jurisdiction("US"))
    issuer = Signatory(SignatureRole.ISSUE, order.issuing_state, frozenset({order.issuer_role}), "i")
    setting = Setting(Region(RegionCode("region-1"), _stored(case)), frozenset({Jurisdiction("US")}))
    answer = _assess(case, order=order, setting=setting, signatories=(*_signatories(case), issuer))
    if answer.conflict is not None and answer.conflict.due is not None:
        assert _stored(case).code in {"GB", "AU"}
    if answer.outcome is not Outcome.REFUSE:
        assert answer.conflict is None


@given(cases())
@settings(max_examples=300, deadline=None)
def test_nothing_is_carried_that_was_not_both_asked_and_ordered(case: dict[str, object]) -> None:
    """A request narrower than the order is met; beyond the order nothing is carried."""
    requested = case["requested"]
    assert isinstance(requested, frozenset)
    answer = _assess(case)
    assert answer.categories <= requested & _order(case).categories
    missing = requested - answer.categories
    assert bool(missing) <= any(not finding.ok for finding in answer.findings)


@given(cases(), st.sampled_from(sorted(_JUDICIAL)), st.sampled_from(STATES))
@settings(max_examples=200, deadline=None)
def test_an_office_that_is_only_claimed_counts_for_nothing(
    case: dict[str, object], claimed: IssuerRole, other: str
) -> None:
    """CONTRACT: a role counts only if the trust list gives it to that certificate."""
    order = replace(_order(case), issuer_role=claimed)
    listed = Signatory(SignatureRole.ISSUE, order.issuing_state, frozenset({IssuerRole.OTHER_AUTHORITY}), "x")
    elsewhere = Signatory(
        SignatureRole.ISSUE, Jurisdiction(other), frozenset({claimed}), "judge of another state"
    )
    signatories = [listed] if other == order.issuing_state.code else [listed, elsewhere]
    answer = _assess(case, order=order, signatories=signatories)
    assert answer.outcome is Outcome.REFUSE
    role = next(each for each in answer.findings if each.code == FindingCode.ISSUER_ROLE)
    assert not role.ok


def test_a_lawbook_is_an_argument_and_nothing_else() -> None:
    """Two lawbooks in one process do not see each other."""
    files = lawbook_files()
    old, new = b"days = 10\nemergency_hours = 8", b"days = 5\nemergency_hours = 8"
    assert old in files["eu.toml"]
    shorter = read_lawbook({**files, "eu.toml": files["eu.toml"].replace(old, new)})
    case = next(
        case for case in policy_cases() if case.name == "German EPOC for subscriber data, Irish mailbox"
    )
    due = [_due(case.scenario, lawbook) for lawbook in (LAWBOOK, shorter, LAWBOOK)]
    assert due == [NOW + timedelta(days=10), NOW + timedelta(days=5), NOW + timedelta(days=10)]


def _due(scenario: dict[str, object], lawbook: Lawbook) -> datetime | None:
    return explain(Scenario.read(scenario, lawbook), lawbook).due
