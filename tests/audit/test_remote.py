"""Answers that come in pieces, over HTTP as everything does that is longer than a packet."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from storage.audit.cosigning import Cosigning, WitnessAddress
from storage.audit.log import AuditLog
from storage.audit.note import KeyKind, Signer
from storage.audit.remote import UrlSource
from storage.audit.source import BackendSource
from storage.audit.verify import verify
from storage.errors import NotFound, Unavailable
from tests.audit.logs import REGION, SIGNER, entry
from tests.audit.suspicious import SuspiciousBucket

WITNESS = Signer("witness.example/court", b"\x09" * 32, KeyKind.COSIGNATURE)
# More than a client's buffer: no server brings it over in one piece.
MANY = b"tile" * (1 << 19)


@pytest.fixture
async def server() -> AsyncIterator[BaseTestServer]:
    """`/long` in as many pieces as it takes, `/endless` until nobody listens, `/gone`, `/broken`."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(MANY)

    async def long(_: web.Request) -> web.Response:
        return web.Response(body=MANY)

    async def gone(_: web.Request) -> web.Response:
        raise web.HTTPGone

    async def broken(_: web.Request) -> web.Response:
        raise web.HTTPBadGateway

    app = web.Application()
    for each in (long, endless, gone, broken):
        app.router.add_get(f"/log/{each.__name__}", each)
    async with TestServer(app, host="127.0.0.1") as started:
        yield started


async def test_an_object_of_many_packets_is_read_to_its_end(server: BaseTestServer) -> None:
    async with UrlSource.open(str(server.make_url("/log/"))) as source:
        assert await source.read("long") == MANY


async def test_what_is_not_the_object_is_said_apart_from_what_is_not_there(server: BaseTestServer) -> None:
    async with UrlSource.open(str(server.make_url("/log"))) as source:
        with pytest.raises(Unavailable, match="more than"):
            await source.read("endless")
        with pytest.raises(Unavailable, match="502"):
            await source.read("broken")
        for path in ("gone", "never-was"):
            with pytest.raises(NotFound):
                await source.read(path)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        pytest.param(409, "text/x.tlog.size", "9" * 5000, id="a-size-that-no-machine-counts-to"),
        pytest.param(409, "text/x.tlog.size", "\N{ARABIC-INDIC DIGIT ONE}", id="digits-of-another-script"),
        pytest.param(409, "text/x.tlog.size", "-1", id="less-than-nothing"),
        pytest.param(409, "text/plain", "0", id="a-size-that-does-not-say-so"),
        pytest.param(200, "text/plain", "x" * (1 << 20), id="a-mebibyte"),
        pytest.param(200, "text/plain", "", id="nothing"),
        pytest.param(
            200, "text/plain", f"\N{EM DASH} {WITNESS.name} {'A' * 100}=\n", id="a-line-that-is-no-signature"
        ),
    ],
)
async def test_a_witness_that_answers_nonsense_costs_its_cosignature_and_nothing_else(
    status: int, kind: str, body: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type=kind)

    app = web.Application()
    app.router.add_post("/add-checkpoint", answer)
    bucket = SuspiciousBucket()
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as http:
        cosigning = Cosigning(bucket, [WitnessAddress(str(server.make_url("/")), WITNESS.key)], http)
        async with await AuditLog.open(bucket, REGION, SIGNER, deadline=5, cosign=cosigning) as log:
            await log.append(entry(1))
            note = await log.published(1)
    assert WITNESS.name not in note.decode()
    assert (await verify(BackendSource(bucket), SIGNER.key)).faults == []
