"""How a verification is shown: the faults by name, then the answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import click

from storage.audit.report import Report


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
