"""`GET /v1/transparency`: the figures of every region served here, to anybody.

Figures come out of a verified log, and verifying is work: it is done by one request at a time,
and what was computed stands for a minute. Each answer names the checkpoint that it was computed
from, so that whoever doubts it can compute it again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, final

import structlog
from aiohttp import web
from pydantic import Field

from gateway.chart import as_svg
from gateway.disclosure.desk import DESK
from gateway.disclosure.models import Asked, GivenMoment
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import peer_of, read_query
from gateway.transparency import NotVerified, RegionFigures, as_csv, as_json, region_figures
from storage.audit.source import BackendSource

FRESH: Final = 60.0  # seconds
_REMEMBERED: Final = 32
_Period = tuple[datetime | None, datetime | None]

_log: Final = structlog.get_logger("situs.disclosure")


class TransparencyQuery(Asked):
    """The query of the transparency report: when requests were decided, and in which form to tell."""

    since: Annotated[GivenMoment | None, Field(alias="from")] = None
    until: GivenMoment | None = None
    format: Literal["json", "csv", "svg"] = "json"


@final
class TransparencyFigures:
    """The figures of one gateway, and the route that tells them."""

    def __init__(self) -> None:
        self._computing: Final = asyncio.Lock()
        self._known: Final[OrderedDict[_Period, tuple[float, tuple[RegionFigures, ...]]]] = OrderedDict()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The report as JSON, CSV or SVG. Raises Problem: 422; 503 where a log does not verify."""
        query = read_query(request, TransparencyQuery)
        if query.since and query.until and query.since >= query.until:
            raise Problem(Kind.INVALID_REQUEST, "until: must be after from")
        # Each new period is a pass over the log: strangers get only so many.
        request.app[DESK].stranger_rate.take(peer_of(request))
        return _told(await self.figures(request, (query.since, query.until)), query.format)

    async def figures(self, request: web.Request, period: _Period) -> tuple[RegionFigures, ...]:
        """Each region's figures, of logs that verify. Raises Problem 503."""
        now = asyncio.get_running_loop().time
        async with self._computing:
            if (known := self._known.get(period)) is not None and now() - known[0] < FRESH:
                return known[1]
            found = await _compute(request, period)
            self._known[period] = (now(), found)
            self._known.move_to_end(period)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return found


FIGURES: Final = web.AppKey("figures", TransparencyFigures)


async def _compute(request: web.Request, period: _Period) -> tuple[RegionFigures, ...]:
    found = []
    for chamber in request.app[DESK].office.chambers.values():
        try:
            source = BackendSource(chamber.store.audit)
            found.append(await region_figures(source, chamber.log.key, chamber.region, *period))
        except NotVerified as error:
            _log.error("audit log does not verify", faults=[str(fault) for fault in error.report.faults])
            raise Problem(Kind.UNAVAILABLE, f"the log of {chamber.region.code} does not verify") from error
    return tuple(found)


def _told(found: Sequence[RegionFigures], form: str) -> web.Response:
    match form:
        case "csv":
            return web.Response(text=as_csv(found), content_type="text/csv")
        case "svg":
            return web.Response(text=as_svg(found), content_type="image/svg+xml")
        case _:
            return web.json_response(as_json(found))
