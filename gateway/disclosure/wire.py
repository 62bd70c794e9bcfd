"""Where what comes in is no HTTP: aiohttp answers that below the application, as text that names its version.

A head that cannot be read is no request: there is no path, and nobody asked for anything. It is answered
with a problem like any other, and is no attempt.
"""

from __future__ import annotations

import asyncio
from typing import final

from aiohttp import web

from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import HEADERS


@final
class _Connection(web.RequestHandler):
    """One connection. `handle_error` makes the answer to what the parser refuses."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs it; raises where octets have left already
        problem = Problem(Kind.INTERNAL if status >= 500 else Kind.MALFORMED_REQUEST)
        response = problem.response()
        response.headers.update(HEADERS | {"Server": "situs"})
        response.force_close()
        return response


@final
class _Server(web.Server):
    """Makes connections of ours."""

    def __call__(self) -> _Connection:
        return _Connection(self, loop=self._loop, **self._kwargs)


@final
class Runner(web.AppRunner):
    """`web.AppRunner`, whose connections answer in problems from the first octet on."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )
