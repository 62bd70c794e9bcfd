"""Whether a process is ready, for whoever sends it work; and a door where only that is told.

The disclosure gateway tells it beside its API. A process without a gateway (`--only smtp`) has `[metrics]`:
figures and health alone, on an address of its own, best inside the site.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, final

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.shared_figures import PROMETHEUS_TEXT, prometheus_text
from storage.errors import StorageError

PROBE: Final = 4.0  # seconds that whoever asks is kept waiting; balancers give a probe some five


@final
class Readiness:
    """`stopping`: new work belongs elsewhere, though what is in flight is still being finished."""

    def __init__(self) -> None:
        self.stopping = False


def watching_app(
    registry: CollectorRegistry, readiness: Readiness, ask: Callable[[], Awaitable[object]]
) -> web.Application:
    """`/metrics`, `/healthz/live` and `/healthz/ready`. `ask` raises StorageError where there is no work."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=prometheus_text(registry), headers={"Content-Type": PROMETHEUS_TEXT})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(_: web.Request) -> web.Response:
        if readiness.stopping:
            return web.json_response({"status": "stopping"}, status=503)
        try:
            async with asyncio.timeout(PROBE):
                await ask()
        except (StorageError, TimeoutError) as error:
            return web.json_response({"status": "unavailable", "reason": type(error).__name__}, status=503)
        return web.json_response({"status": "ready"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz/live", live)
    app.router.add_get("/healthz/ready", ready)
    return app
