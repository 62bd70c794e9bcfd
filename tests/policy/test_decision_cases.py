"""Each policy case is decided as its file says, in words and from outside."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.law import law
from policy.assessment import FindingCode, ObligationCode, Outcome
from policy.explain import Scenario, explain
from policy.order import DataCategory, IssuerRole
from tests.policy.lawcases import PolicyCase, policy_cases, shipped_lawbook

_EXPECTATIONS = {"outcome", "categories", "due", "conflict", "remedies", "findings", "obligations"}


def _answer(case: PolicyCase) -> dict[str, Any]:
    lawbook = shipped_lawbook()
    return explain(Scenario.read(case.scenario, lawbook), lawbook).to_json()


@pytest.mark.parametrize("case", policy_cases(), ids=lambda case: case.name)
def test_case(case: PolicyCase) -> None:
    expect, answer = case.expect, _answer(case)
    assert set(expect) <= _EXPECTATIONS
    assert answer["outcome"] == expect["outcome"], answer["findings"]
    assert answer["categories"] == [word for word in DataCategory if word in expect["categories"]]
    assert answer["due"] == expect.get("due")
    for code, ok in expect.get("findings", {}).items():
        found = [finding["ok"] for finding in answer["findings"] if finding["code"] == code]
        assert found, f"no finding {code}"
        assert all(found) is ok, f"{code}: {answer['findings']}"
    owed = {item["code"]: item["due"] for item in answer["obligations"]}
    assert expect.get("obligations", {}).items() <= owed.items()
    conflict = answer["conflict"]
    if "conflict" in expect:
        assert (conflict["law"], conflict["due"]) == (
            expect["conflict"]["law"],
            expect["conflict"].get("due"),
        )
    else:
        assert conflict is None
    if "remedies" in expect:
        assert [remedy["instrument"] for remedy in answer["remedies"]] == expect["remedies"]


@pytest.mark.parametrize("case", policy_cases(), ids=lambda case: case.name)
def test_every_answer_is_whole(case: PolicyCase) -> None:
    """CONTRACT.md's shape, a source for every finding, and a reason for every refusal."""
    answer = _answer(case)
    assert set(answer) == {
        "outcome", "categories", "findings", "obligations", "conflict", "remedies", "due", "lawbook",
    }  # fmt: skip
    assert answer["outcome"] in set(Outcome)
    assert answer["lawbook"].startswith("sha256:")
    for finding in answer["findings"]:
        assert set(finding) == {"code", "ok", "detail", "source"}
        assert finding["code"] in set(FindingCode)
        assert finding["detail"]
        assert finding["source"]
    for obligation in answer["obligations"]:
        assert obligation["code"] in set(ObligationCode)
        assert obligation["due"].endswith("Z")
    for remedy in answer["remedies"]:
        assert remedy["route"]
        assert set(remedy["issuer_roles"]) <= set(IssuerRole)
        assert remedy["issuer_roles"]
    carried, asked = set(answer["categories"]), set(case.scenario["requested"])
    assert carried <= asked
    refused = not all(finding["ok"] for finding in answer["findings"])
    assert refused or carried == asked, "something is not carried, and nothing says why"
    if answer["outcome"] == "refuse":
        assert not carried
        assert refused


def test_situs_law_explain_says_the_same_from_outside() -> None:
    """Every case through the command, by standard input, as one JSON object and nothing else."""
    runner = CliRunner()
    for case in policy_cases():
        result = runner.invoke(law, ["explain", "-", "--json"], input=json.dumps(case.scenario))
        answer = _answer(case)
        assert result.exit_code == (1 if answer["outcome"] == "refuse" else 0), (case.name, result.output)
        assert json.loads(result.stdout) == answer, case.name


def test_the_cases_reach_every_instrument_outcome_and_finding() -> None:
    """A rule that no case touches is a rule that nobody has thought through."""
    answers = [(case, _answer(case)) for case in policy_cases()]
    assert len(answers) >= 60
    lawbook = shipped_lawbook()
    used = {case.scenario["order"]["instrument"] for case, _ in answers}
    assert {item.id for each in lawbook.laws for item in each.instruments} <= used
    outcomes = Counter(answer["outcome"] for _, answer in answers)
    assert set(outcomes) == set(Outcome)
    said = {(finding["code"], finding["ok"]) for _, answer in answers for finding in answer["findings"]}
    remarks = {FindingCode.DEADLINE, FindingCode.NOTICE, FindingCode.UNCONFIRMED}
    only_bad = {FindingCode.BLOCKING_STATUTE}
    for code in FindingCode:
        if code not in only_bad:
            assert (code, True) in said, code
        if code not in remarks:
            assert (code, False) in said, code
    owed = {item["code"] for _, answer in answers for item in answer["obligations"]}
    assert owed == set(ObligationCode)
    assert len({case.name for case, _ in answers}) == len(answers)
