"""The memory bound, measured from outside: what the process takes, not what it thinks it takes."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter

import pytest

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

MIB = 1024 * 1024
SENDERS, SIZE, BOUND = 500, 25, 256
ENVELOPE = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<aoife@example.ie>\r\nDATA\r\n"
# Octets that do not compress: sealing then takes the most memory.
_TEXT = bytes(set(range(33, 256)) - {46})
_CHANCE = random.Random(4)
PIECE = b"".join(bytes(_CHANCE.choices(_TEXT, k=1_022)) + b"\r\n" for _ in range(64))


async def slow_sender(port: int, pieces: int) -> str:
    """Sends 25 MiB in pieces of 64 KiB, each a while after the other; the last reply's code."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(ENVELOPE)
        reply = b""
        while not reply.startswith((b"354", b"421")):
            reply = await reader.readline()
        for _ in range(pieces if reply.startswith(b"354") else 0):
            writer.write(PIECE)
            await writer.drain()
            await asyncio.sleep(0.01)
            if reader._buffer:  # type: ignore[attr-defined]  # told to stop: a mail server would notice too
                break
        else:
            writer.write(b".\r\n")
        return (await reader.readline() or reply)[:9].decode()
    except ConnectionError:
        return "lost"
    finally:
        writer.close()


async def test_500_slow_senders_of_25_mib_do_not_take_the_process_past_its_bound() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ingress.lonely_door", str(SIZE), str(BOUND),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        pieces = SIZE * MIB // len(PIECE) - 1
        replies = Counter(await asyncio.gather(*(slow_sender(port, pieces) for _ in range(SENDERS))))
        process.stdin.close()
        before, peak = map(int, (await process.stdout.readline()).split())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert set(replies) <= {"250 2.6.0", "421 4.3.1"}
    # Those that fit into the share of mail that comes in are served.
    assert replies["250 2.6.0"] >= 3
    assert (peak - before) / 1024 <= BOUND, replies
