"""What is open to anybody: the audit log's tiles, the law, the API's description, health.

The log is served byte for byte as it lies in the bucket (https://c2sp.org/tlog-tiles), so that
anybody can verify it with tools that are not ours.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from gateway.disclosure.desk import DESK
from gateway.disclosure.figures import FIGURES
from gateway.disclosure.office import Chamber
from gateway.disclosure.openapi import description
from gateway.disclosure.problems import Kind, Problem
from gateway.readiness import PROBE, Readiness
from gateway.shared_figures import PROMETHEUS_TEXT
from policy.geography import GeographyError, RegionCode
from storage.audit.backend import tile_key
from storage.audit.tiles import TileError, TileName
from storage.errors import NotFound, StorageError

# tlog-tiles: "Tiles ... are immutable"; the checkpoint changes with every batch.
_FOREVER: Final = "public, max-age=31536000, immutable"
_BRIEFLY: Final = "no-cache"
READINESS: Final = web.AppKey("readiness", Readiness)


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get("/v1/audit/{region}/checkpoint", _get_checkpoint)
    router.add_get("/v1/audit/{region}/{tile:tile/.+}", _get_tile)
    router.add_get("/v1/law", _get_law)
    router.add_get("/v1/transparency", _get_transparency)
    router.add_get("/openapi.json", _get_description)
    router.add_get("/metrics", _get_metrics)
    router.add_get("/healthz/live", _get_live)
    router.add_get("/healthz/ready", _get_ready)


def _chamber(request: web.Request) -> Chamber:
    try:
        return request.app[DESK].office.chambers[RegionCode.parse(request.match_info["region"])]
    except (GeographyError, KeyError):
        raise Problem(Kind.NOT_FOUND, "that region is not served here") from None


async def _get_checkpoint(request: web.Request) -> web.StreamResponse:
    try:
        note = await _chamber(request).log.checkpoint()
    except NotFound:
        raise Problem(Kind.NOT_FOUND, "the log is empty") from None
    return web.Response(
        body=note, content_type="text/plain", charset="utf-8", headers={"Cache-Control": _BRIEFLY}
    )


async def _get_tile(request: web.Request) -> web.StreamResponse:
    chamber = _chamber(request)
    try:
        name = TileName.parse(request.match_info["tile"])
        blob = await chamber.store.audit.get(tile_key(name))
    except (TileError, NotFound):
        raise Problem(Kind.NOT_FOUND, "the log has no such tile") from None
    return web.Response(
        body=blob.body, content_type="application/octet-stream", headers={"Cache-Control": _FOREVER}
    )


async def _get_description(request: web.Request) -> web.StreamResponse:
    return web.json_response(description(tuple(sorted(request.app[DESK].office.chambers))))


async def _get_transparency(request: web.Request) -> web.StreamResponse:
    return await request.app[FIGURES].get(request)


async def _get_law(request: web.Request) -> web.StreamResponse:
    """What the gateway decides by, for whoever wants to know which instruments it has heard of."""
    lawbook = request.app[DESK].office.lawbook
    jurisdictions = [
        {
            "code": law.code and str(law.code),
            "name": law.name,
            "instruments": [
                {"id": each.id, "name": each.name, "statute": each.statute, "source": each.citation.source}
                for each in law.instruments
            ],
        }
        for law in lawbook.laws
    ]
    return web.json_response({"lawbook": lawbook.digest, "jurisdictions": jurisdictions})


async def _get_metrics(request: web.Request) -> web.StreamResponse:
    return web.Response(body=request.app[DESK].metrics.text(), headers={"Content-Type": PROMETHEUS_TEXT})


async def _get_live(_: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "live"})


async def _get_ready(request: web.Request) -> web.StreamResponse:
    """Whether every region served here can be read and its log be written, all asked at once. Raises 503."""
    if request.app[READINESS].stopping:
        raise Problem(Kind.UNAVAILABLE, "the service is stopping")
    chambers = request.app[DESK].office.chambers.values()
    faults = await asyncio.gather(*map(_unready, chambers))
    if down := [fault for fault in faults if fault is not None]:
        raise Problem(Kind.UNAVAILABLE, "; ".join(down))
    return web.json_response({"status": "ready"})


async def _unready(chamber: Chamber) -> str | None:
    """What does not answer in a region; None where all does. A probe is told soon."""
    what = "its mail bucket"
    try:
        async with asyncio.timeout(PROBE):
            await chamber.store.mail.get("situs/region.json")
            what = "its audit log"
            await chamber.log.size()
    except (StorageError, TimeoutError):
        return f"{chamber.store.region.code}: {what} does not answer"
    return None
