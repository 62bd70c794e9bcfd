"""Behind a real Postfix, and facing real clients: swaks and Postfix's smtp-source."""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from gateway.ingress.door import Door
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.lmtp import serve_lmtp
from gateway.post import RegionalPost
from gateway.smtp import serve_smtp
from policy.address import Address
from policy.geography import Region
from storage.directory import Directory
from storage.region import Ground, RegionSettings
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, VIRGINIA, EngineKind, Settle, provisioned
from tests.faults import Fault, FaultProxy
from tests.ingress.certificates import write_certificate
from tests.ingress.postfix import Postfix
from tests.ingress.posts import MemoryPost, three_regions
from tests.peers import leave_out, require

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

HOMES = {"aoife@example.ie": IRELAND, "bernd@example.de": GERMANY, "carol@example.com": VIRGINIA}
MAILS = 1_000
# What is slow on a busy machine is not what is down: only the region that is cut off may be put off.
LIMITS = Limits(lookup_timeout=60.0, store_timeout=60.0, stop_timeout=90.0)
PATIENT = 30.0  # seconds, a region's deadline


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        leave_out("Postfix starts only as root, and this test is run by somebody else")


def refused_by(port: int, recipient: str) -> int | None:
    """What Postfix says at RCPT once it has asked Situs; None where it takes the recipient."""
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo()
        client.mail("sender@client.example")
        while (code := client.rcpt(recipient)[0]) == 450:
            pass  # it has waited nine seconds for its own probe, and tells us to come again
    return None if code == 250 else code


def send_to_all(port: int, first: int, count: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        for number in range(first, first + count):
            message = f"Message-ID: <{number}@client.example>\r\nSubject: {number}\r\n\r\nhello\r\n"
            assert not client.sendmail("sender@client.example", list(HOMES), message)


class Store:
    """Situs behind Postfix: three regions and an LMTP door."""

    def __init__(self, ground: Ground, directory: Directory, door: Door) -> None:
        self.ground = ground
        self.directory = directory
        self.door = door

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Sequence[RegionSettings], port: int = 0) -> AsyncIterator[Store]:
        async with await Ground.open(settings, DEPLOYMENT) as ground:
            directory = Directory(ground, b"k" * 32, IRELAND.code, IRELAND.code)
            reception = Reception(RegionalPost(directory), "store.example.ie", LIMITS)
            door = await serve_lmtp(ListenerSettings(port=port), reception)
            try:
                yield cls(ground, directory, door)
            finally:
                await door.close()

    async def in_buckets(self) -> dict[Region, int]:
        return {
            store.region: len([listed async for listed in store.mail.list("mail/")])
            for store in self.ground.stores()
        }


@pytest.mark.timeout(900)
async def test_a_thousand_mails_to_three_regions_with_one_of_them_down_for_a_while(settle: Settle) -> None:
    """All arrive exactly once, and the queue is empty. In between Situs is started anew."""
    settings = [
        replace(settle(EngineKind.MOTO, region), deadline_seconds=PATIENT)
        for region in (IRELAND, GERMANY, VIRGINIA)
    ]
    for each in settings:
        await provisioned(each)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(settings[2].endpoint))
        behind_proxy = replace(settings[2], endpoint=proxy.endpoint, deadline_seconds=2.0)
        async with Store.open([*settings[:2], behind_proxy]) as store:
            for address, home in HOMES.items():
                await store.directory.create(Address.parse(address), home.code)
            port = store.door.port
            postfix = Postfix(f"situs:inet:127.0.0.1:{port}")
            await stack.enter_async_context(postfix)
            for address in HOMES:
                assert await asyncio.to_thread(refused_by, postfix.port, address) is None
            proxy.fail(Fault.RESET, when=lambda request: request.method == "PUT", times=1_000_000_000)
            tenth = MAILS // 10
            await asyncio.gather(
                *(asyncio.to_thread(send_to_all, postfix.port, n * tenth, tenth) for n in range(10))
            )
            await postfix.settled(waiting=MAILS, seconds=400)
            assert await store.in_buckets() == {IRELAND: MAILS, GERMANY: MAILS, VIRGINIA: 0}
            deferred = re.findall(r"to=<([^>]*)>.* status=deferred", "\n".join(postfix.log()))
            assert set(deferred) == {"carol@example.com"}
        async with Store.open(settings, port) as store:
            await postfix.flush()
            await postfix.settled(waiting=0, seconds=400)
            assert await store.in_buckets() == {IRELAND: MAILS, GERMANY: MAILS, VIRGINIA: MAILS}
        assert "status=bounced" not in "\n".join(postfix.log())


