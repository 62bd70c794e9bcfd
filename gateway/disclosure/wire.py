"""Where aiohttp answers below the application, as text that names its version or repeats what was sent.

A head that cannot be read is no request: there is no path, and nobody asked for anything. Nor is one that
expects what nobody here can meet. Either is answered with a problem like any other, and is no attempt.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, final

from aiohttp import HttpVersion10, web
from aiohttp.web_protocol import _ErrInfo

from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import HEADERS, problem_of

# RFC 9110 7.2, RFC 3986 3.2.2 and 3.2.3: a name or an address, and perhaps a port.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?\Z")

_Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@final
class _Connection(web.RequestHandler):
    """One connection. `handle_error` makes the answer to what the parser refuses."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """A body that breaks off in the midst of its chunks is told to whoever is reading it.

        aiohttp puts the fault behind the request that is being answered, as if it were the next one's, and
        leaves the reader waiting for what cannot come.
        """
        super().data_received(data)
        request = self._current_request
        if request is None or request.content.is_eof() or not self._messages:
            return
        if isinstance(self._messages[-1][0], _ErrInfo):
            request.content.set_exception(web.RequestPayloadError("the body's framing is broken"))
            request.content.feed_eof()  # nor is there a rest of it to be read away behind the answer

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs it; raises where octets have left already
        return _last_word(Problem(Kind.INTERNAL if status >= 500 else Kind.MALFORMED_REQUEST))


@final
class _Server(web.Server):
    """Makes connections of ours."""

    def __call__(self) -> _Connection:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _looking_first(handler: _Answering) -> _Answering:
    """What an application's middlewares never see, because aiohttp answers before it asks them."""

    async def handled(request: web.BaseRequest) -> web.StreamResponse:
        if request.version < HttpVersion10:  # the parser takes a line without a version for HTTP/0.9
            return _last_word(Problem(Kind.MALFORMED_REQUEST, "HTTP/1.1 is expected"))
        if not _HOST.match(request.headers.get("Host", "")):  # RFC 9112 3.2: MUST respond with 400
            return _last_word(Problem(Kind.MALFORMED_REQUEST, "Host: a name or an address, and a port"))
        try:
            return await handler(request)
        except web.HTTPException as error:
            # Middlewares turn whatever is raised into a problem; `Expect` is looked at before them.
            return _last_word(problem_of(error, "unknown"))

    return handled


def _last_word(problem: Problem) -> web.Response:
    """The answer, after which the connection ends: what else it may bring was never understood."""
    response = problem.response()
    response.headers.update(HEADERS | {"Server": "situs"})
    response.force_close()
    return response


@final
class Runner(web.AppRunner):
    """`web.AppRunner`, whose connections answer in problems from the first octet on."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            _looking_first(made.request_handler),
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )
