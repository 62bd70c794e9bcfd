"""Signing in with an operator's token, and out."""

from __future__ import annotations

from aiohttp import web

from gateway.console.forms import CURRENT, read_form
from gateway.console.pages import ROOT, SESSIONS, cookie_name, drop_cookie, page, set_cookie
from gateway.console.session import MAX_TOKEN
from gateway.disclosure.authentication import Presented
from gateway.disclosure.desk import DESK, admitted
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import SESSION


async def get_front(request: web.Request) -> web.StreamResponse:
    """To the queue, or to the sign-in. Whether the session is any good, the queue finds out."""
    where = "disclosures" if request.cookies.get(cookie_name(request)) else "sign-in"
    return web.Response(status=303, headers={"Location": f"{ROOT}/{where}"})


async def get_sign_in(request: web.Request) -> web.StreamResponse:
    return page(request, "sign_in.html", title="Sign in", problem=None)


async def post_sign_in(request: web.Request) -> web.StreamResponse:
    """A token for a session. A wrong one is an attempt like any other, by the same rates."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        # No session secret can be asked for yet. The origin is: nobody is signed in as somebody else.
        token = (await read_form(request, signed_in=False)).get("token", "") if request.body_exists else ""
        if len(token) > MAX_TOKEN:
            raise Problem(Kind.INVALID_REQUEST, f"token: at most {MAX_TOKEN} characters")
        request[SESSION] = Presented(f"Bearer {token}" if token else None)
        await admitted(request, attempt)
    response = web.Response(status=303, headers={"Location": f"{ROOT}/disclosures"})
    set_cookie(request, response, await request.app[SESSIONS].begin(token))
    return response


async def post_sign_out(request: web.Request) -> web.StreamResponse:
    """The session is over at once; a cookie that somebody copied is worth nothing."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        await read_form(request)
    request.app[SESSIONS].end(request[CURRENT])
    response = web.Response(status=303, headers={"Location": f"{ROOT}/sign-in"})
    drop_cookie(request, response)
    return response
