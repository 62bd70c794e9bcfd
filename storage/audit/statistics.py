"""Figures out of the log: what was asked for, by whom, and what became of it.

Counted from the entries alone, one pass, so that anybody with a copy of the log gets the same
figures. A request is an order that was genuine and decided; it belongs to the month in which it
was decided. What never came to a decision (malformed, not genuine, not cleared, replayed) is
counted apart, as attempts: there is nobody behind it who could be named.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Any, Final, NamedTuple, final

from policy.geography import Jurisdiction
from policy.order import DataCategory
from storage.audit.entry import Entry, Event, Result

# What the figures are made of: the rest is not decoded.
_CONCERNS: Final = re.compile(rb'"event":"(?:attempt|disclosure)\.')
ANY_CATEGORY: Final = "any"


class Answer(StrEnum):
    """What became of a request."""

    FULL = "granted in full"
    PART = "granted in part"
    NO_DATA = "no data"
    PRESERVED = "preserved"
    REFUSED = "refused"  # by the law, at once
    REJECTED = "rejected"  # by the approver
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PENDING = "pending"


GRANTED: Final = frozenset({Answer.FULL, Answer.PART, Answer.NO_DATA})


class Cell(NamedTuple):
    """What is counted together. `category` is a data category, or "any": each request once."""

    period: str
    state: str
    instrument: str
    category: str
    answer: Answer


@final
@dataclass(slots=True)
class _Request:
    asked: datetime
    state: str
    instrument: str
    requested: frozenset[DataCategory]
    granted: frozenset[DataCategory]


@final
@dataclass(slots=True)
class Figures:
    """The result. `median_seconds`: from the decision to the answer, where a person answered."""

    cells: Counter[Cell] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # finding codes of refusals
    requests: int = 0
    accounts: int = 0
    emergencies: int = 0
    foreign: int = 0  # by another state than the one where the data is stored
    foreign_granted: int = 0
    median_seconds: float | None = None

    def answers(self) -> Counter[Answer]:
        """How many requests ended in what."""
        found: Counter[Answer] = Counter()
        for cell, count in self.cells.items():
            if cell.category == ANY_CATEGORY:
                found[cell.answer] += count
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "accounts": self.accounts,
            "emergencies": self.emergencies,
            "foreign": {"requests": self.foreign, "granted": self.foreign_granted},
            "answers": {answer.value: count for answer, count in sorted(self.answers().items())},
            "refused_because": dict(sorted(self.reasons.items())),
            "median_seconds_to_answer": self.median_seconds,
            "attempts": dict(sorted(self.attempts.items())),
            "counts": [
                {
                    "period": cell.period,
                    "requesting_state": cell.state,
                    "instrument": cell.instrument,
                    "category": cell.category,
                    "outcome": cell.answer.value,
                    "requests": count,
                }
                for cell, count in sorted(self.cells.items())
            ],
        }


@final
class Statistics:
    """Counts as the entries go by; `visit` is what `storage.audit.verify.Demands` takes."""

    def __init__(
        self, stored: Jurisdiction, since: datetime | None = None, until: datetime | None = None
    ) -> None:
        """`stored`: the country where the data lies. [since, until) bounds when requests were decided."""
        self._stored: Final = stored.code
        self._since: Final = since
        self._until: Final = until
        self._figures: Final = Figures()
        self._open: Final[dict[str, _Request]] = {}
        self._accounts: Final[set[str]] = set()
        self._seconds: Final = array("d")

    def visit(self, _first: int, entries: Sequence[bytes]) -> None:
        """Entries in the order of the log. Raises EntryError for what is no entry."""
        for data in entries:
            if _CONCERNS.search(data):
                self._count(Entry.decode(data))

    def figures(self) -> Figures:
        """Once all entries have gone by. What has no end yet is pending."""
        for request in self._open.values():
            self._close(request, Answer.PENDING)
        self._open.clear()
        self._figures.accounts = len(self._accounts)
        self._figures.median_seconds = median(self._seconds) if self._seconds else None
        return self._figures

    def _count(self, entry: Entry) -> None:
        match entry.event:
            case Event.DISCLOSURE_DECIDED:
                if self._in_period(entry.time):
                    self._decided(entry)
            case Event.DISCLOSURE_COMPLETED:
                self._ended(entry, _ANSWERS.get(entry.outcome, Answer.PART), answered=True)
            case Event.DISCLOSURE_REJECTED:
                self._ended(entry, Answer.REJECTED, answered=True)
            case Event.DISCLOSURE_CANCELLED:
                self._ended(entry, Answer.CANCELLED)
            case Event.DISCLOSURE_EXPIRED:
                self._ended(entry, Answer.EXPIRED)
            case event if event.startswith("attempt.") and self._in_period(entry.time):
                self._figures.attempts[event.removeprefix("attempt.")] += 1
            case _:
                pass

    def _in_period(self, moment: datetime) -> bool:
        return (self._since is None or self._since <= moment) and (
            self._until is None or moment < self._until
        )

    def _decided(self, entry: Entry) -> None:
        figures = self._figures
        figures.requests += 1
        figures.emergencies += bool(entry.emergency)
        if entry.account:
            self._accounts.add(entry.account)
        request = _Request(
            entry.time,
            entry.claimed_jurisdiction.code if entry.claimed_jurisdiction else "unknown",
            entry.instrument or "unknown",
            entry.requested,
            entry.categories,
        )
        figures.foreign += request.state != self._stored
        if entry.outcome is Result.REFUSE:
            figures.reasons.update(set(entry.findings))
            self._close(request, Answer.REFUSED)
        elif entry.outcome is Result.PRESERVE:
            self._close(request, Answer.PRESERVED)
        elif entry.disclosure is not None:
            self._open[entry.disclosure] = request

    def _ended(self, entry: Entry, answer: Answer, *, answered: bool = False) -> None:
        # Only the first end counts: a package that lapses later was handed over all the same.
        request = self._open.pop(entry.disclosure or "", None)
        if request is None:
            return
        if answer is Answer.FULL and not request.requested <= request.granted:
            answer = Answer.PART  # all that the law carries, and not all that was asked for
        if answered:
            self._seconds.append((entry.time - request.asked).total_seconds())
        self._close(request, answer)

    def _close(self, request: _Request, answer: Answer) -> None:
        if answer in GRANTED and request.state != self._stored:
            self._figures.foreign_granted += 1
        period = f"{request.asked:%Y-%m}"
        for category in (ANY_CATEGORY, *sorted(request.requested)):
            self._figures.cells[Cell(period, request.state, request.instrument, category, answer)] += 1


_ANSWERS: Final[dict[Result | None, Answer]] = {
    Result.FULL: Answer.FULL,
    Result.PART: Answer.PART,
    Result.NO_DATA: Answer.NO_DATA,
}
