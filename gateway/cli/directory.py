"""`situs directory`: the regions' copies of the directory, brought together."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from gateway.cli.configured import config_option
from gateway.cli.errand import run
from gateway.cli.outcome import AnswerIsNo, TryAgain
from gateway.config import Config
from gateway.house import House
from storage.address_book import Comparison


@click.group()
def directory() -> None:
    """Bring the regions' copies of the directory together."""


@directory.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@config_option
def sync(json_: bool, config: Config) -> None:
    """Compare every region's copies with the registrar's records, and write what is missing or old.

    Exit status 1 if a region has a record that the registrar does not know; 75 if one could not
    be compared to the end.
    """
    found = run(config, _sync)
    if json_:
        click.echo(
            json.dumps({"registrar": str(config.registrar), "regions": [_told(each) for each in found]})
        )
    else:
        for each in found:
            click.echo(f"{each.region}: {each.compared} compared, {each.copied} copied")
    for each in found:
        for stray in each.strays:
            click.echo(f"{each.region}: directory/{stray}: the registrar has no such record", err=True)
        if each.failure is not None:
            click.echo(f"{each.region}: {each.failure}", err=True)
    if failed := [str(each.region) for each in found if each.failure is not None]:
        raise TryAgain(f"{', '.join(failed)}: not compared to the end")
    if strange := [str(each.region) for each in found if each.strays]:
        raise AnswerIsNo(f"{', '.join(strange)}: records that the registrar does not know")


async def _sync(house: House) -> tuple[Comparison, ...]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        tasks = {code: bar.add_task(str(code)) for code in house.config.regions}

        def tick(now: Comparison) -> None:
            bar.update(
                tasks[now.region],
                description=f"{now.region}: {now.compared:,} compared, {now.copied:,} copied",
            )

        found = await house.directory.book.sync(tick)
        # What the marks were about is done now: they are swept away where every region has been reached.
        await house.directory.book.mend()
        return found


def _told(each: Comparison) -> dict[str, object]:
    return {
        "region": str(each.region),
        "compared": each.compared,
        "copied": each.copied,
        "strays": each.strays,
        "failure": each.failure,
    }
