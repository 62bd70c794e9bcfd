"""A server to be measured, in a process of its own: `python -m tests.bench.ingress_process KIND [STATE]`.

    stub       our SMTP door, its post keeps nothing
    aiosmtpd   aiosmtpd's SMTP as it comes, its handler keeps nothing
    durable    our LMTP door over a region on SeaweedFS, which is started beside it with its data in STATE

Prints its port, and runs until its standard input closes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path

import uvloop
from aiosmtpd.smtp import SMTP

from gateway.demo.engines import Credentials, start_seaweedfs
from gateway.garbage import look_less_often
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.lmtp import serve_lmtp
from gateway.logs import configure_logs
from gateway.post import RegionalPost
from gateway.smtp import serve_smtp
from policy.address import Address
from storage.directory import Directory
from storage.provision import provision
from storage.region import Ground
from tests.engines import DEPLOYMENT, IRELAND, settings_on
from tests.ingress.posts import MemoryPost

RECIPIENT = "aoife@example.ie"
LIMITS = Limits(connections_per_address=1_000, connections_per_minute=10_000_000, commands=100_000_000)


class Nothing:
    """An aiosmtpd handler that keeps nothing."""

    async def handle_DATA(self, *_: object) -> str:
        return "250 2.6.0 thrown away"


async def _until_told() -> None:
    await asyncio.to_thread(sys.stdin.read)


async def _stub() -> None:
    post = MemoryPost(keep=False)
    post.add(RECIPIENT, IRELAND)
    door = await serve_smtp(ListenerSettings(), Reception(post, "mx.example.ie", LIMITS))
    print(door.port, flush=True)
    await _until_told()
    await door.close()


async def _aiosmtpd() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Nothing(), hostname="mx.example.ie"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await _until_told()
    server.close()


async def _durable(state: Path) -> None:
    engine = await asyncio.to_thread(start_seaweedfs, Credentials.fresh(), state)
    try:
        settings = settings_on(engine.engine, IRELAND, state)
        await provision(settings, DEPLOYMENT)
        async with await Ground.open([settings], DEPLOYMENT) as ground:
            directory = Directory(ground, b"k" * 32, IRELAND.code, IRELAND.code)
            await directory.create(Address.parse(RECIPIENT), IRELAND.code)
            reception = Reception(RegionalPost(directory), "mx.example.ie", LIMITS)
            door = await serve_lmtp(ListenerSettings(), reception)
            print(door.port, flush=True)
            await _until_told()
            await door.close()
    finally:
        engine.stop()


def main(kind: str, *arguments: str) -> None:
    # Logging and memory as in production: JSON lines on standard error.
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        configure_logs(json=True)
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        look_less_often()
        _serve(kind, *arguments)


def _serve(kind: str, *arguments: str) -> None:
    match kind:
        case "stub":
            uvloop.run(_stub())
        case "aiosmtpd":
            asyncio.run(_aiosmtpd())
        case "durable":
            uvloop.run(_durable(Path(arguments[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
