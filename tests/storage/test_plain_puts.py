"""Puts on connections of our own: signed as AWS signs, and nothing but a plain success taken for one.

What the engines themselves make of them stands in `test_objects_contract.py`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from policy.geography import RegionCode
from storage.credentials import Machine, Profile, StaticKeys
from storage.engine import Access, EngineError, Verdict, verdict
from storage.objects import Bucket
from storage.plain_puts import PlainPuts
from storage.put_signature import PutSignature

IRELAND = RegionCode.parse("eu-west-1")
KEYS = StaticKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
STORED = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "abc"\r\n\r\n'


class Engine:
    """Says what it is told to, whatever it is asked. `heads` and `bodies` are of the requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answers: list[bytes | None] = []  # None: no answer, the connection is closed
        self.closing = False  # after each answer
        self.port = 0
        self.closed: asyncio.Queue[None] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                found = re.search(rb"(?i)content-length: ?(\d+)", head)
                assert found is not None
                self.bodies.append(await reader.readexactly(int(found.group(1))))
                answer = self.answers.pop(0) if self.answers else STORED
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if self.closing:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.closed.put_nowait(None)

    def puts(self, attempt: float = 30.0) -> PlainPuts:
        signature = PutSignature(KEYS, IRELAND, f"127.0.0.1:{self.port}", "b", lambda: datetime.now(UTC))
        return PlainPuts(signature, "127.0.0.1", self.port, attempt)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    yield engine
    server.close()


KEY = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9._-]|/[A-Za-z0-9_]){0,80}", fullmatch=True)
MOMENT = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))


@given(key=KEY, body=st.binary(max_size=100), now=MOMENT, hold=st.booleans(), secret=st.text(min_size=1))
def test_the_signature_is_the_one_that_botocore_makes(
    key: str, body: bytes, now: datetime, hold: bool, secret: str
) -> None:
    keys = StaticKeys("AKIDEXAMPLE", secret)
    head = PutSignature(keys, IRELAND, "127.0.0.1:8333", "mail-ie", lambda: now).head(
        key, body, legal_hold=hold
    )
    line, *fields = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    sent = {name: value for name, _, value in (field.partition(":") for field in fields)}
    assert line == f"PUT /mail-ie/{key} HTTP/1.1"
    assert sent["content-length"] == str(len(body))
    assert ("x-amz-object-lock-legal-hold" in sent) is hold
    request = AWSRequest(
        "PUT",
        f"http://127.0.0.1:8333/mail-ie/{key}",
        data=body,
        headers={name: value for name, value in sent.items() if name.startswith("x-amz-")},
    )
    request.context["timestamp"] = sent["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    signer = S3SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "s3", "eu-west-1")
    canonical = signer.canonical_request(request)
    assert sent["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, "
        f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}, "
        f"Signature={signer.signature(signer.string_to_sign(request, canonical), request)}"
    )


async def test_one_connection_serves_one_put_after_the_other(engine: Engine) -> None:
    puts = engine.puts()
    for number in range(5):
        assert await puts.put(f"a/{number}", str(number).encode(), legal_hold=False) == '"abc"'
    assert engine.bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert engine.connections == 1


async def test_puts_at_once_have_a_connection_each_and_none_the_answer_of_another(engine: Engine) -> None:
    puts = engine.puts()
    engine.answers = [STORED.replace(b"abc", str(n).encode()) for n in range(20)]
    found = await asyncio.gather(*(puts.put(f"a/{n}", b"x", legal_hold=False) for n in range(20)))
    assert sorted(found) == sorted(f'"{n}"' for n in range(20))
    assert engine.connections == 20


async def test_a_large_body_comes_whole(engine: Engine) -> None:
    body = secrets.token_bytes(8 * 1024 * 1024)
    await engine.puts().put("a/large", body, legal_hold=False)
    assert engine.bodies == [body]


