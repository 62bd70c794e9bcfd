"""Proof by enumeration: the decision and an independent formulation in Cedar agree everywhere.

The space is storage country x instrument x issuing state x office x category x validation x
recognition x emergency x offence x in force x agreement carve-out, and more. Multiplied out it
has some 10^8 points, of which nearly all differ in what the rule at hand does not look at. So it
is enumerated in three parts, each a full product:

* `everywhere`: every storage country, instrument, issuing state, office and category, once with
  every signature that could help, once with none;
* `signatures`: every instrument, office, category, validation and recognition, in storage countries
  of every kind (its home, one of each set of recognisers, none);
* `conditions`: for each instrument with a condition of its own, every value of every condition,
  where the instrument can have force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product

import pytest

from gateway.law import lawbook_files
from policy.assessment import EnforcingAnswer
from policy.geography import Jurisdiction
from policy.lawbook import read_lawbook
from policy.order import DataCategory, IssuerRole, Offence
from tests.policy.lawcases import shipped_lawbook
from tests.policy.oracle import BOUND, STATES, STORED_IN, Oracle, Question, disagreements

_JUDGE, _PROSECUTOR = IssuerRole.JUDGE, IssuerRole.PROSECUTOR
_GRAVE = Offence(5.0)
_OFFENCES = (None, Offence(2.0), Offence(2.0, listed=True), Offence(3.0), Offence(5.0, domestic=True))
_TODAY = datetime(2026, 11, 24, 10, tzinfo=UTC)
# The eve of the e-Evidence Regulation, and of the agreements with the United Kingdom and Australia.
_EVES = (
    datetime(2026, 8, 17, 10, tzinfo=UTC),
    datetime(2022, 10, 2, tzinfo=UTC),
    datetime(2024, 1, 29, tzinfo=UTC),
)


def _instruments() -> tuple[str, ...]:
    known = tuple(item.id for law in shipped_lawbook().laws for item in law.instruments)
    return (*known, "pl.kpk-218")  # and one that the lawbook does not know


def _home(instrument: str) -> str | None:
    code = instrument.partition(".")[0].upper()
    return code if code in STATES else None


def everywhere() -> Iterator[Question]:
    for stored, instrument, role, category in product(STORED_IN, _instruments(), IssuerRole, DataCategory):
        for issuing in sorted({stored, _home(instrument) or "DE", "FR", "DK", "US"}):
            for helped in (_JUDGE, None):
                yield Question(
                    stored, instrument, issuing, role, category, helped, helped, offence=_GRAVE, target="FR"
                )


def signatures() -> Iterator[Question]:
    signed = (None, _JUDGE, _PROSECUTOR, IssuerRole.INVESTIGATING_JUDGE)
    for instrument in _instruments():
        issuing = _home(instrument) or "DE"
        for stored in sorted({issuing, "IE", "FR", "CH", "JP", "US"}):
            for role, category, validated, recognised in product(IssuerRole, DataCategory, signed, signed):
                if validated is None or recognised is None or validated is recognised:
                    yield Question(
                        stored, instrument, issuing, role, category, validated, recognised, offence=_GRAVE
                    )


def conditions() -> Iterator[Question]:
    for stored in ("IE", "DK"):
        yield from _epoc(stored)
    yield from _emergencies("eu.epoc-pr", "DE", "SE", (1, 47, 48))
    yield from _emergencies("ie.retention-disclosure", "IE", "IE", (1, 48, 71, 72))
    for instrument, issuing in (("gb.copo-opo", "GB"), ("au.ipo", "AU")):
        yield from _agreements(instrument, issuing)
    for instrument, state in (
        ("au.tia-stored", "AU"), ("br.marco-civil", "BR"), ("de.stpo-100g", "DE"), ("se.rb-27-19", "SE"),
    ):  # fmt: skip
        for role, category, offence, timespan, in_force in product(
            IssuerRole, DataCategory, _OFFENCES, (True, False), (True, False)
        ):
            yield Question(
                state,
                instrument,
                state,
                role,
                category,
                offence=offence,
                timespan=timespan,
                in_force=in_force,
            )
    for instrument, role, category, held in product(_instruments(), IssuerRole, DataCategory, (True, False)):
        state = _home(instrument) or "FR"
        yield Question(
            state, instrument, state, role, category, held=held, in_force=not held, recognised=_JUDGE
        )


def _epoc(stored: str) -> Iterator[Question]:
    heard = (
        (EnforcingAnswer.NOTHING, 0),
        (EnforcingAnswer.NOTHING, 9),
        (EnforcingAnswer.NOTHING, 10),
        (EnforcingAnswer.CLEARED, 0),
        (EnforcingAnswer.OBJECTED, 10),
    )
    dates = ((_TODAY, True), (_TODAY, False), (_EVES[0], True))
    for role, category, validated, emergency, hours, offence, (now, in_force), (answer, waited) in product(
        IssuerRole,
        DataCategory,
        (None, _JUDGE, _PROSECUTOR),
        (True, False),
        (47, 48),
        _OFFENCES,
        dates,
        heard,
    ):
        yield Question(
            stored, "eu.epoc", "DE", role, category, validated,
            emergency=emergency, hours=hours, offence=offence, in_force=in_force, now=now,
            answer=answer, waited=waited,
        )  # fmt: skip


def _emergencies(instrument: str, issuing: str, stored: str, hours: tuple[int, ...]) -> Iterator[Question]:
    signed = (None, _JUDGE, _PROSECUTOR)
    for role, category, validated, emergency, ago, in_force, now in product(
        IssuerRole, DataCategory, signed, (True, False), hours, (True, False), (_TODAY, _EVES[0])
    ):
        yield Question(
            stored, instrument, issuing, role, category, validated,
            emergency=emergency, hours=ago, in_force=in_force, now=now,
        )  # fmt: skip


def _agreements(instrument: str, issuing: str) -> Iterator[Question]:
    for stored, role, category, recognised, offence, target, now in product(
        ("US", issuing, "IE"), IssuerRole, DataCategory, (None, _JUDGE), _OFFENCES,
        ("US", issuing, "unknown"), (_TODAY, *_EVES[1:]),
    ):  # fmt: skip
        yield Question(
            stored, instrument, issuing, role, category, recognised=recognised,
            offence=offence, target=target, now=now,
        )  # fmt: skip


@pytest.mark.parametrize("part", [everywhere, signatures, conditions])
def test_the_decision_and_cedar_agree(part: Callable[[], Iterator[Question]]) -> None:
    asked, differ = 0, []
    for found in disagreements(Oracle(), shipped_lawbook(), part()):
        asked += 1
        if found is not None:
            differ.append(found)
    assert not differ, (len(differ), differ[:5])
    assert asked > 40_000


def test_the_oracle_notices_a_lawbook_that_lets_too_much_in() -> None:
    """An oracle that always agrees is none: sabotage one grant, and it must say where."""
    files = lawbook_files()
    old = b'issuers = ["judge", "court", "investigating_judge"]\nvalidated_issuers'
    assert files["eu.toml"].count(old) == 1
    files["eu.toml"] = files["eu.toml"].replace(
        old, b'issuers = ["judge", "court", "investigating_judge", "prosecutor"]\nvalidated_issuers'
    )
    questions = [
        Question("IE", "eu.epoc", "DE", role, category, offence=_GRAVE)
        for role, category in product(IssuerRole, DataCategory)
    ]
    found = [each for each in disagreements(Oracle(), read_lawbook(files), questions) if each is not None]
    assert {(each[0].role, each[0].category) for each in found} == {
        (_PROSECUTOR, DataCategory.TRAFFIC),
        (_PROSECUTOR, DataCategory.CONTENT),
    }


def test_the_oracle_and_the_lawbook_know_the_same_bound_states() -> None:
    """Recitals 100-101: Ireland is bound and Denmark is not. Each side has a list of its own."""
    lawbook = shipped_lawbook()
    epoc = lawbook.instrument("eu.epoc")
    assert epoc is not None
    membership = lawbook.membership(epoc)
    assert membership is not None
    bound = {state for state in STATES if membership.binds(Jurisdiction(state), _TODAY, _TODAY)}
    assert bound == set(BOUND)
