"""Mail to test with: CPython's own test mails where the interpreter ships them, and mails made here.

Every mail is what a client would send as message data: CRLF line ends, the last line ended. What a
client may not send (a bare CR or LF, a NUL) stands in `REFUSED`.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Mail:
    """A message with its envelope. `recipient` is the mailbox in `MAILBOXES` that it goes to."""

    name: str
    content: bytes
    sender: str = "sender@client.example"
    smtputf8: bool = False


def canonical(raw: bytes) -> bytes:
    """Any line ends -> CRLF, and the last line ended: what a client makes of a file before it sends it."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


def interpreter_mails() -> Iterator[Mail]:
    """`test/test_email/data/msg_*.txt`, where this interpreter has them (Debian's does not)."""
    for path in sorted(Path(sysconfig.get_path("stdlib"), "test", "test_email", "data").glob("*.txt")):
        yield Mail(f"cpython {path.name}", canonical(path.read_bytes()))


def made_mails() -> Iterator[Mail]:
    """What goes wrong in mail servers, one mail for each."""
    header = b"From: Sender <sender@client.example>\r\nTo: you\r\nSubject: test\r\n"
    yield Mail("plain", header + b"\r\nhello\r\n")
    yield Mail("null sender", header + b"\r\na bounce\r\n", sender="")
    yield Mail("empty", b"")
    yield Mail("empty body", header + b"\r\n")
    yield Mail("no body and no blank line", header)
    yield Mail("no header", b"\r\njust a body\r\n")
    yield Mail("blank lines at the end", header + b"\r\nhello\r\n\r\n\r\n\r\n")
    yield Mail("dots", header + b"\r\n.\r\n..\r\n...\r\n.hello\r\n..hello\r\nhello.\r\n.\r\n\r\n.\r\n")
    yield Mail("dot first", b".begins with a dot: no header\r\n")
    yield Mail("8 bit", header + b"\r\n" + bytes(range(0x80, 0x100)) + b"\r\n")
    yield Mail(
        "every octet but NUL, CR, LF", header + b"\r\n" + bytes(set(range(1, 256)) - {10, 13}) + b"\r\n"
    )
    yield Mail("control characters", header + b"\r\n\x01\x07\x08\x0b\x0c\x1a\x1b[31m\x7f\r\n")
    yield Mail("long line", header + b"\r\n" + b"x" * 60_000 + b"\r\n")
    yield Mail("long header line", b"Subject: " + b"y" * 50_000 + b"\r\n\r\nhello\r\n")
    yield Mail("line of 998", header + b"\r\n" + b"z" * 998 + b"\r\n")
    yield Mail("many short lines", header + b"\r\n" + b"\r\n" * 100_000)
    yield Mail(
        "UTF-8 header", "Subject: Grüße aus Köln\r\nFrom: <müller@client.example>\r\n\r\nhallo\r\n".encode()
    )
    yield Mail(
        "SMTPUTF8", "Subject: 你好\r\n\r\n世界\r\n".encode(), sender="用户@client.example", smtputf8=True
    )
    yield Mail(
        "looks like trace",
        b"Return-Path: <x@y.example>\r\nReceived: from a by b; c\r\n" + header + b"\r\nhi\r\n",
    )
    yield Mail(
        "looks like SMTP",
        header + b"\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nQUIT\r\n",
    )
    yield Mail("MIME", _multipart())
    yield Mail("10 MiB", header + b"\r\n" + _noise(10 * _MIB))


@cache
def corpus() -> tuple[Mail, ...]:
    """Every mail that has to come back octet for octet."""
    return (*interpreter_mails(), *made_mails())


# What a client sends as message data, and must be refused: nothing of it may be stored.
REFUSED: dict[str, bytes] = {
    "NUL in the body": b"Subject: x\r\n\r\nbefore\0after\r\n",
    "NUL in the header": b"Subject: x\0y\r\n\r\nhello\r\n",
    "bare LF": b"Subject: x\r\n\r\none\ntwo\r\n",
    "bare CR": b"Subject: x\r\n\r\none\rtwo\r\n",
    "CR CR LF": b"Subject: x\r\n\r\none\r\r\ntwo\r\n",
    "LF CR": b"Subject: x\r\n\r\none\n\rtwo\r\n",
    "line over the limit": b"Subject: x\r\n\r\n" + b"x" * 70_000 + b"\r\n",
    "a loop": b"Received: from a by b; c\r\n" * 101 + b"\r\nhello\r\n",
}


def _multipart() -> bytes:
    parts = [
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/mixed; boundary="=_b"',
        b"",
        b"preamble",
        b"--=_b",
        b"Content-Type: application/octet-stream",
        b"Content-Transfer-Encoding: base64",
        b"",
        b"AAECAwQFBgcICQ==",
        b"--=_b",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"",
        "naïve".encode(),
        b"--=_b--",
        b"epilogue",
    ]
    return b"\r\n".join(parts) + b"\r\n"


def _noise(octets: int) -> bytes:
    """Lines that do not compress, the same in every run."""
    chance = random.Random(20261124)
    line_length = 76
    lines = []
    for _ in range(octets // (line_length + 2)):
        lines.append(chance.randbytes(line_length // 2).hex().encode())
    return b"\r\n".join(lines) + b"\r\n"
