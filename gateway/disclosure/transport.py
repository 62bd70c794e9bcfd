"""HTTP as it should be: bodies bounded in size and time, every answer a problem or what was asked for,
and the same few headers on each.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final, TypeVar, final

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.disclosure.authentication import Presented
from gateway.disclosure.metrics import METRICS
from gateway.disclosure.problems import Kind, Problem, faults
from gateway.disclosure.tls import held_key
from gateway.ingress.admission import parse_peer
from policy.strict_json import JsonFault, parse
from storage.errors import StorageError

_log: Final = structlog.get_logger("situs.gateway")
_Model = TypeVar("_Model", bound=BaseModel)
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")
_JSON: Final = re.compile(r"application/(json|[a-z0-9.+-]+\+json)\Z")

# What a console session presents. Set before the handler runs, and under the console's paths alone.
SESSION: Final = web.RequestKey("session", Presented)

HEADERS: Final = {
    "Cache-Control": "no-store",
    # Answers are data, never pages: nothing of them may run, be framed or be sniffed.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def read_body(request: web.Request, limit: int, within: timedelta) -> bytes:
    """The whole body. Raises Problem: 413, 408, 415 for an encoding, 400 for broken framing."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(Kind.MEDIA_TYPE, "no content coding is accepted: a small body may hold a large one")
    # RFC 9112 6.1. aiohttp takes any coding before the last, and does not decode it.
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise Problem(Kind.MALFORMED_REQUEST, "Transfer-Encoding: chunked alone is understood")
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(within.total_seconds()):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Problem(Kind.TIMEOUT, headers={"Connection": "close"}) from None
    except (web.RequestPayloadError, ConnectionError, ValueError) as error:
        detail = "the body's framing is broken"
        raise Problem(Kind.MALFORMED_REQUEST, detail, headers={"Connection": "close"}) from error
    return bytes(body)


async def read_json(request: web.Request, limit: int, within: timedelta) -> bytes:
    """A JSON body's octets, unread. Raises as `read_body` does, and 415 for another media type."""
    if not _JSON.match(request.content_type):
        raise Problem(Kind.MEDIA_TYPE, "application/json is expected")
    return await read_body(request, limit, within)


async def read_optional(request: web.Request, model: type[_Model], limit: int, within: timedelta) -> _Model:
    """A JSON body that may be left out. Raises as `read_model` does."""
    if not request.body_exists:
        return model()
    return await read_model(request, model, limit, within)


async def read_model(request: web.Request, model: type[_Model], limit: int, within: timedelta) -> _Model:
    """A JSON body, by its model. Raises as `read_json` does, and 400 or 422 for what is in it."""
    body = await read_json(request, limit, within)
    try:
        return model.model_validate(parse(body))
    except JsonFault as fault:
        raise Problem(Kind.MALFORMED_REQUEST, str(fault)) from None
    except ValidationError as error:
        raise Problem(Kind.INVALID_REQUEST, **faults(error)) from None


def read_query(request: web.Request, model: type[_Model]) -> _Model:
    """The query, by its model. Raises 422 for what is unknown, repeated or out of bounds."""
    values: dict[str, Any] = {}
    for name, value in request.query.items():
        if name in values:
            raise Problem(Kind.INVALID_REQUEST, f"{name[:40]}: this parameter stands twice")
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Problem(Kind.INVALID_REQUEST, **faults(error)) from None


def idempotency_key(request: web.Request) -> str | None:
    """draft-ietf-httpapi-idempotency-key-header; any 1 to 255 visible ASCII characters."""
    values = request.headers.getall("Idempotency-Key", [])
    if not values:
        return None
    if len(values) > 1 or not _IDEMPOTENCY_KEY.match(values[0]):
        raise Problem(Kind.MALFORMED_REQUEST, "Idempotency-Key: 1 to 255 visible ASCII characters, once")
    return values[0]


def presented(request: web.Request, now: datetime) -> Presented:
    """The one Authorization header, and the key of the TLS client certificate where there is one.

    Of two headers, a proxy and we might believe different ones: none counts. A certificate counts only
    where this process has done the handshake: a header that a proxy wrote, a client could have written.
    And it counts in its own time alone, however long the connection lasts.
    In the console the session stands for both, and nothing else does.
    """
    if SESSION in request:
        return request[SESSION]
    values = request.headers.getall("Authorization", [])
    handshake = request.transport.get_extra_info("ssl_object") if request.transport else None
    der = handshake.getpeercert(binary_form=True) if handshake is not None else None
    return Presented(
        None if not values else values[0] if len(values) == 1 else "",
        held_key(der, now) if der else None,
    )


