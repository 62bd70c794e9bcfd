"""How a verification is shown: a bar while it runs, then the faults by name, then the answer."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from storage.audit.report import Report
from storage.audit.verify import Progress as Tick


@contextmanager
def progress_bar(name: str) -> Iterator[Tick]:
    """A bar on standard error, where somebody is looking; counts entries."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_report(report: Report) -> None:
    """For people: each fault on standard error, one line of answer on standard output."""
    for fault in report.faults:
        click.echo(f"{report.origin}: {fault}", err=True)
    if report.more:
        click.echo(f"{report.origin}: and {report.more} faults more", err=True)
    for name, moment in report.witnesses.items():
        click.echo(f"{report.origin}: cosigned by {name} at {moment.isoformat()}")
    if report.records or report.erased:
        click.echo(f"{report.origin}: {report.records} records agree, {report.erased} are erased")
    root = base64.b64encode(report.root).decode()
    if report.ok:
        click.echo(f"{report.origin}: {report.size} entries, root {root}: verified")
    else:
        click.echo(f"{report.origin}: {report.size} entries, root {root}: NOT verified")


def as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """What `--json` prints."""
    return {"ok": all(report.ok for report in reports), "logs": [report.to_json() for report in reports]}
