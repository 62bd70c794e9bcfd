"""HTTP as it should be: bounds, formats and headers, whatever is sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from gateway.disclosure.app import make_runner
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.terms import Terms
from gateway.disclosure.transport import RateLimit
from policy.clearance import Role
from storage.audit.entry import Event
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, gateway, order
from tests.engines import Engines, Settle, settings_on

pytestmark = pytest.mark.asyncio(loop_scope="module")
POST = "/v1/disclosures"
JSON = {"Content-Type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that takes 20,000 octets within a second."""
    keys = tmp_path_factory.mktemp("keys")
    terms = Terms(body_limit=20_000, body_time=timedelta(seconds=1))
    async with gateway(
        lambda kind, region: settings_on(engines.of(kind, region), region, keys),
        regions=(IRELAND,),
        terms=terms,
    ) as built:
        yield built


async def exchanged(desk: Gateway, *chunks: bytes, pause: float = 0.0) -> tuple[int, bytes]:
    """Octets to the gateway's socket, as no client library would send them; status and all of the answer."""
    host, port = desk.client.host, desk.client.port
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)
        answer = await asyncio.wait_for(reader.read(1 << 20), 10)
        return int(answer.split(b" ", 2)[1]), answer
    finally:
        writer.close()


def head(desk: Gateway, *lines: str) -> bytes:
    authorization = f"Authorization: Bearer {desk.tokens['ina']}"
    first = (f"POST {POST} HTTP/1.1", "Host: gateway", "Content-Type: application/json", authorization)
    return "\r\n".join((*first, *lines, "", "")).encode()


async def test_a_body_that_says_it_is_100_mib_is_refused_unread(hasty: Gateway) -> None:
    status, answer = await exchanged(hasty, head(hasty, f"Content-Length: {100 << 20}"))
    assert (status, b"/problems/too-large" in answer) == (413, True)
    assert (await hasty.log())[-1].event is Event.ATTEMPT_MALFORMED


async def test_a_body_that_does_not_say_its_size_is_cut_off_at_the_limit(hasty: Gateway) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    status, answer = await exchanged(hasty, head(hasty, "Transfer-Encoding: chunked"), chunk, chunk)
    assert (status, b"/problems/too-large" in answer) == (413, True)


