"""Whatever a client sends, it gets a reply or its session ends; the next client never notices."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.imap.conftest import House
from tests.imap.test_reader import HELLO, deliver

WORDS = [
    *b"FETCH STORE SEARCH UID COPY MOVE LIST STATUS APPEND SELECT DONE LOGIN EXPUNGE ENABLE RENAME".split(),
    *b'1:* 1 2,7 INBOX Sent "Sent" "x \\" {3+} ( ) FLAGS BODY[] BODY[1.MIME] (FLAGS UID) ENVELOPE'.split(),
    *b"+FLAGS -FLAGS.SILENT \\Seen \\Deleted NOT OR ALL % * & &AOk- CHARSET NIL RETURN (SPECIAL-USE)".split(),
    b"\x80\xff",
    b"\x01",
    b"\r",
    b"",
]


def noise(rolled: random.Random) -> bytes:
    lines = []
    for number in range(40):
        words = rolled.choices(WORDS, k=rolled.randrange(7))
        lines.append(b" ".join([b"t%d" % number, *words]) + rolled.choice([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    return b"".join(lines)


@pytest.mark.parametrize("seed", range(30))
async def test_noise(house: House, seed: int) -> None:
    deliver(house, HELLO, HELLO)
    client = await house.reader()
    await client.send(noise(random.Random(seed)))
    client.writer.write_eof()
    async with asyncio.timeout(20):
        answered = await client.reader.read()
    assert b"SERVERBUG" not in answered
    assert b"Traceback" not in answered
    await (await house.resident()).play(
        """
        C: a1 NOOP
        S: a1 OK done
        """
    )
