"""Signing in, with an operator's token or the certificate that the browser shows, and out."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from gateway.console.forms import CURRENT, read_form
from gateway.console.pages import HELD, ROOT, SESSIONS, cookie_name, drop_cookie, page, set_cookie
from gateway.console.session import MAX_TOKEN
from gateway.disclosure.authentication import Presented
from gateway.disclosure.desk import DESK, admitted
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import SESSION
from policy.clearance import Role
from storage.errors import StorageError

_log: Final = structlog.get_logger("situs.gateway")


async def get_front(request: web.Request) -> web.StreamResponse:
    """To the queue, or to the sign-in. Whether the session is any good, the queue finds out."""
    where = "disclosures" if request.cookies.get(cookie_name(request)) else "sign-in"
    return web.Response(status=303, headers={"Location": f"{ROOT}/{where}"})


async def get_sign_in(request: web.Request) -> web.StreamResponse:
    return page(request, "sign_in.html", title="Sign in", problem=None)


async def post_sign_in(request: web.Request) -> web.StreamResponse:
    """A token, or the key of the connection's certificate, for a session.

    A wrong one is an attempt like any other, by the same rates.
    """
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        # No session secret can be asked for yet. The origin is: nobody is signed in as somebody else.
        form = await read_form(request, signed_in=False) if request.body_exists else {}
        token = form.get("token")
        if token is not None and len(token) > MAX_TOKEN:
            raise Problem(Kind.INVALID_REQUEST, f"token: at most {MAX_TOKEN} characters")
        # A certificate signs in whoever asks for it: not whoever leaves the token out.
        spki = request.get(HELD) if token is None and "certificate" in form else None
        request[SESSION] = Presented(f"Bearer {token}" if token else None, spki)
        await admitted(request, attempt)
    response = web.Response(status=303, headers={"Location": f"{ROOT}/disclosures"})
    roles = {str(role) for role in Role if attempt.asker.regions(role)}
    cookie = await request.app[SESSIONS].begin(token, spki, attempt.asker.name, roles)
    set_cookie(request, response, cookie)
    return response


async def post_sign_out(request: web.Request) -> web.StreamResponse:
    """The session is over at once, at every worker; a cookie that somebody copied is worth nothing."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        await read_form(request)
        await request.app[SESSIONS].end(request[CURRENT])
    try:
        await request.app[SESSIONS].forget(desk.holds(desk.office.seat).versions)
    except StorageError as error:  # the next one to sign out tries again
        _log.warning("sessions that are over not removed", reason=str(error))
    response = web.Response(status=303, headers={"Location": f"{ROOT}/sign-in"})
    drop_cookie(request, response)
    return response
