"""`situs serve`: runs the doors in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import asdict

import click
import structlog
import uvloop

from gateway.cli.configured import config_option
from gateway.config import Config, ConfigError
from gateway.garbage import look_less_often
from gateway.house import House
from gateway.logs import configure_logs
from gateway.serve import DoorName, open_doors, stop_signals
from gateway.supervision import Supervisor, notify, outlive_hangups

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
@click.option("--only", metavar="DOORS", help="Open these doors alone: smtp,lmtp,imap,gateway.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N")
@click.option("--logs", type=click.Choice(["json", "console"]), default="json", show_default=True)
@click.option("--shared-ports", is_flag=True, hidden=True, help="For a worker: others listen there too.")
@click.option("--ready-fd", type=int, hidden=True, help="For a worker: where to say that it serves.")
@click.option("--lmtp-fd", type=int, hidden=True, help="For a worker: the UNIX socket of its parent.")
def serve(
    config: Config,
    only: str | None,
    workers: int,
    logs: str,
    shared_ports: bool,
    ready_fd: int | None,
    lmtp_fd: int | None,
) -> None:
    """Run the server."""
    doors = _doors(only)
    configure_logs(json=logs == "json")

    async def run_doors() -> None:
        outlive_hangups()
        inherited = None if lmtp_fd is None else socket.socket(fileno=lmtp_fd)
        async with (
            stop_signals() as stop,
            House.open(config) as house,
            open_doors(house, doors, shared_ports=shared_ports, lmtp_socket=inherited) as opened,
        ):
            _log.info("serving", **asdict(opened))
            if ready_fd is not None:
                os.write(ready_fd, b"1")
            else:
                notify("READY=1")
            look_less_often()
            await stop.wait()

    async def run_workers() -> None:
        await Supervisor(config, doors, workers).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_workers() if workers > 1 else run_doors())