def peer_of(request: web.Request) -> str:
    """Whose rate a stranger's request is held to: all IPv6 addresses of one customer's are one (RFC 6177)."""
    try:
        peer = parse_peer(request.remote or "")
    except OSError:
        return "unknown"
    return str(IPv6Network((peer, 64), strict=False)) if isinstance(peer, IPv6Address) else str(peer)


def json_response(
    model: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        body=model.model_dump_json().encode(),
        content_type="application/json",
        headers=headers or {},
    )


def conditional(request: web.Request, body: bytes, tag: str) -> web.Response:
    """A JSON document with its entity tag; RFC 9110 13.1.2: 304 where the caller has it already."""
    known = request.if_none_match
    if known and any(each.value in (tag, "*") for each in known):
        return web.Response(status=304, headers={"ETag": f'"{tag}"'})
    return web.Response(body=body, content_type="application/json", headers={"ETag": f'"{tag}"'})


@web.middleware
async def answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Whatever a handler raises becomes a problem here, and nowhere else."""
    begun = time.perf_counter()
    response = await _answered(request, handler)
    request.app[METRICS].answered(
        request.method, route_of(request), response.status, time.perf_counter() - begun
    )
    return response


async def _answered(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        return problem_of(error, route_of(request)).response()


def problem_of(error: Exception, route: str) -> Problem:
    """What a handler raised, as an answer; what is our own trouble goes to our own log as well."""
    match error:
        case Problem():
            return error
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(error.allowed_methods))  # RFC 9110 15.5.6
            return Problem(Kind.METHOD_NOT_ALLOWED, headers={"Allow": allow})
        case web.HTTPNotFound():
            return Problem(Kind.NOT_FOUND)
        case web.HTTPExpectationFailed():  # aiohttp's own words repeat what was sent
            return Problem(Kind.EXPECTATION)
        case web.HTTPRequestEntityTooLarge():
            return Problem(Kind.TOO_LARGE)
        case web.HTTPException():
            _log.warning("unexpected HTTP error", status=error.status)
            return Problem(Kind.MALFORMED_REQUEST, error.reason)
        case StorageError():
            _log.error("storage failed", route=route, error=type(error).__name__, reason=str(error))
            return Problem(Kind.UNAVAILABLE, headers={"Retry-After": "5"})
        case _:
            # The last line: a server never dies of one request, and never prints a traceback to a peer.
            _log.error("fault while answering", route=route, exc_info=error)
            return Problem(Kind.INTERNAL)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """On every answer, streamed ones too; a handler's own Cache-Control stands."""
    response.headers["Server"] = "situs"  # the default tells strangers the versions of Python and aiohttp
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def route_of(request: web.Request) -> str:
    """The route's pattern: a path may hold what no log line should."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _too_large(limit: int) -> Problem:
    # What is left of the body is not read: the connection ends with the answer.
    return Problem(Kind.TOO_LARGE, f"at most {limit} octets are taken", headers={"Connection": "close"})


@final
class RateLimit:
    """A token bucket for each of the many: `a_minute` requests, and as many at once."""

    _REMEMBERED: Final = 10_000

    def __init__(self, a_minute: int, monotonic: Callable[[], float]) -> None:
        self._a_minute: Final = a_minute
        self._monotonic: Final = monotonic
        self._levels: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def take(self, who: str) -> None:
        """One request. Raises 429 where `who` has nothing left, and takes nothing."""
        if self._level(who) < 1:
            raise Problem(Kind.RATE_LIMITED, headers={"Retry-After": str(max(1, 60 // self._a_minute))})
        self._set(who, self._level(who) - 1)

    def give_back(self, who: str) -> None:
        """What was taken for a request that does not count."""
        self._set(who, self._level(who) + 1)

    def _set(self, who: str, level: float) -> None:
        self._levels[who] = (level, self._monotonic())
        self._levels.move_to_end(who)
        while len(self._levels) > self._REMEMBERED:
            self._levels.popitem(last=False)

    def _level(self, who: str) -> float:
        level, at = self._levels.get(who, (float(self._a_minute), self._monotonic()))
        return min(self._a_minute, level + (self._monotonic() - at) * self._a_minute / 60)
