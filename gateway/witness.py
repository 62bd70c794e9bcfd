"""The witness's door: one HTTP call, `POST /add-checkpoint` (https://c2sp.org/tlog-witness)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from storage.audit.note import NoteError
from storage.audit.witness import OutOfDate, Witness, WitnessRefusal

_BODY_LIMIT: Final = 65_536  # octets: 63 hashes and a checkpoint with many signatures are 20 KB

_log: Final = structlog.get_logger("situs.witness")


def make_witness_app(witness: Witness) -> web.Application:
    """The witness as an application; `GET /` says who it is."""

    async def add_checkpoint(request: web.Request) -> web.Response:
        try:
            signature = await witness.add_checkpoint(await request.read())
        except OutOfDate as error:
            # tlog-witness names this type and no parameter of it: a client may compare it to the letter.
            kind = {"Content-Type": "text/x.tlog.size"}
            return web.Response(status=409, body=f"{error.size}\n".encode(), headers=kind)
        except WitnessRefusal as error:
            _log.info("not cosigned", status=error.status, reason=error.reason)
            return web.Response(status=error.status, text=f"{error.reason}\n")
        except (NoteError, OSError) as error:
            # Our own memory cannot be read or written: to sign now could be to sign a fork.
            _log.error("witness memory failed", reason=str(error))
            return web.Response(status=500, text="the witness cannot remember\n")
        return web.Response(text=signature.line())

    async def who(_: web.Request) -> web.Response:
        return web.Response(text=f"{witness.key}\n")

    app = web.Application(client_max_size=_BODY_LIMIT)
    app.router.add_post("/add-checkpoint", add_checkpoint)
    app.router.add_get("/", who)
    return app


@asynccontextmanager
async def serving_witness(witness: Witness, host: str, port: int) -> AsyncIterator[str]:
    """Serve until the block is left -> the URL that it listens on. Raises OSError."""
    runner = web.AppRunner(make_witness_app(witness), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        yield f"http://{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
