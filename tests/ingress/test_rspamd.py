"""The content check: rspamd's protocol against a stand-in that says what it is told, and a real rspamd."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.ingress.limits import RspamdSettings, WhenUnreachable
from gateway.ingress.memory import Receiving
from gateway.ingress.rspamd import Rspamd, without_forged
from tests.ingress.conftest import SMALL, House, OpenDoor
from tests.ingress.postfix import free_port
from tests.ingress.posts import without_trace
from tests.peers import require

MAIL = "Subject: x\n{fields}\nhello\n"
FORGED = (
    b"X-Spam: Yes\r\n"
    b"authentication-results: MX.example.ie;\r\n\tdkim=pass header.d=bank.example\r\n"
    b"Authentication-Results: (hidden) mx.example.ie; spf=pass\r\n"
    b'Authentication-Results: "mx.example.ie" 1; spf=pass\r\n'
    b"ARC-Authentication-Results: i=1; mx.example.ie; arc=pass\r\n"
    b"X-Spam-Status : No, score=-100\r\n"
    b"Authentication-Results: mx.example.ie\t1; spf=pass\r\n"
    b"Authentication-Results: mx.example.ie(a (nested) \\) one); spf=pass\r\n"
    b"Authentication-Results:\r\n (a)(b)\r\n\t(c) mx.example.ie (d)\r\n ; spf=pass\r\n"
    b'Authentication-Results: "mx.\\example.ie"; spf=pass\r\n'
    b'Authentication-Results: mx."example".ie; spf=pass\r\n'
    b"AUTHENTICATION-RESULTS\t: mx.example.ie\r\n"
    b"ARC-Authentication-Results: i=1 ;\r\n\t(x) mx.example.ie; arc=pass\r\n"
)
KEPT = (
    b"Authentication-Results: mx.other.example; spf=fail\r\n"
    b"Authentication-Results: (mx.example.ie) mx.other.example 1; spf=fail (mx.example.ie;)\r\n"
    b"Authentication-Results: not.mx.example.ie; spf=fail\r\n"
    b"Authentication-Results-Of: mx.example.ie; a=b\r\n"
    b"X-Spamming: is a hobby\r\n"
)


@dataclass
class StandIn:
    """Answers `/checkv2` with `answer`, and keeps what it was asked."""

    answer: dict[str, Any] = field(default_factory=lambda: {"action": "no action", "score": 0.5})
    status: int = 200
    seconds: float = 0.0
    form: str = ""
    while_asked: Callable[[], None] = lambda: None
    asked: list[tuple[dict[str, list[str]], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        fields = {name: request.headers.getall(name) for name in request.headers}
        self.asked.append((fields, await request.read()))
        self.while_asked()
        await asyncio.sleep(self.seconds)
        response = web.json_response(self.answer, status=self.status)
        match self.form:
            case "gzip":
                response.enable_compression(web.ContentCoding.gzip)
            case "chunked":
                response.enable_chunked_encoding()
            case "cut":
                response.headers["Content-Length"] = "1000000"
                assert request.transport is not None
                request.transport.close()
        return response


@pytest.fixture
async def rspamd() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    app = web.Application(client_max_size=0)
    app.router.add_post("/checkv2", stand_in.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
async def open_checked(open_door: OpenDoor) -> AsyncIterator[Callable[[RspamdSettings], Awaitable[House]]]:
    async with aiohttp.ClientSession() as client:

        async def opened(settings: RspamdSettings) -> House:
            return await open_door(check=Rspamd(settings, "mx.example.ie", client))

        yield opened


async def deliver(house: House, content: bytes, sender: str = "s@client.example") -> str:
    async with await house.peer() as peer:
        await peer.play(f"""
            S: 220 *
            C: HELO client.example
            S: 250 *
            C: MAIL FROM:<{sender}>
            S: 250 *
            C: RCPT TO:<aoife@example.ie>
            S: 250 *
            C: RCPT TO:<bernd@example.de>
            S: 250 *
            C: DATA
            S: 354 *
        """)
        await peer.send(content + b".\r\n")
        return await peer.reply()


@pytest.mark.parametrize(
    ("action", "reply"),
    [
        ("reject", "550 5.7.1 "),
        ("greylist", "451 4.7.1 "),
        ("soft reject", "451 4.7.1 "),
        ("no action", "250-2.6.0 "),
        ("add header", "250-2.6.0 "),
        ("rewrite subject", "250-2.6.0 "),
        ("an action of next year", "250-2.6.0 "),
    ],
)
async def test_what_rspamd_says_is_what_the_peer_is_told(
    rspamd: StandIn, open_checked: Callable[[RspamdSettings], Awaitable[House]], action: str, reply: str
) -> None:
    rspamd.answer["action"] = action
    house = await open_checked(RspamdSettings(rspamd.url))
    assert (await deliver(house, b"Subject: x\r\n\r\nhello\r\n")).startswith(reply)
    assert len(house.post.copies) == (2 if reply.startswith("250") else 0)
    marked = [b"\r\nX-Spam: Yes\r\n" in copy.content for copy in house.post.copies]
    assert all(marked) if action in ("add header", "rewrite subject") else not any(marked)


async def test_rspamd_is_asked_with_envelope_and_message(
    rspamd: StandIn, open_checked: Callable[[RspamdSettings], Awaitable[House]]
) -> None:
    house = await open_checked(RspamdSettings(rspamd.url, password="p"))
    await deliver(house, b"Subject: x\r\n\r\nhello\r\n", sender='"a b%"@client.example')
    ((fields, body),) = rspamd.asked
    assert body == b"Subject: x\r\n\r\nhello\r\n"
    assert fields["From"] == ['"a b%25"@client.example']
    assert fields["Rcpt"] == ["aoife@example.ie", "bernd@example.de"]
    assert (fields["IP"], fields["Helo"], fields["Password"]) == (["127.0.0.1"], ["client.example"], ["p"])


async def test_its_fields_are_stored_and_forged_ones_are_not(
    rspamd: StandIn, open_checked: Callable[[RspamdSettings], Awaitable[House]]
) -> None:
    """RFC 8601 5."""
    rspamd.answer["milter"] = {
        "add_headers": {
            "Authentication-Results": {"value": "mx.example.ie;\n\tspf=pass", "order": 1},
            "X-Two": ["one", {"value": "two", "order": 0}],
            "X-Evil": "a\r\n\r\nb\rc",
            "X-Bad Name": "x",
        },
        "remove_headers": {"Subject": 0},
    }
    house = await open_checked(RspamdSettings(rspamd.url))
    await deliver(house, FORGED + KEPT + b"Subject: x\r\n\r\nX-Spam: stays in a body\r\n")
    assert without_trace(house.post.copies[0].content) == (
        b"X-Spam-Status: No, score=0.50\r\n"
        b"Authentication-Results: mx.example.ie;\r\n\tspf=pass\r\n"
        b"X-Two: one\r\nX-Two: two\r\n"
        b"X-Evil: a\r\n\tb\r\n\tc\r\n" + KEPT + b"Subject: x\r\n\r\nX-Spam: stays in a body\r\n"
    )


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"no header", b"a: b\r\n", b"X-Spam: Yes", b" x\r\n\r\nX-Spam: y"]
)
def test_nothing_else_of_a_message_is_touched(content: bytes) -> None:
    expected = b"" if content == b"X-Spam: Yes" else content
    assert without_forged(content, "mx.example.ie") == expected


@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", [b" a\r\n", b"A:\r\n", b"X-Spam: 1\r\n", b"\r", b"("], ids=repr)
def test_a_header_section_without_end_is_read_in_the_time_that_it_takes_to_come(unit: bytes) -> None:
    """However it is cut up: no field is copied for each of its lines."""
    content = b"Authentication-Results: mx.example.ie;\r\n" + unit * (3_000_000 // len(unit))
    kept = without_forged(content, "mx.example.ie")
    assert b"Authentication-Results" not in kept


@pytest.mark.parametrize("form", ["gzip", "chunked"])
async def test_an_answer_in_another_form_is_an_answer(
    rspamd: StandIn, open_checked: Callable[[RspamdSettings], Awaitable[House]], form: str
) -> None:
    rspamd.form, rspamd.answer["action"] = form, "reject"
    house = await open_checked(RspamdSettings(rspamd.url))
    assert (await deliver(house, b"Subject: x\r\n\r\nhello\r\n")).startswith("550 5.7.1 ")


async def test_an_answer_without_end_is_none(
    rspamd: StandIn, open_checked: Callable[[RspamdSettings], Awaitable[House]]
) -> None:
    rspamd.answer["symbols"] = "x" * 2_000_000
    house = await open_checked(RspamdSettings(rspamd.url))
    assert (await deliver(house, b"Subject: x\r\n\r\nhello\r\n")).startswith("451 4.7.1 ")


@pytest.mark.parametrize("trouble", ["gone", "error", "slow", "nonsense", "redirect", "cut"])
@pytest.mark.parametrize("choice", list(WhenUnreachable))
async def test_an_rspamd_that_cannot_be_asked(
    rspamd: StandIn,
    open_checked: Callable[[RspamdSettings], Awaitable[House]],
    trouble: str,
    choice: WhenUnreachable,
) -> None:
    url = f"http://127.0.0.1:{free_port()}" if trouble == "gone" else rspamd.url
    match trouble:
        case "error":
            rspamd.status = 500
        case "slow":
            rspamd.seconds = 1.0
        case "nonsense":
            rspamd.answer = {"score": "x"}
        case "redirect":
            rspamd.status = 307
        case "cut":
            rspamd.form = "cut"
    house = await open_checked(RspamdSettings(url, timeout=0.2, unreachable=choice))
    reply = await deliver(house, FORGED + b"Subject: x\r\n\r\nhello\r\n")
    if choice is WhenUnreachable.DEFER:
        assert reply.startswith("451 4.7.1 the content check cannot be reached")
        assert not house.post.copies
    else:
        assert reply.startswith("250-2.6.0")
        assert without_trace(house.post.copies[0].content) == b"Subject: x\r\n\r\nhello\r\n"


async def test_a_check_that_may_take_longer_than_storing_does_not(
    rspamd: StandIn, open_door: OpenDoor
) -> None:
    """The store timeout is from the end of a message: a graceful stop counts on it."""
    rspamd.seconds = 1.0
    async with aiohttp.ClientSession() as client:
        settings = RspamdSettings(rspamd.url, timeout=30.0, unreachable=WhenUnreachable.ACCEPT)
        check = Rspamd(settings, "mx.example.ie", client)
        house = await open_door(check=check, limits=replace(SMALL, store_timeout=0.3))
        reply = await deliver(house, b"Subject: x\r\n\r\nhello\r\n")
    assert reply.startswith("451 4.7.1 ")
    assert not house.post.copies


async def test_a_message_that_is_checked_counts_twice(rspamd: StandIn, open_door: OpenDoor) -> None:
    """The check's copy of a message lies in memory beside the message itself, and is under the same bound."""
    async with aiohttp.ClientSession() as client:
        house = await open_door(check=Rspamd(RspamdSettings(rspamd.url), "mx.example.ie", client))
        message = b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n" * 200
        charged = house.reception.memory
        rspamd.while_asked = lambda: held.append(charged.in_flight)
        held: list[int] = []
        assert (await deliver(house, message)).startswith("250-2.6.0")
        assert held
        assert held[0] >= 2 * len(message)
        others = Receiving(charged)
        others.hold((house.reception.limits.memory_for_mail // 2 - 2 * len(message)) * 8 // 9)
        assert (await deliver(house, message)).startswith("421 4.3.1 ")
        others.release()
        assert (await deliver(house, message)).startswith("250-2.6.0")
    assert charged.in_flight == 0


GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@asynccontextmanager
async def real_rspamd() -> AsyncIterator[str]:
    """A real rspamd with nothing but its own defaults, on a port of its own."""
    command = require("rspamd")
    place = Path(tempfile.mkdtemp(prefix="situs-rspamd-"))
    place.chmod(0o777)
    port = free_port()
    (place / "tld").write_text("com\nexample\nie\n")  # the real list takes half a minute to compile
    (place / "rspamd.conf").write_text(f"""
        options {{ pidfile = "{place}/pid"; tempdir = "{place}"; url_tld = "{place}/tld"; filters = "";
                   enable_test_patterns = true; dns {{ nameserver = ["127.0.0.1:{free_port()}"]; }} }}
        logging {{ type = "file"; filename = "{place}/log"; level = "error"; }}
        worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
        actions {{ reject = 15; add_header = 6; greylist = 4; }}
    """)
    process = await asyncio.create_subprocess_exec(
        command, "-f", "-i", "-c", str(place / "rspamd.conf"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as client:
            while True:
                try:
                    async with client.get(f"http://127.0.0.1:{port}/ping") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_real_rspamd(open_checked: Callable[[RspamdSettings], Awaitable[House]]) -> None:
    async with real_rspamd() as url:  # a marked pattern for each of three actions
        house = await open_checked(RspamdSettings(url))
        plain = b"From: a@client.example\r\nSubject: x\r\n\r\nhello\r\n"
        assert (await deliver(house, plain)).startswith("250-2.6.0")
        assert (await deliver(house, plain + GTUBE + b"\r\n")).startswith("550 5.7.1")
        spam = plain + GTUBE.replace(b"XJS", b"YJS") + b"\r\n"
        assert (await deliver(house, spam)).startswith("250-2.6.0")
    assert [b"X-Spam: Yes\r\n" in copy.content for copy in house.post.copies] == [False, False, True, True]
