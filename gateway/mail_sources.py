"""Mail as other programs keep it: Maildir and mbox, read one message at a time.

Line ends become CRLF, which is how mail travels (RFC 5322 2.1) and what every other message in a
mailbox has; nothing else of a message is changed. An mbox that quotes "From " lines is unquoted as
mboxrd is: RFC 4155 names no escape at all, and of those in use it is the one that can be undone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from storage.flags import Flags
from storage.importing import Found

# https://cr.yp.to/proto/maildir.html, "info"
_MAILDIR_FLAGS: Final = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
    "P": "$Forwarded",
}
# Status and X-Status as mutt and c-client write them.
_MBOX_FLAGS: Final = {
    "R": "\\Seen",
    "A": "\\Answered",
    "F": "\\Flagged",
    "D": "\\Deleted",
    "T": "\\Draft",
}
_FROM: Final = re.compile(
    rb"From (?P<sender>\S*) +(?P<date>\w{3} \w{3} [ \d]\d \d\d:\d\d(?::\d\d)?.*\d{4}.*)$"
)
_QUOTED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_STATUS: Final = re.compile(rb"^(?:X-)?Status:[ \t]*([A-Z]*)", re.MULTILINE | re.IGNORECASE)
_DATE: Final = re.compile(rb"^Date:((?:[^\n]*\n[ \t])*[^\n]*)", re.MULTILINE | re.IGNORECASE)
_RETURN_PATH: Final = re.compile(rb"^Return-Path:[ \t]*<([^>\r\n]*)>", re.MULTILINE | re.IGNORECASE)
_HEADER_LIMIT: Final = 64 * 1024
# A message's name counts its milliseconds from here (RFC 9562 5.7), and `datetime` ends there: what was
# dated before or after is kept as of this moment. Its own Date field says what it says.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)


class SourceError(Exception):
    """A directory or file that is not what it was said to be; the message names it."""


def count_maildir(directory: Path) -> int:
    """How many messages there are: for a progress bar."""
    return sum(1 for folder, _ in _folders(directory) for _ in _files(folder))


def read_maildir(directory: Path) -> Iterator[Found]:
    """The messages of a Maildir and of its Maildir++ subfolders, folder by folder, oldest first.

    A message's date is its file's, which is where delivery agents keep it (Dovecot, Courier).
    Raises SourceError.
    """
    for folder, name in _folders(directory):
        for path in sorted(_files(folder)):
            unique, _, info = _readable(path.name).partition(":2,")
            flags = frozenset(_MAILDIR_FLAGS[letter] for letter in info if letter in _MAILDIR_FLAGS)
            content = _crlf(path.read_bytes())
            seconds = path.stat().st_mtime
            received = datetime.fromtimestamp(min(max(seconds, 0), _LAST.timestamp()), UTC)
            yield Found(f"{name}/{unique}", content, received, _sender(content), Flags(name, flags))


def read_mbox(path: Path) -> Iterator[Found]:
    """The messages of an mbox file. A message's date is its "From " line's, else its Date field's.

    Raises SourceError.
    """
    for position, (envelope, raw) in enumerate(_mbox_messages(path)):
        head = raw[:_HEADER_LIMIT]
        letters = b"".join(_STATUS.findall(head.partition(b"\n\n")[0])).decode().upper()
        flags = frozenset(_MBOX_FLAGS[letter] for letter in letters if letter in _MBOX_FLAGS)
        content = _crlf(_QUOTED.sub(rb"\1", raw))
        received = _from_date(envelope["date"]) or _date_field(head)
        if received is None:
            raise SourceError(f"{path}: message {position + 1} has no date that can be read")
        sender = envelope["sender"].decode("utf-8", "replace")
        sender = "" if sender == "MAILER-DAEMON" else sender
        yield Found(f"mbox/{position}", content, received, sender, Flags("INBOX", flags))


def _folders(directory: Path) -> Iterator[tuple[Path, str]]:
    if not (directory / "cur").is_dir():
        raise SourceError(f"{directory}: not a Maildir, it has no cur/")
    yield directory, "INBOX"
    for folder in sorted(directory.glob(".*")):
        if (folder / "cur").is_dir():
            yield folder, _readable(folder.name)[1:].replace(".", "/")


def _readable(name: str) -> str:
    """A file's name that may not be UTF-8: the octets that are not stand as `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(folder: Path) -> Iterator[Path]:
    for part in ("cur", "new"):  # never tmp: what lies there has not been delivered
        if (folder / part).is_dir():
            yield from (path for path in (folder / part).iterdir() if path.is_file())


def _mbox_messages(path: Path) -> Iterator[tuple[re.Match[bytes], bytes]]:
    envelope: re.Match[bytes] | None = None
    lines: list[bytes] = []
    after_blank = True
    with path.open("rb") as file:
        for line in file:
            # RFC 4155: an envelope line follows an empty line, or begins the file.
            found = _FROM.match(line.rstrip(b"\r\n")) if after_blank and line.startswith(b"From ") else None
            if found is not None:
                if envelope is not None:
                    yield envelope, _without_last_blank(lines)
                envelope, lines = found, []
            elif envelope is None:
                raise SourceError(f"{path}: not an mbox, it does not begin with a 'From ' line")
            else:
                lines.append(line)
            after_blank = line in (b"\n", b"\r\n")
    if envelope is not None:
        yield envelope, _without_last_blank(lines)


def _without_last_blank(lines: list[bytes]) -> bytes:
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    return b"".join(lines)


def _crlf(content: bytes) -> bytes:
    return _BARE_LF.sub(b"\r\n", content)


def _sender(content: bytes) -> str:
    found = _RETURN_PATH.search(content[:_HEADER_LIMIT])
    return found.group(1).decode("utf-8", "replace") if found else ""


def _from_date(text: bytes) -> datetime | None:
    """asctime, which RFC 4155 wants in UTC; a zone that stands before or after the year is obeyed."""
    words = text.decode("ascii", "replace").split()
    zone = [word for word in words[3:] if re.fullmatch(r"[+-]\d{4}", word)]
    year = [word for word in words[4:] if re.fullmatch(r"\d{4}", word)]
    clock = words[3] if words[3].count(":") == 2 else words[3] + ":00"
    if not year:
        return None
    try:
        return _utc(f"{words[2]} {words[1]} {year[0]} {clock} {zone[0] if zone else '+0000'}")
    except (ValueError, OverflowError):
        return None


def _date_field(head: bytes) -> datetime | None:
    if (found := _DATE.search(head)) is None:
        return None
    try:
        return _utc(found.group(1).decode("ascii", "replace"))
    except (ValueError, OverflowError):
        return None


def _utc(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), _FIRST)
