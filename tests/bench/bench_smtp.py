"""Messages a second over SMTP into moto, against bare puts of the same octets into the same moto.

moto answers in Python and is the bound here: what counts is the ratio, how much of what the engine takes
is left when a mail server stands before it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from gateway.demo.scenes import IRELAND
from policy.geography import RegionCode
from storage.credentials import StaticKeys
from storage.objects import Access, Bucket
from tests.gateway.demos import running_demo

SESSIONS = 20
MESSAGES = 1_000
MESSAGE = b"Subject: benchmark\r\n\r\n" + b"0123456789abcdef" * 4 * 160 + b"\r\n"  # 10 KiB


async def session(host: str, port: int, recipient: str, messages: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)

    async def expect(code: bytes) -> None:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        assert line.startswith(code), line

    await expect(b"220")
    writer.write(b"EHLO bench.example\r\n")
    await expect(b"250")
    for _ in range(messages):
        writer.write(f"MAIL FROM:<a@bench.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            await expect(code)
        writer.write(MESSAGE + b".\r\n")
        await expect(b"250")
    writer.close()


async def over_smtp(address: str, recipient: str) -> float:
    host, port = address.split(":")
    began = time.perf_counter()
    share = MESSAGES // SESSIONS
    await asyncio.gather(*(session(host, int(port), recipient, share) for _ in range(SESSIONS)))
    return MESSAGES / (time.perf_counter() - began)


async def bare_puts(bucket: Bucket, octets: int) -> float:
    body, todo = bytes(octets), iter(range(MESSAGES))

    async def one_after_another() -> None:
        for number in todo:
            await bucket.put_if_absent(f"bench/{number}", body)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(SESSIONS)))
    return MESSAGES / (time.perf_counter() - began)


def run() -> None:
    with tempfile.TemporaryDirectory() as directory, running_demo(Path(directory) / "state") as demo:
        ireland = demo.card.regions[IRELAND]
        keys = StaticKeys(ireland.access_key_id, ireland.secret_access_key)
        access = Access(RegionCode.parse(IRELAND), ireland.endpoint, keys)
        bucket = Bucket(ireland.bucket, access)
        bare = asyncio.run(bare_puts(bucket, len(MESSAGE)))
        smtp = asyncio.run(over_smtp(demo.card.smtp, demo.card.home(IRELAND).address))
        print(f"bare puts of 10 KiB into moto, {SESSIONS} at once: {bare:8.0f} /s  (baseline)")
        print(f"SMTP, {SESSIONS} sessions, one put each:          {smtp:8.0f} /s  ({smtp / bare:.2f} x)")
