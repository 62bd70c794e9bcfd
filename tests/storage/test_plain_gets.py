"""Gets on connections of our own: signed as AWS signs, and nothing but the whole object taken for it.

What the engines themselves make of them stands in `test_objects_contract.py`; the connections are those of
`test_plain_puts.py`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from policy.geography import RegionCode
from storage.credentials import StaticKeys
from storage.engine import Access, EngineError, Verdict, verdict
from storage.errors import NotFound
from storage.objects import Bucket
from storage.plain_gets import PlainGets
from storage.put_signature import PutSignature
from tests.storage.test_plain_puts import KEY, MOMENT

IRELAND = RegionCode.parse("eu-west-1")
KEYS = StaticKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
LONGEST = 32 * 1024 * 1024


def told(body: bytes, more: bytes = b"") -> bytes:
    """An answer with an object."""
    return b'HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\nETag: "abc"\r\n\r\n' % (more, len(body)) + body


class Engine:
    """Answers as it is told to, in the pieces that it is told; an empty last piece closes the connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.answers: list[list[bytes]] = []
        self.port = 0
        self.closed: asyncio.Queue[None] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                pieces = self.answers.pop(0)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)  # a piece of its own, as a rule: no verdict rests on it
                if not pieces[-1]:
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.closed.put_nowait(None)

    def gets(self, attempt: float = 30.0) -> PlainGets:
        signature = PutSignature(KEYS, IRELAND, f"127.0.0.1:{self.port}", "b", lambda: datetime.now(UTC))
        return PlainGets(signature, "127.0.0.1", self.port, attempt)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    yield engine
    server.close()


@given(key=KEY, now=MOMENT, secret=st.text(min_size=1))
def test_the_signature_is_the_one_that_botocore_makes(key: str, now: datetime, secret: str) -> None:
    keys = StaticKeys("AKIDEXAMPLE", secret)
    head = PutSignature(keys, IRELAND, "127.0.0.1:8333", "mail-ie", lambda: now).head_of_get(key)
    line, *fields = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    sent = {name: value for name, _, value in (field.partition(":") for field in fields)}
    assert line == f"GET /mail-ie/{key} HTTP/1.1"
    request = AWSRequest(
        "GET",
        f"http://127.0.0.1:8333/mail-ie/{key}",
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


async def test_one_connection_brings_one_object_after_the_other_whole(engine: Engine) -> None:
    """In however many pieces each comes."""
    bodies = [b"", b"x", secrets.token_bytes(20_000), secrets.token_bytes(3_000_000), b"last"]
    whole = [told(body) for body in bodies]
    engine.answers = [[answer[:30], answer[30:50], answer[50:]] for answer in whole]
    gets = engine.gets()
    assert [await gets.get(f"a/{number}", LONGEST) for number in range(len(bodies))] == bodies
    assert engine.connections == 1


NO_OBJECT = {
    "500": ([b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad"], Verdict.AGAIN),
    "403": ([b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"], Verdict.FORBIDDEN),
    "no such key, said late": (
        [b"HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n", b"<Code>NoSuch", b"Key</Code>"],
        Verdict.ABSENT,
    ),
    "no such bucket": (
        [b"HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n<Code>NoSuchBucket</Code>"],
        Verdict.NOWHERE,
    ),
    "a redirect": (
        [b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
        Verdict.REJECTED,
    ),
    "a web page": ([b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nIt works! :)"], Verdict.AGAIN),
    "a part": ([told(b"x").replace(b"200 OK", b"206 Partial")], Verdict.AGAIN),
    "in chunks": (
        [told(b"", b"Transfer-Encoding: chunked\r\n") + b"3\r\nbad\r\n0\r\n\r\n"],
        Verdict.AGAIN,
    ),
    "of no length": ([b'HTTP/1.1 200 OK\r\nETag: "abc"\r\n\r\nx', b""], Verdict.AGAIN),
    "cut off": ([told(b"x" * 100_000)[:-1], b""], Verdict.AGAIN),
    "nothing at all": ([b""], Verdict.AGAIN),
    "half a header": ([b"HTTP/1.1 200 OK\r\nETag:", b""], Verdict.AGAIN),
    "a header without an end": ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000, b""], Verdict.AGAIN),
    "more than an object may have": (
        [b'HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\nETag: "a"\r\n\r\n'],
        Verdict.AGAIN,
    ),
    "more than the object": ([told(b"x") + b"y"], Verdict.AGAIN),
}


@pytest.mark.parametrize("name", NO_OBJECT)
async def test_what_is_not_plainly_the_object_is_an_error_and_ends_the_connection(
    engine: Engine, name: str
) -> None:
    answer, expected = NO_OBJECT[name]
    engine.answers = [answer, [told(b"mine")]]
    gets = engine.gets()
    with pytest.raises(EngineError) as error:
        await gets.get("a/x", LONGEST)
    assert verdict(error.value) is expected
    assert await gets.get("a/y", LONGEST) == b"mine"
    assert engine.connections == 2


async def test_a_get_that_is_cancelled_takes_its_connection_with_it(engine: Engine) -> None:
    engine.answers = [[told(b"x" * 1_000)[:-1]], [told(b"mine")]]
    gets = engine.gets()
    get = asyncio.create_task(gets.get("a/x", LONGEST))
    while not engine.heads:
        await asyncio.sleep(0)
    get.cancel()
    with pytest.raises(asyncio.CancelledError):
        await get
    await engine.closed.get()
    assert await gets.get("a/y", LONGEST) == b"mine"
    assert engine.connections == 2


async def test_an_engine_that_does_not_answer_is_left_in_time(engine: Engine) -> None:
    engine.answers = [[b"HTTP/1.1 "]]
    with pytest.raises(EngineError) as error:
        await engine.gets(attempt=0.2).get("a/x", LONGEST)
    assert verdict(error.value) is Verdict.AGAIN


async def test_a_bucket_asks_again_by_obstore(engine: Engine) -> None:
    access = Access(IRELAND, f"http://127.0.0.1:{engine.port}", KEYS)
    part = (
        b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/4\r\nContent-Length: 4\r\nETag: "abc"\r\n\r\nmine'
    )
    engine.answers = [[told(b"mine")[:-1], b""], [part]]
    assert await Bucket("b", access).read("a/x", LONGEST) == b"mine"
    assert [b"range: bytes=" in head.lower() for head in engine.heads] == [False, True]
    engine.answers = [list(NO_OBJECT["no such key, said late"][0])]
    with pytest.raises(NotFound):
        await Bucket("b", access).read("a/x", LONGEST)