async def test_postfix_learns_from_situs_who_is_here() -> None:
    """An unknown mailbox is refused to the client, not bounced; a known one is delivered."""
    async with AsyncExitStack() as stack:
        post = three_regions()
        door = await serve_lmtp(ListenerSettings(), Reception(post, "store.example.ie", LIMITS))
        stack.push_async_callback(door.close)
        postfix = await stack.enter_async_context(Postfix(f"situs:inet:127.0.0.1:{door.port}"))
        said = {
            recipient: await asyncio.to_thread(refused_by, postfix.port, recipient)
            for recipient in ("aoife@example.ie", "nobody@example.ie", "somebody@elsewhere.example")
        }
    assert said == {"aoife@example.ie": None, "nobody@example.ie": 550, "somebody@elsewhere.example": 554}


@pytest.fixture
async def facing_the_internet(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[MemoryPost, int]]:
    post = three_regions()
    settings = ListenerSettings(certificate=write_certificate(tmp_path_factory.mktemp("certificate")))
    door = await serve_smtp(settings, Reception(post, "mx.example.ie", LIMITS))
    yield post, door.port
    await door.close()


async def run(command: str, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        require(command), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--tls",),
        ("--pipeline",),
        ("--header", "Subject: .dots and more"),
        ("--body", ".\n..\n.dot"),
        ("--from", "<>"),
    ],
)
async def test_swaks(facing_the_internet: tuple[MemoryPost, int], options: tuple[str, ...]) -> None:
    post, port = facing_the_internet
    if "--tls" in options and "TLS supported" not in (await run("swaks", "--support"))[1]:
        leave_out("swaks has no TLS on this machine (libnet-ssleay-perl)")
    status, output = await run(
        "swaks", "--server", f"127.0.0.1:{port}", "--to", ",".join(HOMES), "--helo", "client.example",
        "--from", "sender@client.example", *options,
    )  # fmt: skip
    assert status == 0, output
    assert sorted(copy.home for copy in post.copies) == sorted(HOMES.values())


async def test_smtp_source_on_many_connections(facing_the_internet: tuple[MemoryPost, int]) -> None:
    post, port = facing_the_internet
    for options in [(), ("-d",)]:
        status, output = await run(
            "smtp-source", "-s", "50", "-m", "1000", "-l", "10240", *options,
            "-f", "sender@client.example", "-t", "aoife@example.ie", f"127.0.0.1:{port}",
        )  # fmt: skip
        assert status == 0, output
    assert len(post.copies) == 2_000


async def test_smtp_source_over_lmtp_to_several_recipients() -> None:
    post = three_regions()
    for number in range(2, 6):  # smtp-source's recipients are 5aoife, 4aoife, 3aoife, 2aoife, aoife
        post.add(f"{number}aoife@example.ie", IRELAND)
    door = await serve_lmtp(ListenerSettings(), Reception(post, "store.example.ie", LIMITS))
    status, output = await run(
        "smtp-source", "-L", "-s", "10", "-m", "200", "-r", "5", "-d",
        "-f", "sender@client.example", "-t", "aoife@example.ie", f"127.0.0.1:{door.port}",
    )  # fmt: skip
    await door.close()
    assert status == 0, output
    assert len(post.copies) == 1_000
