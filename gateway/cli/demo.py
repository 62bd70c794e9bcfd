"""`situs demo`: three regions on one machine, and what to try there."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
import uvloop
from rich.console import Console

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.demo.card import Card
from gateway.demo.engines import EngineNotStarted
from gateway.demo.invitation import invite
from gateway.demo.plan import Doors
from gateway.demo.scenes import Step, play
from gateway.demo.site import Engine, Site, open_site
from gateway.logs import configure_logs
from gateway.serve import stop_signals


@click.command()
@click.option("--once", is_flag=True, help="Play the Ireland case, say what happened, and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--engine", type=click.Choice([kind.value for kind in Engine]), default="moto", show_default=True
)
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Default .situs-demo"
)
@click.option(
    "--ephemeral", is_flag=True, help="Free ports, and (without --state) a directory that is removed."
)
def demo(once: bool, as_json: bool, engine: str, state: Path | None, ephemeral: bool) -> None:
    """Start several regions on this machine."""
    configure_logs(json=True)
    with ExitStack() as stack:
        if state is None and ephemeral:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="situs-demo-")))
        site = Site(
            state=(state or Path(".situs-demo")).absolute(),
            engine=Engine(engine),
            doors=Doors.free() if ephemeral else Doors.usual(),
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_play_once(site, as_json) if once else _stay(site, as_json))
            except EngineNotStarted as error:
                raise UsageFault(str(error)) from None


async def _stay(site: Site, as_json: bool) -> None:
    async with stop_signals() as stop, open_site(site) as card:
        click.echo(json.dumps(asdict(card)) if as_json else invite(card, site.card))
        await stop.wait()
    click.echo("Stopped; nothing is left running.", err=True)


async def _play_once(site: Site, as_json: bool) -> None:
    steps: list[Step] = []
    # Colours and columns are for people; standard output stays clean for --json.
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    async with open_site(site) as card:
        async for step in play(card):
            steps.append(step)
            mark = "[green]ok[/]" if step.ok else "[red]NO[/]"
            console.print(f"{mark}  [bold]{step.name}[/]: ", end="")
            console.print(step.found, markup=False)
    report(steps, card, as_json)


def report(steps: list[Step], card: Card, as_json: bool) -> None:
    """Ends the command. Raises AnswerIsNo where a step did not do what it should."""
    failed = [step.name for step in steps if not step.ok]
    if as_json:
        regions = {code: region.country for code, region in card.regions.items()}
        click.echo(
            json.dumps({"ok": not failed, "regions": regions, "steps": [asdict(step) for step in steps]})
        )
    if failed:
        raise AnswerIsNo(f"{len(failed)} of {len(steps)} steps failed: {', '.join(failed)}")