NO_SUCCESS = {
    "500": (b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad", Verdict.AGAIN),
    "503 without a word": (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", Verdict.AGAIN),
    "403 in chunks": (
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n",
        Verdict.FORBIDDEN,
    ),
    "no such bucket": (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n<Code>NoSuchBucket</Code>",
        Verdict.NOWHERE,
    ),
    "a redirect": (
        b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        Verdict.REJECTED,
    ),
    "too slow a body": (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\n\r\n<Code>RequestTimeout</Code>",
        Verdict.AGAIN,
    ),
    "a web page": (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nIt works! :)", Verdict.AGAIN),
    "204": (b'HTTP/1.1 204 No Content\r\nETag: "abc"\r\nContent-Length: 0\r\n\r\n', Verdict.AGAIN),
    "HTTP/1.0": (b'HTTP/1.0 200 OK\r\nETag: "abc"\r\nContent-Length: 0\r\n\r\n', Verdict.AGAIN),
    "an ETag in the body": (
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n\r\netag: "abc"\r\n',
        Verdict.AGAIN,
    ),
    "another protocol": (b"220 mx.example.ie ESMTP\r\n\r\n", Verdict.AGAIN),
    "half a header": (b'HTTP/1.1 200 OK\r\nETag: "abc"\r\n', Verdict.AGAIN),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", Verdict.AGAIN),
    "no end": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000, Verdict.AGAIN),
}


@pytest.mark.parametrize("name", NO_SUCCESS)
async def test_what_is_no_plain_success_is_an_error_and_ends_the_connection(
    engine: Engine, name: str
) -> None:
    answer, expected = NO_SUCCESS[name]
    engine.answers, engine.closing = [answer], True
    puts = engine.puts()
    with pytest.raises(EngineError) as error:
        await puts.put("a/x", b"x", legal_hold=False)
    assert verdict(error.value) is expected
    engine.closing = False
    assert await puts.put("a/y", b"x", legal_hold=False) == '"abc"'
    assert engine.connections == 2


async def test_no_answer_at_all_promises_nothing(engine: Engine) -> None:
    engine.answers = [None]
    with pytest.raises(EngineError) as error:
        await engine.puts().put("a/x", b"x", legal_hold=False)
    assert verdict(error.value) is Verdict.AGAIN


KEPT_NO_LONGER = {
    "the engine says so": b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\nETag: "abc"\r\n\r\n',
    "a body": b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: "abc"\r\n\r\nx',
    "more than one answer": STORED * 2,
    "octets behind the answer": STORED + b"more",
}


@pytest.mark.parametrize("name", KEPT_NO_LONGER)
async def test_a_connection_out_of_step_is_used_no_more(engine: Engine, name: str) -> None:
    engine.answers = [KEPT_NO_LONGER[name]]
    puts = engine.puts()
    for number in range(2):
        assert await puts.put(f"a/{number}", b"x", legal_hold=False) == '"abc"'
    assert engine.connections == 2


async def test_a_connection_that_the_engine_has_closed_costs_no_attempt(engine: Engine) -> None:
    engine.closing = True
    puts = engine.puts()
    await puts.put("a/x", b"x", legal_hold=False)
    await engine.closed.get()
    assert await puts.put("a/y", b"y", legal_hold=False) == '"abc"'
    assert engine.connections == 2


async def test_an_engine_that_does_not_answer_is_left_in_time(engine: Engine) -> None:
    engine.answers = [b""]
    with pytest.raises(EngineError) as error:
        await engine.puts(attempt=0.2).put("a/x", b"x", legal_hold=False)
    assert verdict(error.value) is Verdict.AGAIN


async def test_a_put_that_is_cancelled_takes_its_connection_with_it(engine: Engine) -> None:
    engine.answers = [b""]
    puts = engine.puts()
    put = asyncio.create_task(puts.put("a/x", b"x", legal_hold=False))
    while not engine.bodies:
        await asyncio.sleep(0)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    await engine.closed.get()
    await puts.put("a/y", b"y", legal_hold=False)
    assert engine.connections == 2


def test_a_connection_of_a_loop_that_is_over_is_not_used() -> None:
    """A command runs one loop after the other over the same bucket."""
    engine = Engine()

    async def once(puts: PlainPuts) -> None:
        server = await asyncio.start_server(engine.serve, sock=listening.dup())
        await puts.put("a/x", b"x", legal_hold=False)
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        engine.port = listening.getsockname()[1]
        puts = engine.puts()
        asyncio.run(once(puts))
        asyncio.run(once(puts))
    assert engine.connections == 2


@pytest.mark.parametrize(
    "endpoint",
    ["https://s3.eu-west-1.amazonaws.com", "http://user@127.0.0.1:1", "http://127.0.0.1:1/behind/a/proxy"],
)
def test_what_is_not_reached_in_the_clear_and_directly_is_left_to_obstore(endpoint: str) -> None:
    assert PlainPuts.of("b", Access(IRELAND, endpoint, KEYS), 10.0) is None


@pytest.mark.parametrize("credentials", [Machine(), Profile("p")], ids=["machine", "profile"])
def test_keys_that_are_renewed_are_left_to_obstore(credentials: Machine | Profile) -> None:
    assert PlainPuts.of("b", Access(IRELAND, "http://127.0.0.1:1", credentials), 10.0) is None


async def test_a_bucket_with_renewed_keys_puts_what_is_fresh_all_the_same(
    engine: Engine, tmp_path: Path
) -> None:
    """By obstore, whose first attempt asks for nothing and whose second has a condition."""
    (tmp_path / "keys").write_text("[p]\naws_access_key_id = k\naws_secret_access_key = s\n")
    access = Access(IRELAND, f"http://127.0.0.1:{engine.port}", Profile("p", tmp_path / "keys"))
    engine.answers = [NO_SUCCESS["500"][0]]
    assert await Bucket("b", access).put_if_absent("a/x", b"mine", fresh_key=True) == '"abc"'
    assert [b"if-none-match" in head.lower() for head in engine.heads] == [False, True]
    assert engine.bodies == [b"mine", b"mine"]
