"""`situs serve`: runs the doors in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio

import click
import structlog
import uvloop

from gateway.cli.configured import config_option
from gateway.config import Config, ConfigError
from gateway.house import House
from gateway.logs import configure_logs
from gateway.serve import DoorName, OpenDoors, until_stopped

_log = structlog.get_logger("situs.serve")


def _doors(only: str | None) -> frozenset[DoorName]:
    if only is None:
        return frozenset(DoorName)
    try:
        return frozenset(DoorName(name.strip()) for name in only.split(","))
    except ValueError:
        raise ConfigError(f"--only: a list of {', '.join(DoorName)} is expected, not {only!r}") from None


@click.command()
@config_option
@click.option("--only", metavar="DOORS", help="Open these doors alone: smtp,lmtp,gateway.")
@click.option("--logs", type=click.Choice(["json", "console"]), default="json", show_default=True)
def serve(config: Config, only: str | None, logs: str) -> None:
    """Run the server."""
    doors = _doors(only)
    configure_logs(json=logs == "json")

    def ready(opened: OpenDoors) -> None:
        _log.info("serving", smtp=opened.smtp, lmtp=opened.lmtp, gateway=opened.gateway)

    async def run() -> None:
        async with House.open(config) as house:
            await until_stopped(house, doors, ready)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
