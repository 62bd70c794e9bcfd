"""`situs report`: transparency figures out of the log, as JSON, CSV or a picture."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path

import click

from gateway.chart import as_svg
from gateway.cli.audit_logs import Subject, configuration, region_code, region_subject
from gateway.cli.bar import Bar
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.transparency import NotVerified, RegionFigures, as_csv, as_json, region_figures
from policy.geography import Region
from policy.order import ClaimError, parse_moment


@click.group()
def report() -> None:
    """Transparency figures out of the log."""


@report.command()
@click.option("--region", "regions", metavar="CODE", multiple=True, help="A configured region; else all.")
@click.option("--from", "since", metavar="TIME", help="Decided at or after: RFC 3339, or a date.")
@click.option("--until", metavar="TIME", help="Decided before.")
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
@click.option("--csv", "csv_", is_flag=True, help="One line for each count.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw a picture into a file.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Else $SITUS_CONFIG.")
def transparency(
    regions: tuple[str, ...],
    since: str | None,
    until: str | None,
    json_: bool,
    csv_: bool,
    svg: Path | None,
    config: Path | None,
) -> None:
    """Count requests by period, requesting state, instrument, category and outcome.

    Computed from the verified log alone: with the same log, anybody counts the same.
    """
    if json_ and csv_:
        raise UsageFault("--json, --csv: one of them is expected")
    begin, end = moment("--from", since), moment("--until", until)
    if begin and end and begin >= end:
        raise UsageFault("--until: must be after --from")

    async def run() -> list[RegionFigures]:
        settings = configuration(config)
        codes = [region_code(settings, text) for text in regions] or list(settings.serves)
        return [
            await _figures(
                settings.regions[code].region, await region_subject(settings, code, None), begin, end
            )
            for code in codes
        ]

    try:
        found = asyncio.run(run())
    except NotVerified as error:
        for fault in error.report.faults:
            click.echo(f"{error.report.origin}: {fault}", err=True)
        raise AnswerIsNo(str(error)) from None
    if svg is not None:
        try:
            svg.write_text(as_svg(found), "utf-8")
        except OSError as error:
            raise UsageFault(f"--svg: {svg}: {error.strerror}") from None
    if json_:
        click.echo(json.dumps(as_json(found), indent=2))
    elif csv_:
        click.echo(as_csv(found), nl=False)
    else:
        for each in found:
            _print(each)


async def _figures(
    region: Region, subject: Subject, since: datetime | None, until: datetime | None
) -> RegionFigures:
    with Bar(subject.key.name, None) as bar:
        return await region_figures(subject.source, subject.key, region, since, until, bar.stands)


def moment(option: str, text: str | None) -> datetime | None:
    """A time of the command line or of a query. Raises UsageFault."""
    if text is None:
        return None
    try:
        return parse_moment(f"{text}T00:00:00Z" if len(text) == 10 else text, option)
    except ClaimError:
        raise UsageFault(f"{option}: {text!r}: RFC 3339 is expected, or a date as 2026-01-01") from None


def _print(each: RegionFigures) -> None:
    figures = each.figures
    click.echo(f"{each.region}: {figures.requests} requests, {figures.accounts} accounts")
    for answer, count in sorted(figures.answers().items()):
        click.echo(f"  {answer.value:<16} {count}")
    if figures.reasons:
        reasons = ", ".join(f"{code} {count}" for code, count in figures.reasons.most_common())
        click.echo(f"  refused because   {reasons}")
    click.echo(f"  from other states {figures.foreign}, of which {figures.foreign_granted} granted")
    click.echo(f"  emergencies       {figures.emergencies}")
    if figures.median_seconds is not None:
        click.echo(f"  median to answer  {figures.median_seconds:.0f} s")
    if figures.attempts:
        attempts = ", ".join(f"{kind} {count}" for kind, count in figures.attempts.most_common())
        click.echo(f"  other attempts    {attempts}")
    click.echo(f"  computed from     {each.report.origin}, {each.report.size} entries, verified")
