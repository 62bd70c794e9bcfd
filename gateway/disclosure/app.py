"""The HTTP application: which path leads where. What happens there is told in the modules it names.

POST /v1/disclosures             gateway.disclosure.intake
POST /v1/disclosures/{id}:...    gateway.disclosure.approval, then .release
GET  /v1/disclosures...          gateway.disclosure.reading
GET  /v1/orders...               gateway.disclosure.orders
GET  /v1/audit/... /v1/law ...   gateway.disclosure.public
     /console/...                gateway.console.routes
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.console.pages import as_pages
from gateway.console.routes import add_console
from gateway.disclosure import auditing, holding, orders, public, reading
from gateway.disclosure.approval import approve_disclosure, hear_answer, reject_disclosure
from gateway.disclosure.confirming import hear_confirmation
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.figures import FIGURES, TransparencyFigures
from gateway.disclosure.housekeeping import HOUSE, Housekeeping
from gateway.disclosure.intake import receive
from gateway.disclosure.metrics import METRICS
from gateway.disclosure.models import (
    AnswerRequest,
    ApprovalRequest,
    ConfirmationRequest,
    RejectionRequest,
    ValidationRequest,
)
from gateway.disclosure.office import Office
from gateway.disclosure.presentation import present
from gateway.disclosure.release import RELEASES, Releases
from gateway.disclosure.transport import (
    add_headers,
    answer,
    idempotency_key,
    json_response,
    read_json,
    read_model,
    read_optional,
)
from gateway.disclosure.validating import hear_validation
from gateway.disclosure.wire import Runner
from gateway.readiness import Readiness

__all__ = ["HOUSE", "make_app", "make_runner"]

HEAD_TIME: Final = 30.0  # seconds

# One path segment holds the id and, after a colon, the verb (https://google.aip.dev/136).
_ONE: Final = "/v1/disclosures/{id:[^/:]+}"
_HOLD: Final = "/v1/holds/{id:[^/:]+}"


def make_app(
    office: Office, registry: CollectorRegistry | None = None, readiness: Readiness | None = None
) -> web.Application:
    """The gateway as an aiohttp application; its background work starts and stops with it.

    `registry` is what `/metrics` shows besides the gateway's own figures: the mail doors', say. `readiness`
    is of the whole process.
    """
    # Bodies are bounded where they are read (`transport.read_body`), with a problem for an answer.
    app = web.Application(middlewares=[answer, as_pages], client_max_size=office.terms.body_limit + 1)
    app[DESK] = Desk(office, time.monotonic, registry)
    app[METRICS] = app[DESK].metrics
    app[public.READINESS] = readiness or Readiness()
    app[FIGURES] = TransparencyFigures()
    app[RELEASES] = Releases(app[DESK])
    app[HOUSE] = Housekeeping(app[DESK], app[RELEASES], app[DESK].metrics)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_background)
    app.router.add_post("/v1/disclosures", _post_disclosure)
    app.router.add_post(_ONE + ":approve", _post_approval)
    app.router.add_post(_ONE + ":reject", _post_rejection)
    app.router.add_post(_ONE + ":answer", _post_answer)
    app.router.add_post(_ONE + ":validate", _post_validation)
    app.router.add_post(_ONE + ":confirm", _post_confirmation)
    app.router.add_get("/v1/disclosures", reading.list_disclosures)
    app.router.add_get(_ONE, reading.get_disclosure)
    app.router.add_get(_ONE + "/package", reading.get_package)
    app.router.add_get(_ONE + "/package/{part}", reading.get_part)
    app.router.add_get("/v1/orders", orders.list_orders)
    app.router.add_get("/v1/orders/{order}", orders.get_order)
    app.router.add_post("/v1/holds", holding.post_hold)
    app.router.add_get("/v1/holds", holding.list_holds)
    app.router.add_get(_HOLD, holding.get_hold)
    app.router.add_post(_HOLD + ":release", holding.post_release)
    app.router.add_post(_HOLD + ":reject", holding.post_rejection)
    app.router.add_post(_HOLD + ":prolong", holding.post_prolongation)
    app.router.add_get("/v1/audit/{region}/entries", auditing.list_entries)
    app.router.add_get("/v1/audit/{region}/entries/{index}/proof", auditing.get_proof)
    public.add_routes(app.router)
    add_console(app)
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Runs the application: a connection without a whole request head is closed after `HEAD_TIME`."""
    # aiohttp's own keep-alive timer is the one that also runs while a head is still coming in. A coded body
    # is refused where it would be read: undone below, it would be a fault of the connection, or a large one.
    return Runner(
        app, access_log=None, handle_signals=False, keepalive_timeout=HEAD_TIME, auto_decompress=False
    )


async def _post_disclosure(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        key = idempotency_key(request)
        body = await read_json(request, desk.office.terms.body_limit, desk.office.terms.body_time)
        filed = await receive(attempt, desk, body, key)
    resource = present(filed.disclosure)
    return json_response(resource, status=201, headers={"Location": resource.links.self})


async def _post_approval(request: web.Request) -> web.StreamResponse:
    desk, releases = request.app[DESK], request.app[RELEASES]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, ApprovalRequest, terms.body_limit, terms.body_time)
        approved = await approve_disclosure(attempt, desk, request.match_info["id"], body.decision)
    filed = await releases.follow(*approved, terms.approval_wait)
    return json_response(present(filed.disclosure))


async def _post_rejection(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, RejectionRequest, terms.body_limit, terms.body_time)
        filed = await reject_disclosure(attempt, desk, request.match_info["id"], body.reason)
    return json_response(present(filed.disclosure))


async def _post_answer(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, AnswerRequest, terms.body_limit, terms.body_time)
        filed = await hear_answer(attempt, desk, request.match_info["id"], body)
    request.app[HOUSE].hurry()
    return json_response(present(filed.disclosure))


async def _post_validation(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, ValidationRequest, terms.body_limit, terms.body_time)
        filed = await hear_validation(attempt, desk, request.match_info["id"], body)
    return json_response(present(filed.disclosure))


async def _post_confirmation(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, ConfirmationRequest, terms.body_limit, terms.body_time)
        filed = await hear_confirmation(attempt, desk, request.match_info["id"], body)
    return json_response(present(filed.disclosure))


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Owns what runs beside the requests, and leaves nothing behind."""
    task = asyncio.create_task(app[HOUSE].run(), name="housekeeping")
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await app[RELEASES].close()
    app[DESK].close()
