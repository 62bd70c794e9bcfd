"""The HTTP application: which path leads where. What happens there is told in the modules it names.

POST /v1/disclosures             gateway.disclosure.intake
POST /v1/disclosures/{id}:...    gateway.disclosure.approval, then .release
GET  /v1/disclosures...          gateway.disclosure.reading
GET  /v1/audit/... /v1/law ...   gateway.disclosure.public
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from gateway.disclosure import public, reading
from gateway.disclosure.approval import approve_disclosure, reject_disclosure
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.intake import receive
from gateway.disclosure.models import ApprovalRequest, RejectionRequest
from gateway.disclosure.office import Office
from gateway.disclosure.presentation import present
from gateway.disclosure.release import Releases
from gateway.disclosure.transport import (
    add_headers,
    answer,
    idempotency_key,
    json_response,
    read_json,
    read_optional,
)
from storage.errors import StorageError

_log: Final = structlog.get_logger("situs.gateway")
RELEASES: Final = web.AppKey("releases", Releases)
_RESUME_EVERY: Final = 30.0  # seconds

# One path segment holds the id and, after a colon, the verb (https://google.aip.dev/136).
_ONE: Final = "/v1/disclosures/{id:[^/:]+}"


def make_app(office: Office) -> web.Application:
    """The gateway as an aiohttp application; its background work starts and stops with it."""
    # Bodies are bounded where they are read (`transport.read_body`), with a problem for an answer.
    app = web.Application(middlewares=[answer], client_max_size=office.terms.body_limit + 1)
    app[DESK] = Desk(office, time.monotonic)
    app[RELEASES] = Releases(app[DESK])
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_background)
    app.router.add_post("/v1/disclosures", _post_disclosure)
    app.router.add_post(_ONE + ":approve", _post_approval)
    app.router.add_post(_ONE + ":reject", _post_rejection)
    app.router.add_get("/v1/disclosures", reading.list_disclosures)
    app.router.add_get(_ONE, reading.get_disclosure)
    app.router.add_get(_ONE + "/package", reading.get_package)
    app.router.add_get(_ONE + "/package/{part}", reading.get_part)
    public.add_routes(app.router)
    return app


async def _post_disclosure(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt = Attempt(desk.office)
    async with attempt.recorded():
        await admitted(request, attempt)
        key = idempotency_key(request)
        body = await read_json(request, desk.office.terms.body_limit, desk.office.terms.body_time)
        filed = await receive(attempt, desk.dockets, body, key)
    resource = present(filed.disclosure)
    return json_response(resource, status=201, headers={"Location": resource.links.self})


async def _post_approval(request: web.Request) -> web.StreamResponse:
    desk, releases = request.app[DESK], request.app[RELEASES]
    attempt, terms = Attempt(desk.office), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, ApprovalRequest, terms.body_limit, terms.body_time)
        chamber, waiting, ready = await approve_disclosure(
            attempt, desk, request.match_info["id"], body.decision
        )
    task = releases.start(chamber, waiting, ready)
    filed = await releases.result(task, waiting, terms.approval_wait)
    return json_response(present(filed.disclosure))


async def _post_rejection(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt, terms = Attempt(desk.office), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, RejectionRequest, terms.body_limit, terms.body_time)
        filed = await reject_disclosure(attempt, desk, request.match_info["id"], body.reason)
    return json_response(present(filed.disclosure))


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Owns what runs beside the requests, and leaves nothing behind."""
    task = asyncio.create_task(_resume(app[RELEASES]), name="resume releases")
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await app[RELEASES].close()


async def _resume(releases: Releases) -> None:
    while True:
        try:
            await releases.resume()
        except StorageError as error:
            _log.warning("cannot look for unfinished releases", error=type(error).__name__, reason=str(error))
        await asyncio.sleep(_RESUME_EVERY)
