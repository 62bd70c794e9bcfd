"""How long a decision takes with the whole lawbook, over every policy case in turn.

Target (issue 5, line 8): p50 at most 25 microseconds, of the thread's own time: a decision waits for
nothing, and what else the machine is doing is not its doing. Baseline in the same run: Cedar (`cedarpy`)
answering the yes-or-no part of the same question, with policies, schema and entities parsed
beforehand; it says neither why, nor what is owed, nor what would open the mailbox.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median, quantiles

from policy.assessment import Outcome
from policy.explain import Scenario, explain
from policy.order import DataCategory, IssuerRole, Offence
from tests.policy.lawcases import policy_cases, shipped_lawbook
from tests.policy.oracle import Oracle, Question

TARGET_US = 25.0
ROUNDS = 200


def run() -> None:
    """Prints the figures."""
    lawbook = shipped_lawbook()
    scenarios = [Scenario.read(case.scenario, lawbook) for case in policy_cases()]
    by_outcome: dict[Outcome, list[float]] = {}
    for scenario in scenarios:
        outcome = explain(scenario, lawbook).outcome
        taken = _times(lambda scenario=scenario: explain(scenario, lawbook), ROUNDS)  # type: ignore[misc]
        by_outcome.setdefault(outcome, []).extend(taken)
    everything = [taken for times in by_outcome.values() for taken in times]
    p50 = median(everything)
    instruments = sum(len(law.instruments) for law in lawbook.laws)
    verdict = "met" if p50 <= TARGET_US else "MISSED"
    print(f"decision, {len(scenarios)} cases, {instruments} instruments, {len(lawbook.laws)} files")
    print(f"  {'all':<10} {_line(everything)}   target p50 {TARGET_US:g} us: {verdict}")
    for outcome, times in sorted(by_outcome.items()):
        print(f"  {outcome:<10} {_line(times)}")
    cedar = _cedar()
    print(f"  {'cedarpy':<10} p50 {cedar:7.1f} us for yes or no alone: {cedar / p50:.1f} times as long")


def _cedar() -> float:
    oracle = Oracle()
    question = Question("IE", "eu.epoc", "DE", IssuerRole.JUDGE, DataCategory.CONTENT, offence=Offence(5.0))
    batch = [question] * 500
    started = time.thread_time_ns()
    assert all(oracle.allows(batch, "carry"))
    return (time.thread_time_ns() - started) / len(batch) / 1e3


def _times(call: Callable[[], object], rounds: int) -> list[float]:
    """Microseconds of each call, without the collector's pauses."""
    call()
    gc.disable()
    try:
        taken = []
        for _ in range(rounds):
            started = time.thread_time_ns()
            call()
            taken.append((time.thread_time_ns() - started) / 1e3)
        return taken
    finally:
        gc.enable()


def _line(times: Sequence[float]) -> str:
    return f"p50 {median(times):7.1f} us  p99 {quantiles(times, n=100)[98]:7.1f} us"


if __name__ == "__main__":
    run()
