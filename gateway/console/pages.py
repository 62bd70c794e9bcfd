"""Pages: how they are made, what headers they bear, and how a problem becomes one.

default-src 'none'   whatever is not named below does not exist for a page
script-src 'self'    htmx, from this package; nothing inline, nothing evaluated
form-action 'self'   a form that an attacker got into a page could send nothing anywhere
frame-ancestors      no page of ours lies under somebody else's button
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp_jinja2
from aiohttp import web
from jinja2 import PackageLoader, StrictUndefined

from gateway.console import words
from gateway.console.forms import CURRENT
from gateway.console.session import LIFETIME, Sessions
from gateway.disclosure.authentication import Presented
from gateway.disclosure.desk import DESK
from gateway.disclosure.models import Decision
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import SESSION, presented, problem_of, route_of

# The key that the connection's client certificate has proven, where there is one.
HELD: Final = web.RequestKey("client key", str)
SESSIONS: Final = web.AppKey("console sessions", Sessions)
ROOT: Final = "/console"
STATIC: Final = f"{ROOT}/static/"

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not the API's no-referrer: under it, browsers write `Origin: null` into our own forms' requests.
    "Referrer-Policy": "same-origin",
}


def prepare(app: web.Application) -> None:
    """Templates and sessions. The seat's region keeps the sessions' key."""
    office = app[DESK].office
    environment = aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        moment=words.moment,
        exactly=words.exactly,
        machine=words.machine,
        spaced=words.spaced,
        octets=words.octets,
        timed=words.timed,
        sentence=words.sentence,
    )
    app[SESSIONS] = Sessions(office.chambers[office.seat].vault, office.clock)


def page(request: web.Request, template: str, *, status: int = 200, **shown: object) -> web.Response:
    """The page. Whatever is shown is escaped, wherever it comes from."""
    session = request.get(CURRENT)
    context = {
        "path": request.path,
        "signed_in": session is not None,
        "csrf": session.csrf if session else "",
        "who": session.name if session else "",
        "roles": sorted(session.roles) if session else [],
        "certificate": request.get(HELD) is not None,
    }
    return aiohttp_jinja2.render_template(template, request, context | shown, status=status)


@web.middleware
async def as_pages(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Under `/console`: the session in place of the Authorization header, and problems as pages."""
    if request.path != ROOT and not request.path.startswith(f"{ROOT}/"):
        return await handler(request)
    try:
        if not request.path.startswith(STATIC):
            await _recognise(request)
        response = await handler(request)
    except Exception as error:
        # `problem_of` logs what is a fault of ours; a problem that was an attempt stands in the log already.
        response = _problem_page(request, problem_of(error, route_of(request)))
    if not response.prepared:  # a part of a package is on its way already, under the API's own headers
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
    return response


async def _recognise(request: web.Request) -> None:
    # Neither an Authorization header nor a certificate counts by itself here: only what no other site
    # can make a browser send.
    held = presented(request, request.app[DESK].office.clock()).spki
    if held is not None:
        request[HELD] = held
    request[SESSION] = Presented(None)
    cookie = request.cookies.get(cookie_name(request))
    session = await request.app[SESSIONS].open(cookie) if cookie else None
    if session is None or (session.spki is not None and session.spki != held):
        return
    request[CURRENT] = session
    request[SESSION] = Presented(f"Bearer {session.token}" if session.token else None, session.spki)


def cookie_name(request: web.Request) -> str:
    """`__Host-`: browsers take such a cookie from this very host and over TLS alone (RFC 6265bis 4.1.3.2)."""
    return "__Host-situs-console" if request.secure else "situs-console"


def set_cookie(request: web.Request, response: web.Response, value: str) -> None:
    """HttpOnly: no script reads it. SameSite=Strict: no other site makes a browser send it."""
    response.set_cookie(
        cookie_name(request), value, max_age=int(LIFETIME.total_seconds()), path="/",
        secure=request.secure, httponly=True, samesite="Strict",
    )  # fmt: skip


def drop_cookie(request: web.Request, response: web.Response) -> None:
    response.del_cookie(
        cookie_name(request), path="/", secure=request.secure, httponly=True, samesite="Strict"
    )


def _problem_page(request: web.Request, problem: Problem) -> web.Response:
    stranger = problem.kind is Kind.UNAUTHENTICATED
    if stranger:
        request.pop(CURRENT, None)
    response = page(
        request,
        "sign_in.html" if stranger else "problem.html",
        status=problem.kind.status,
        title="Sign in" if stranger else problem.kind.title,
        problem=problem,
        faults=problem.members.get("faults", []),
        decision=_decision(problem),
    )
    response.headers.update(
        {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    )
    if stranger:
        drop_cookie(request, response)
    return response


def _decision(problem: Problem) -> Decision | None:
    """The decision that a refusal carries, with its times as times."""
    found = problem.members.get("decision")
    return None if found is None else Decision.model_validate(found)
