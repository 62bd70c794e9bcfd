"""The second opinion: the law of LAW.md in Cedar, written apart from the lawbook and asked in bulk.

Cedar answers whether one category is carried, and whether it may be handed over now. It is always
asked with its schema, and any diagnostic error is a failure: a Cedar `forbid` that errors is
skipped, and would look like agreement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import cedarpy

from policy.address import Address
from policy.assessment import Circumstances, EnforcingAnswer, Outcome, Setting
from policy.decision import assess
from policy.geography import Jurisdiction, Region, RegionCode
from policy.lawbook import Lawbook
from policy.order import DataCategory, IssuerRole, Offence, Order, SignatureRole, Timespan
from policy.signatory import Signatory

_HERE = Path(__file__).parent
_BATCH = 10_000
BOUND = ("DE", "FR", "IE", "IT", "PL", "SE")  # of the states asked about, those that the Regulation binds
EIO = ("DE", "FR", "IT", "PL", "SE")
STORED_IN = ("AU", "BR", "CA", "CH", "DE", "DK", "FR", "GB", "IE", "IN", "IT", "JP", "SE", "US")
STATES = (*STORED_IN, "PL")
_COURTS = ["judge", "court"]
_RECOGNISERS = dict.fromkeys(STATES, _COURTS) | {
    "FR": [*_COURTS, "investigating_judge"],
    "CH": [*_COURTS, "prosecutor"],
    "IT": [],  # no file: nobody there is known to take up anything
    "JP": [],
    "PL": [],
}
_EIO_RECOGNISERS = {"DE": _COURTS, "SE": _COURTS, "FR": [*_COURTS, "investigating_judge"]}
TARGET = Address.parse("person@example.test")
_PARSED = {state: Jurisdiction.parse(state) for state in STATES}
_REGIONS = {state: Region(RegionCode.parse("region-1"), _PARSED[state]) for state in STATES}


@dataclass(frozen=True, slots=True)
class Question:
    """One point of the decision space, in the terms that both formulations are asked in."""

    stored: str
    instrument: str
    issuing: str
    role: IssuerRole
    category: DataCategory
    validated: IssuerRole | None = None
    recognised: IssuerRole | None = None
    held: bool = True
    emergency: bool = False
    hours: int = 1
    offence: Offence | None = None
    timespan: bool = True
    in_force: bool = True
    now: datetime = datetime(2026, 11, 24, 10, tzinfo=UTC)
    waited: int = 0
    answer: EnforcingAnswer = EnforcingAnswer.NOTHING
    target: str = "unknown"

    def request(self, action: str) -> dict[str, object]:
        """As Cedar is asked."""
        offence = self.offence
        received_at = self.now - timedelta(days=self.waited)
        context = {
            "instrument": self.instrument,
            "role": self.role.value,
            "held": [self.role.value] if self.held else [],
            "category": self.category.value,
            "validated": [self.validated.value] if self.validated else [],
            "recognised": [self.recognised.value] if self.recognised else [],
            "emergency": self.emergency,
            "hours": self.hours,
            "stated": offence is not None,
            "years": int(offence.max_custodial_years) if offence else 0,
            "listed": offence.listed if offence else False,
            "domestic": offence.domestic if offence else False,
            "timespan": self.timespan,
            "in_force": self.in_force,
            "today": int(received_at.strftime("%Y%m%d")),
            "waited": self.waited,
            "answer": self.answer.value,
            "target": self.target,
        }
        return {
            "principal": f'State::"{self.issuing}"',
            "action": f'Action::"{action}"',
            "resource": f'State::"{self.stored}"',
            "context": context,
        }

    def decided(self, lawbook: Lawbook) -> Outcome:
        """As `policy.decision` answers."""
        issued_at = self.now - timedelta(hours=self.hours)
        issuing, stored = _PARSED[self.issuing], _PARSED[self.stored]
        held = self.role if self.held else _another(self.role)
        signatories = [Signatory(SignatureRole.ISSUE, issuing, frozenset({held}), "issuer")]
        if self.validated:
            signatories.append(
                Signatory(SignatureRole.VALIDATE, issuing, frozenset({self.validated}), "validator")
            )
        if self.recognised:
            signatories.append(
                Signatory(SignatureRole.RECOGNISE, stored, frozenset({self.recognised}), "recogniser")
            )
        categories = frozenset({self.category})
        order = Order(
            reference="1",
            issuer="issuer",
            issued_at=issued_at,
            not_before=issued_at,
            expires_at=self.now + timedelta(days=1 if self.in_force else 0),
            instrument=self.instrument,
            issuing_state=issuing,
            issuer_role=self.role,
            target=TARGET,
            categories=categories,
            timespan=_SPAN if self.timespan else None,
            emergency=self.emergency,
            offence=self.offence,
        )
        circumstances = Circumstances(
            self.now - timedelta(days=self.waited),
            self.answer,
            None if self.target == "unknown" else _PARSED[self.target],
        )
        setting = Setting(_REGIONS[self.stored], frozenset())
        return assess(order, signatories, categories, setting, lawbook, self.now, circumstances).outcome


_SPAN = Timespan(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC))


class Oracle:
    """Cedar with its policies, schema and states, parsed once. Raises AssertionError where it errs."""

    def __init__(self) -> None:
        policies = (_HERE / "law.cedar").read_text("utf-8")
        schema = (_HERE / "law.cedarschema").read_text("utf-8")
        validation = cedarpy.validate_policies(policies, schema)
        assert validation.validation_passed, [str(error) for error in validation.errors]
        self._schema = cedarpy.Schema.from_str(schema)
        self._policies = cedarpy.PolicySet.from_str(policies)
        self._states = cedarpy.Entities.from_json_str(json.dumps(_entities()), self._schema)

    def allows(self, questions: list[Question], action: str) -> list[bool]:
        requests = [question.request(action) for question in questions]
        results = cedarpy.is_authorized_batch(requests, self._policies, self._states, self._schema)
        for question, result in zip(questions, results, strict=True):
            assert not result.diagnostics.errors, (question, result.diagnostics.errors)
            assert result.decision in (cedarpy.Decision.Allow, cedarpy.Decision.Deny), question
        return [result.allowed for result in results]


def disagreements(
    oracle: Oracle, lawbook: Lawbook, questions: Iterable[Question]
) -> Iterator[tuple[Question, str] | None]:
    """For each question None, or the question with what each side said."""
    remaining = iter(questions)
    while batch := list(islice(remaining, _BATCH)):
        decided = [question.decided(lawbook) for question in batch]
        carried = oracle.allows(batch, "carry")
        asked = [question for question, allowed in zip(batch, carried, strict=True) if allowed]
        released = dict(zip(map(id, asked), oracle.allows(asked, "release"), strict=True))
        for question, outcome, allowed in zip(batch, decided, carried, strict=True):
            now = released.get(id(question), False)
            agreed = allowed is (outcome is not Outcome.REFUSE) and now is (outcome is Outcome.PERMIT)
            yield None if agreed else (question, f"decided {outcome}; Cedar carry={allowed} release={now}")


def _another(role: IssuerRole) -> IssuerRole:
    return next(other for other in IssuerRole if other is not role)


def _entities() -> list[dict[str, object]]:
    blocs = {"e-evidence": BOUND, "eio": EIO}
    found: list[dict[str, object]] = [
        {"uid": {"type": "Bloc", "id": bloc}, "attrs": {}, "parents": []} for bloc in blocs
    ]
    for state in STATES:
        found.append(
            {
                "uid": {"type": "State", "id": state},
                "attrs": {
                    "recognisers": _RECOGNISERS[state],
                    "eio_recognisers": _EIO_RECOGNISERS.get(state, []),
                },
                "parents": [
                    {"type": "Bloc", "id": bloc} for bloc, members in blocs.items() if state in members
                ],
            }
        )
    return found
