"""Random peers: sessions of commands that are right, nearly right, mangled, cut up and out of order.

Many sessions run at once against one door. Each has a sender of its own and marks its messages
with it, so that anything that crosses from one session into another can be seen in what is stored.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ingress.door import Door
from tests.ingress.posts import MemoryPost

_REPLY = re.compile(rb"(?:[245]\d\d[ -]|354 )[ -~]*\r\n\Z")
_SESSIONS_AT_ONCE = 20
_NASTY = [
    b"\r",
    b"\n",
    b"\0",
    b"\r\n",
    b"\n.\n",
    b"\r\n.\r",
    b"\xff",
    b"<",
    b">",
    b'"',
    b"\\",
    b" ",
    b"=",
    b"\t",
]


@dataclass
class Findings:
    """What a run has seen: how many commands were sent, and each reply code."""

    commands: int = 0
    sessions: int = 0
    stored: int = 0
    codes: Counter[str] = field(default_factory=Counter)


async def fuzz(door: Door, post: MemoryPost, commands: int, seed: int) -> Findings:
    """Sends so many commands. Raises AssertionError for whatever a peer must never see."""
    findings = Findings()
    chance = random.Random(seed)
    while findings.commands < commands:
        marks = [chance.randbytes(8).hex().encode() for _ in range(_SESSIONS_AT_ONCE)]
        peers = (_session(door.port, mark, random.Random(chance.random()), findings) for mark in marks)
        await asyncio.gather(*peers)
        for copy in post.copies:
            # A mark may be mangled, but never into another session's.
            whole = copy.envelope.sender.encode() + copy.envelope.helo.encode() + copy.content
            assert sum(mark in whole for mark in marks) <= 1, copy
        findings.stored += len(post.copies)
        post.copies.clear()
    return findings


async def _session(port: int, mark: bytes, chance: random.Random, findings: Findings) -> None:
    units = [_unit(chance, mark) for _ in range(chance.randint(1, 60))]
    if chance.random() < 0.8:
        units.insert(0, b"EHLO %b\r\nLHLO %b\r\n" % (mark, mark))  # one of them is this door's
    findings.commands += len(units)
    findings.sessions += 1
    octets = b"".join(units)
    if chance.random() < 0.9:
        octets += b"\r\n.\r\nRSET\r\nQUIT\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            receiving = asyncio.create_task(reader.read())
            while octets and not writer.transport.is_closing():
                size = chance.choice([1, 2, 7, 100, 5_000, 100_000])
                writer.write(octets[:size])
                octets = octets[size:]
                await asyncio.sleep(0)
            if writer.can_write_eof() and not writer.transport.is_closing():
                writer.write_eof()
            answer = await receiving
    except OSError:
        return  # the session had ended, and we were still sending
    finally:
        writer.close()
    lines = answer.splitlines(keepends=True)
    assert lines, "not even a greeting"
    for line in lines:
        assert _REPLY.match(line), line
        findings.codes[line[:3].decode()] += 1


def _unit(chance: random.Random, mark: bytes) -> bytes:
    """One command with what belongs to it, perhaps mangled."""
    make = chance.choice(_COMMANDS)
    if chance.random() < 0.01:
        return chance.choice([b"QUIT\r\n", b"BDAT x\r\n", b"BDAT 9999999\r\n", b"STARTTLS\r\n"])  # the end
    unit = make(chance, mark)
    if chance.random() < 0.15:
        unit = _mangled(chance, unit)
    return unit


def _mangled(chance: random.Random, unit: bytes) -> bytes:
    at = chance.randrange(len(unit))
    match chance.randrange(5):
        case 0:
            return unit[:at] + chance.choice(_NASTY) + unit[at:]
        case 1:
            return unit[:at] + unit[at + 1 :]
        case 2:
            return unit[:at] + bytes([chance.randrange(256)]) + unit[at + 1 :]
        case 3:
            return unit[:at] + unit[at : at + 8] * chance.randint(2, 400) + unit[at:]
        case _:
            return chance.randbytes(chance.randint(1, 40)) + b"\r\n"


_MAILBOXES = [
    *b"aoife@example.ie bernd@example.de carol@example.com".split() * 6,
    *b"nobody@example.ie postmaster a@b@c".split(),
    *b"@a,@b:aoife@example.ie a@[127.0.0.1] a@[IPv6:::1]".split(),
    b"",
    b'"a b"@example.ie',
    b'"\\""@example.ie',
    b"a" * 300 + b"@b.example",
    "ä@b.example".encode(),
]
_PARAMETERS = (
    b"SIZE=10 SIZE=99999999 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+2B NOTIFY=NEVER ORCPT=rfc822;a@b X ="
).split()
_LINES = [
    b"",
    b"text",
    b"..",
    b"..stuffed",
    b"x" * 998,
    b"\xe4\xf6",
    b"MAIL FROM:<>",
    b"Received: x",
]
_SIMPLE = [
    *b"NOOP RSET HELP noop RCPT .".split(),
    *(b"VRFY aoife|EXPN x|EHLO client.example|HELO c|AUTH PLAIN =|DATA x|MAIL FROM:").split(b"|"),
    b"HELO [1.2.3.4]",
    b"",
]


def _parameters(chance: random.Random) -> bytes:
    return b"".join(b" " + each for each in chance.sample(_PARAMETERS, chance.choice([0, 0, 0, 0, 0, 1, 2])))


def _message(chance: random.Random, mark: bytes) -> bytes:
    lines = [b"[" + mark + b"]", *chance.choices(_LINES, k=chance.randint(0, 12))]
    return b"\r\n".join(lines) + b"\r\n"


def _data(chance: random.Random, mark: bytes) -> bytes:
    return b"DATA\r\n" + _message(chance, mark) + b".\r\n"


def _bdat(chance: random.Random, mark: bytes) -> bytes:
    message = _message(chance, mark)
    return b"BDAT %d%b\r\n" % (len(message), chance.choice([b"", b" LAST", b" LAST", b" last"])) + message


def _transaction(chance: random.Random, mark: bytes) -> bytes:
    end = chance.choice([_data, _bdat])
    return b"RSET\r\n" + _mail(chance, mark) + _rcpt(chance, mark) + end(chance, mark)


def _mail(chance: random.Random, mark: bytes) -> bytes:
    return b"MAIL FROM:<%b@client.example>%b\r\n" % (mark, _parameters(chance))


def _rcpt(chance: random.Random, _mark: bytes) -> bytes:
    return b"RCPT TO:<%b>%b\r\n" % (chance.choice(_MAILBOXES), _parameters(chance))


def _simple(chance: random.Random, _mark: bytes) -> bytes:
    return chance.choice(_SIMPLE) + b"\r\n"


_COMMANDS: list[Callable[[random.Random, bytes], bytes]] = [
    _simple, _simple, _mail, _rcpt, _data, _bdat, _transaction, _transaction, _transaction,
]  # fmt: skip
