"""What is open to anybody here too: the transparency report, and the law that decides."""

from __future__ import annotations

import base64

from aiohttp import web
from markupsafe import Markup

from gateway.chart import as_svg
from gateway.console.pages import page
from gateway.disclosure.desk import DESK
from gateway.disclosure.figures import FIGURES
from gateway.disclosure.transport import peer_of


async def get_transparency(request: web.Request) -> web.StreamResponse:
    """The chart and, for those who do not see it, the same figures as a table."""
    request.app[DESK].stranger_rate.take(peer_of(request))
    found = await request.app[FIGURES].figures(request, (None, None))
    tables = [
        (each, base64.b64encode(each.report.root).decode(), sorted(each.figures.cells.items()))
        for each in found
    ]
    # The chart escapes what it is given, and is made of nothing but figures and the log's own words.
    chart = Markup(as_svg(found))  # noqa: S704
    return page(request, "transparency.html", title="Transparency", chart=chart, tables=tables)


async def get_law(request: web.Request) -> web.StreamResponse:
    return page(request, "law.html", title="The law", lawbook=request.app[DESK].office.lawbook)