async def test_a_body_that_breaks_in_its_midst_is_answered_at_once_and_once(
    desk: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 9112 7.1, at a gateway that would wait twenty seconds for the rest of it."""
    reader, writer = await asyncio.open_connection(desk.client.host, desk.client.port)
    try:
        writer.write(head(desk, "Transfer-Encoding: chunked", "Expect: 100-continue"))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"1\r\n{\r\n")
        await writer.drain()
        writer.write(b"no length\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.") == 1
    assert b"framing is broken" in answer
    assert "Unhandled exception" not in caplog.text
    assert (await desk.log())[-1].event is Event.ATTEMPT_MALFORMED


async def test_a_body_that_drips_is_given_up(hasty: Gateway) -> None:
    drops = [b"{"] * 12
    status, answer = await exchanged(hasty, head(hasty, "Content-Length: 1000"), *drops, pause=0.1)
    assert (status, b"/problems/timeout" in answer) == (408, True)
    assert (await hasty.log())[-1].event is Event.ATTEMPT_MALFORMED


@pytest.mark.parametrize(
    ("headers", "body", "status", "problem"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415, "media-type"),
        ({}, b"{}", 415, "media-type"),
        (JSON | {"Content-Encoding": "gzip"}, b"\x1f\x8b", 415, "media-type"),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b" " * 10_000_000), 415, "media-type"),
        (JSON | {"Content-Encoding": "deflate"}, b"no such thing", 415, "media-type"),
        (JSON | {"Content-Encoding": "br"}, b"no such thing", 415, "media-type"),
        (JSON | {"Content-Encoding": "Identity"}, b"{}", 422, "invalid-request"),
        (JSON | {"Idempotency-Key": "x" * 256}, b"{}", 400, "malformed-request"),
        (JSON | {"Idempotency-Key": "\u00e9"}, b"{}", 400, "malformed-request"),
        ({"Content-Type": "application/json; charset=utf-8"}, b"{}", 422, "invalid-request"),
        ({"Content-Type": "application/lawful-order+json"}, b"{}", 422, "invalid-request"),
    ],
)
async def test_what_is_sent_must_be_what_is_taken(
    desk: Gateway, headers: dict[str, str], body: bytes, status: int, problem: str
) -> None:
    answer = await desk.ask("POST", POST, headers=headers, data=body)
    assert (answer.status, answer.problem) == (status, problem)
    assert "index" in answer.json["audit"]


@pytest.mark.parametrize("where", [POST, "/v1/law", "/nowhere", "/console/law"])
@pytest.mark.parametrize("expected", ["nonsense", "100-continue, nonsense"])
async def test_an_expectation_that_nobody_meets_is_a_problem_and_says_nothing_back(
    desk: Gateway, where: str, expected: str
) -> None:
    """RFC 9110 10.1.1. Nothing was asked for yet: it is no attempt, and the connection ends."""
    before = len(await desk.log())
    answer = await desk.ask("POST", where, headers={"Expect": expected}, data=b"{}")
    assert (answer.status, answer.problem) == (417, "expectation")
    assert b"nonsense" not in answer.body
    assert answer.headers["Connection"] == "close"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert len(await desk.log()) == before


async def test_a_body_is_asked_for_where_it_was_announced(desk: Gateway) -> None:
    answer = await desk.ask(
        "POST", POST, headers=JSON | {"Expect": "100-Continue"}, data=b"{}", expect100=True
    )
    assert (answer.status, answer.problem) == (422, "invalid-request")


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "chunked, chunked", "identity", "x"], ids=lambda text: text.replace(", ", "-")
)
async def test_a_transfer_coding_that_would_not_be_undone_is_refused(desk: Gateway, coding: str) -> None:
    """RFC 9112 6.1: where the body ends is known only to whoever understands all of its codings."""
    chunk = b"2\r\n{}\r\n0\r\n\r\n"
    lines = (f"Transfer-Encoding: {coding}", "Connection: close")
    status, answer = await exchanged(desk, head(desk, *lines), chunk)
    assert (status, b"/problems/malformed-request" in answer) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/v1/disclosures/", 404, None),
        ("GET", "/v1/orders/../disclosures/x/y", 404, None),
        ("PUT", POST, 405, "GET, HEAD, POST"),
        ("DELETE", f"{POST}/{'0' * 32}", 405, "GET, HEAD"),
        ("GET", f"{POST}/{'0' * 32}:approve", 405, "POST"),
        ("POST", f"{POST}/{'0' * 32}:undo", 404, None),
        ("POST", "/healthz/live", 405, "GET, HEAD"),
        ("TRACE", "/healthz/live", 405, "GET, HEAD"),
        ("OPTIONS", POST, 405, "GET, HEAD, POST"),
    ],
)
async def test_where_nothing_is_a_problem_says_so(
    desk: Gateway, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await desk.ask(method, path)
    assert answer.status == status
    assert answer.problem == {404: "not-found", 405: "method-not-allowed"}[status]
    assert answer.headers.get("Allow") == allow


async def test_every_answer_carries_the_same_few_headers(desk: Gateway) -> None:
    disclosure = await desk.granted(order(categories=["subscriber"]), requested=["subscriber"])
    for path in ("/", POST, f"{POST}/{disclosure}/package/order.jws", "/v1/audit/eu-west-1/checkpoint"):
        headers = (await desk.ask("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Server"] == "situs"
        assert "python" not in json.dumps(list(headers.items())).lower()
    assert (await desk.ask("GET", POST)).headers["Cache-Control"] == "no-store"


async def test_a_fault_of_ours_is_told_without_its_reasons_and_recorded(
    desk: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("aoife@example.ie broke it")

    monkeypatch.setattr("gateway.disclosure.intake.verify_order", broken)
    answer = await desk.present(order())
    assert (answer.status, answer.problem) == (500, "internal")
    assert b"aoife" not in answer.body
    assert (await desk.log())[answer.json["audit"]["index"]].event is Event.ATTEMPT_FAILED


async def test_a_mailbox_elsewhere_is_answered_with_its_gateway(settle: Settle) -> None:
    """`serves`: this process holds no right to read Germany, and says who does, to those cleared for it."""
    async with gateway(settle, serves=(IRELAND,)) as desk:
        await desk.employ("uli", [Role.INTAKE], [IRELAND], claims=[IRELAND.code, GERMANY.code])
        german = order(target={"address": "boris@example.de"})
        answer = await desk.present(german, "uli")
        assert (answer.status, answer.problem) == (421, "other-region")
        assert answer.json["gateway"] == "https://de.gateway.test"
        entry = (await desk.log())[answer.json["audit"]["index"]]
        assert entry.event is Event.ATTEMPT_NOT_CLEARED
        assert (await desk.present(german)).problem == "clearance"


async def test_lists_are_paged_filtered_and_sorted(settle: Settle) -> None:
    async with gateway(settle, regions=(IRELAND,)) as desk:
        made = []
        for number in range(5):
            answer = await desk.present(order(matter=f"matter {number % 2}"))
            made.append(answer.json["id"])
            desk.clock.advance(seconds=1)
        await desk.ask("POST", f"{POST}/{made[0]}:reject", "art")

        async def listed(**query: str) -> list[str]:
            found, token = [], ""
            while True:
                more = {"pageToken": token} if token else {}
                page = (await desk.ask("GET", POST, params=query | more)).json
                found += [each["id"] for each in page["disclosures"]]
                token = page["nextPageToken"]
                if not token:
                    return found

        assert await listed(pageSize="2") == made
        assert await listed(pageSize="2", orderBy="due") == made
        assert await listed(status="Rejected") == made[:1]
        assert await listed(matter="matter 1", pageSize="1") == [made[1], made[3]]
        assert await listed(dueBefore="2026-11-24T12:00:00Z") == []
        for query in (
            {"pageSize": "0"},
            {"pageSize": "201"},
            {"pageSize": "x"},
            {"pageToken": "?"},
            {"sort": "x"},
            {"pageToken": "e30"},
            {"status": "Open"},
            {"region": "Ireland"},
            {"dueBefore": "today"},
        ):
            answer = await desk.ask("GET", POST, params=query)
            assert (answer.status, answer.problem) == (422, "invalid-request"), query
        assert (await desk.ask("GET", f"{POST}?status=Rejected&status=Expired")).problem == "invalid-request"


async def test_what_has_not_changed_is_not_sent_again(desk: Gateway) -> None:
    disclosure = await desk.granted(order(categories=["subscriber"]), requested=["subscriber"])
    for path in (f"{POST}/{disclosure}", f"{POST}/{disclosure}/package"):
        tag = (await desk.ask("GET", path)).headers["ETag"]
        again = await desk.ask("GET", path, headers={"If-None-Match": tag})
        assert (again.status, again.body) == (304, b"")


async def test_a_change_is_made_to_what_was_read_or_not_at_all(desk: Gateway) -> None:
    """RFC 9110 13.1.1, with strong comparison."""
    disclosure = (await desk.present(order(categories=["subscriber"]), requested=["subscriber"])).json["id"]
    path = f"/v1/disclosures/{disclosure}"
    tag = (await desk.ask("GET", path)).headers["ETag"]
    for given in ('"another"', f"W/{tag}"):
        answer = await desk.ask("POST", f"{path}:reject", "art", headers={"If-Match": given})
        assert (answer.status, answer.problem) == (412, "stale")
        assert "index" in answer.json["audit"]
    rejected = await desk.ask("POST", f"{path}:reject", "art", headers={"If-Match": f'"another", {tag}'})
    assert (rejected.status, rejected.json["status"]) == (200, "Rejected")
    again = await desk.ask("POST", f"{path}:approve", "art", headers={"If-Match": tag})
    assert (again.status, again.problem) == (412, "stale")
    assert (await desk.ask("POST", f"{path}:approve", "art", headers={"If-Match": "*"})).problem == "state"


async def test_more_than_the_rate_is_neither_read_nor_recorded(settle: Settle) -> None:
    terms = Terms(attempts_a_minute=3, strangers_a_minute=2)
    async with gateway(settle, regions=(IRELAND,), terms=terms) as desk:
        answers = [await desk.ask("POST", POST, headers=JSON, data=b"{") for _ in range(5)]
        assert [answer.status for answer in answers] == [400, 400, 400, 429, 429]
        assert "audit" not in answers[-1].json
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert [(await desk.ask("GET", POST, None)).status for _ in range(3)] == [401, 401, 429]
        assert len(await desk.log()) == 5


async def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it drips: the clock runs from the connection on, not from the last octet."""
    monkeypatch.setattr("gateway.disclosure.app.HEAD_TIME", 0.5)
    runner = make_runner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        dripping.cancel()
        writer.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://[::/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=[
        "no request line",
        "no such version",
        "no field",
        "no length",
        "tls",
        "no version",
        "no host's name",
        "two hosts",
        "no host",
        "no target",
    ],
)
async def test_what_is_no_http_is_answered_with_a_problem_that_names_no_version(octets: bytes) -> None:
    runner = make_runner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(octets)
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
    finally:
        await runner.cleanup()
    assert re.match(rb"HTTP/[01]\.[019] 400 ", head), head
    fields = {line.partition(b":")[0].lower(): line.partition(b": ")[2] for line in head.split(b"\r\n")[1:]}
    assert fields[b"content-type"] == b"application/problem+json"
    assert fields[b"server"] == b"situs"
    assert json.loads(body)["type"] == "https://situs.example/problems/malformed-request"


async def test_a_rate_fills_up_again() -> None:
    now = [0.0]
    rate = RateLimit(2, lambda: now[0])
    rate.take("ina")
    rate.take("ina")
    with pytest.raises(Problem) as raised:
        rate.take("ina")
    assert raised.value.kind is Kind.RATE_LIMITED
    rate.take("art")
    now[0] = 30.0
    rate.take("ina")
