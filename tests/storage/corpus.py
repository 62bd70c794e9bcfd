"""Mails to deliver: every kind that a server sees, each with its CRLF line ends, as octets.

CPython's own e-mail test data comes first, where the interpreter ships it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path


def corpus() -> Iterator[tuple[str, bytes]]:
    """(name, message) pairs; the names are unique."""
    for path in _cpython():
        yield f"cpython/{path.name}", _crlf(path.read_bytes())
    yield from _made().items()


def _cpython() -> list[Path]:
    found = importlib.util.find_spec("test.test_email") if importlib.util.find_spec("test") else None
    folders = found.submodule_search_locations if found is not None else None
    return sorted(Path(folders[0], "data").glob("*.txt")) if folders else []


def _crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _made() -> dict[str, bytes]:
    head = b"From: a@example.ie\r\nTo: b@example.de\r\nSubject: s\r\nMessage-ID: <1@example.ie>\r\n"
    return {
        "empty": b"",
        "empty body": head + b"\r\n",
        "no header": b"\r\njust a body\r\n",
        "no empty line": head,
        "no final newline": head + b"\r\nthe end",
        "8-bit": head + b"\r\n" + bytes(range(1, 256)) * 4 + b"\r\n",
        "latin-1 header": "From: Jürgen <j@example.de>\r\n\r\nGrüße\r\n".encode("latin-1"),
        "smtputf8": "From: Seán <seán@example.ie>\r\nTo: 用户@例子.test\r\n\r\nDia duit\r\n".encode(),
        "dots": head + b"\r\n.\r\n..\r\n.leading\r\n",
        "long lines": head + b"\r\n" + b"x" * 100_000 + b"\r\n",
        "folded": b"To: a@example.ie,\r\n\tb@example.de,\r\n c@example.com\r\n\r\nx\r\n",
        "zip bomb": head + b"\r\n" + b"0" * 5_000_000,
        "10 MiB": head + b"\r\n" + (bytes(range(1, 251)) + b"\r\n") * 41_612,
    }
