"""The transparency report: each region's figures, with the checkpoint that they were computed from.

Only a log that verifies gives figures. As JSON, as CSV for a spreadsheet, as SVG to look at.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

from policy.geography import Region
from storage.audit.note import VerifierKey
from storage.audit.report import Report
from storage.audit.source import Source
from storage.audit.statistics import ANY_CATEGORY, Figures, Statistics
from storage.audit.verify import Demands, Progress, verify

COLUMNS: Final = (
    "region",
    "period",
    "requesting_state",
    "instrument",
    "category",
    "outcome",
    "requests",
    # Of the whole region in the time asked for, the same on each of its lines:
    "accounts",
    "emergencies",
    "foreign_requests",
    "foreign_granted",
    "median_seconds",
    "refused_because",
    "log_size",
    "log_root",
)


class NotVerified(Exception):
    """The log is not what was signed: there are no figures. `report` says why."""

    def __init__(self, report: Report) -> None:
        first = f": {report.faults[0]}" if report.faults else ""
        super().__init__(f"{report.origin}: the log does not verify{first}")
        self.report: Final = report


@final
@dataclass(frozen=True, slots=True)
class RegionFigures:
    """One region's figures. `since` and `until` as asked for; None where the whole log counts."""

    region: Region
    figures: Figures
    report: Report
    since: datetime | None
    until: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "region": self.region.code.value,
            "stored_in": self.region.country.code,
            "from": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            **self.figures.to_json(),
            "computed_from": {
                "origin": self.report.origin,
                "size": self.report.size,
                "root": base64.b64encode(self.report.root).decode(),
                "checkpoint": self.report.checkpoint.decode(),
            },
        }


async def region_figures(
    source: Source,
    key: VerifierKey,
    region: Region,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = lambda _done, _all: None,
) -> RegionFigures:
    """Verify a region's log and count what is in it. Raises NotVerified, Unavailable."""
    statistics = Statistics(region.country, since, until)
    trouble: list[ValueError] = []

    def visit(first: int, entries: Sequence[bytes]) -> None:
        try:
            statistics.visit(first, entries)
        except ValueError as error:
            trouble.append(error)  # the verification names it: an entry that is none

    report = await verify(source, key, Demands(region=region.code, progress=progress, visit=visit))
    if trouble or not report.ok:
        raise NotVerified(report)
    return RegionFigures(region, statistics.figures(), report, since, until)


def as_json(regions: Sequence[RegionFigures]) -> dict[str, Any]:
    """The whole report."""
    return {"version": 1, "regions": [each.to_json() for each in regions]}


def as_csv(regions: Sequence[RegionFigures]) -> str:
    """One line for each count (RFC 4180). Lines with category "any" count each request once.

    A region without requests is one line that says 0: it too was computed from a checkpoint.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for each in regions:
        region, totals = each.region.code.value, _totals(each)
        for cell, count in sorted(each.figures.cells.items()):
            where = (cell.period, cell.state, cell.instrument, cell.category, cell.answer.value)
            writer.writerow((region, *where, count, *totals))
        if not each.figures.cells:
            writer.writerow((region, "", "", "", ANY_CATEGORY, "", 0, *totals))
    return text.getvalue()


def _totals(each: RegionFigures) -> tuple[object, ...]:
    figures = each.figures
    return (
        figures.accounts,
        figures.emergencies,
        figures.foreign,
        figures.foreign_granted,
        "" if figures.median_seconds is None else f"{figures.median_seconds:.3f}",
        "; ".join(f"{code} {count}" for code, count in sorted(figures.reasons.items())),
        each.report.size,
        base64.b64encode(each.report.root).decode(),
    )
