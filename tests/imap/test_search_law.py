"""SEARCH answers with the messages that its keys describe, and with no others (RFC 3501 6.4.4): for any
mailbox and any tree of keys, against an oracle that knows what each message was made from and reads no octet.
"""

from __future__ import annotations

import asyncio
import base64
import quopri
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.imap import commands
from gateway.imap.conversation import Conversation
from gateway.imap.finding import find
from gateway.imap.opened import Opened
from gateway.imap.scanner import LITERAL_MARK, MONTHS, RawCommand, Scanner
from storage.folders import Folder
from tests.imap.memory_folders import MemoryFolder

WORDS = ("apple", "Pear", "Straße", "STRASSE", "grün", "Ωmega", 'a"b', "back\\slash", "100%", "(x)", "ok")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
NAMES = ("From", "To", "Cc", "Bcc", "Subject", "X-Own")
SYSTEM = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")
KEYWORDS = ("$Forwarded", "work")
DAYS = tuple(date(2024, 2, 28) + timedelta(days=n) for n in range(4))


@dataclass(frozen=True)
class Made:
    """A message by what it was made from. `parts` are texts that a reader sees, `attached` one that is not
    text, `inside` the subject of a message within."""

    fields: tuple[tuple[str, str], ...]
    sent: datetime | None
    parts: tuple[tuple[str, str, str], ...]  # text, charset, transfer encoding
    attached: str | None
    inside: str | None
    flags: frozenset[str]
    received: datetime
    octets: bytes = b""

    def seen_texts(self) -> list[str]:
        return [text for text, _, _ in self.parts] + ([self.inside] if self.inside is not None else [])

    def header_lines(self) -> list[str]:
        date_line = [] if self.sent is None else [f"Date: {_sent(self.sent)}"]
        return [f"{name}: {text}" for name, text in self.fields] + date_line


@dataclass(frozen=True)
class Place:
    """Where a message stands when it is asked for."""

    number: int
    uid: int
    count: int
    last_uid: int
    recent: bool


@dataclass(frozen=True)
class Asked:
    """A search key: as it is sent, with literals where there is a mark, and whom it describes."""

    text: bytes
    literals: tuple[bytes, ...]
    holds: Callable[[Made, Place], bool] = field(repr=False)


# -- messages


def _sent(moment: datetime) -> str:
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year} {moment:%H:%M:%S} {moment:%z}"


def _encoded(text: str) -> str:
    if text.isascii():
        return text
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="


def _part(text: str, charset: str, encoding: str) -> bytes:
    octets = text.encode(charset)
    match encoding:
        case "base64":
            octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
        case "quoted-printable":
            octets = quopri.encodestring(octets)
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + octets + b"\r\n"


def _written(made: Made) -> bytes:
    lines = [f"{name}: {_encoded(text)}" for name, text in made.fields]
    if made.sent is not None:
        lines.append(f"Date: {_sent(made.sent)}")
    header = "".join(f"{line}\r\n" for line in lines).encode()
    parts = [_part(*one) for one in made.parts]
    if made.attached is not None:
        content = base64.b64encode(made.attached.encode())
        parts.append(
            b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n" % content
        )
    if made.inside is not None:
        subject = _encoded(made.inside).encode()
        parts.append(b"Content-Type: message/rfc822\r\n\r\nSubject: %b\r\n\r\n\r\n" % subject)
    if len(parts) == 1 and made.parts:
        return header + parts[0]
    body = b"".join(b"--=_b\r\n" + part for part in parts) + b"--=_b--\r\n"
    return header + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_b"\r\n\r\n' + body


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-11)), timezone(timedelta(hours=5, minutes=30))])
MOMENTS = st.builds(
    lambda day, hour, zone: datetime(day.year, day.month, day.day, hour, 59, 1, tzinfo=zone),
    st.sampled_from(DAYS), st.sampled_from([0, 12, 23]), ZONES,
)  # fmt: skip
PARTS = st.tuples(
    TEXTS.filter(lambda text: "Ω" not in text),
    st.sampled_from(["utf-8", "iso-8859-1"]),
    st.sampled_from(["8bit", "base64", "quoted-printable"]),
)
MESSAGES = st.builds(
    Made,
    st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=4).map(tuple),
    st.none() | MOMENTS,
    st.lists(PARTS, min_size=1, max_size=2).map(tuple),
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.frozensets(st.sampled_from(SYSTEM + KEYWORDS), max_size=3),
    MOMENTS,
)


# -- keys


def folded(text: str) -> str:
    """Upper and lower case alike, and blanks of any length (RFC 3501 6.4.4; RFC 5322 2.2.3)."""
    return " ".join(text.casefold().split())


def within(text: str, *places: str) -> bool:
    return any(folded(text) in folded(place) for place in places)


def _key(word: str, holds: Callable[[Made, Place], bool]) -> Asked:
    return Asked(word.encode(), (), holds)


def _flag(flag: str) -> list[Asked]:
    word = flag[1:].upper()
    return [_key(word, lambda m, _: flag in m.flags), _key(f"UN{word}", lambda m, _: flag not in m.flags)]


def _keyword(word: str) -> list[Asked]:
    return [
        _key(f"KEYWORD {word}", lambda m, _: word in m.flags),
        _key(f"UNKEYWORD {word}", lambda m, _: word not in m.flags),
    ]


def _on_day(day: date) -> list[Asked]:
    def sent(holds: Callable[[date], bool]) -> Callable[[Made, Place], bool]:
        return lambda m, _: m.sent is not None and holds(m.sent.date())

    def received(holds: Callable[[date], bool]) -> Callable[[Made, Place], bool]:
        return lambda m, _: holds(m.received.astimezone(UTC).date())

    written = f"{day.day}-{MONTHS[day.month - 1]}-{day.year}"
    return [
        _key(f"BEFORE {written}", received(lambda here: here < day)),
        _key(f'ON "{written}"', received(lambda here: here == day)),
        _key(f"SINCE {written}", received(lambda here: here >= day)),
        _key(f"SENTBEFORE {written}", sent(lambda here: here < day)),
        _key(f"SENTON {written}", sent(lambda here: here == day)),
        _key(f"SENTSINCE {written}", sent(lambda here: here >= day)),
    ]


def _of_size(octets: int) -> list[Asked]:
    return [
        _key(f"LARGER {octets}", lambda m, _: len(m.octets) > octets),
        _key(f"SMALLER {octets}", lambda m, _: len(m.octets) < octets),
    ]


def _of_text(text: str) -> list[Asked]:
    def key(word: str, holds: Callable[[Made, Place], bool]) -> Asked:
        return Asked(word.encode() + b" " + LITERAL_MARK, (text.encode(),), holds)

    def in_field(name: str) -> Callable[[Made, Place], bool]:
        return lambda m, _: within(text, *(value for one, value in m.fields if one == name))

    return [
        *(key(name.upper(), in_field(name)) for name in ("From", "To", "Cc", "Bcc", "Subject")),
        *(key(f"HEADER {name.lower()}", in_field(name)) for name in ("X-Own", "Subject")),
        key("BODY", lambda m, _: within(text, *m.seen_texts())),
        key("TEXT", lambda m, _: within(text, *m.seen_texts(), *m.header_lines())),
    ]


def _numbers(ends: list[tuple[int | None, int | None]], *, by_uid: bool) -> Asked:
    """None is `*`."""

    def holds(_: Made, place: Place) -> bool:
        own, last = (place.uid, place.last_uid) if by_uid else (place.number, place.count)
        spans = [sorted((one or last, other or last)) for one, other in ends]
        return any(low <= own <= high for low, high in spans)

    written = ",".join(":".join("*" if end is None else str(end) for end in pair) for pair in ends)
    return _key(f"UID {written}" if by_uid else written, holds)


ENDS = st.none() | st.integers(1, 9)
SETS = st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=3)
# A message number that there is not is an error (RFC 3501 9), and no property of SEARCH.
FIRST = st.none() | st.just(1)
SIMPLE = st.sampled_from(
    [
        _key("ALL", lambda *_: True),
        _key("RECENT", lambda _, place: place.recent),
        _key("OLD", lambda _, place: not place.recent),
        _key("NEW", lambda m, place: place.recent and "\\Seen" not in m.flags),
        *(one for flag in SYSTEM for one in _flag(flag)),
        *(one for word in KEYWORDS for one in _keyword(word)),
    ]
)
KEYS = st.recursive(
    st.one_of(
        SIMPLE,
        st.sampled_from(DAYS).map(_on_day).flatmap(st.sampled_from),
        st.integers(0, 400).map(_of_size).flatmap(st.sampled_from),
        (TEXTS | st.sampled_from(["pp", "ss", "ü", "STRASSE", "apple pear", "@"]))
        .map(_of_text)
        .flatmap(st.sampled_from),
        SETS.map(lambda ends: _numbers(ends, by_uid=True)),
        st.lists(st.tuples(FIRST, FIRST), min_size=1, max_size=2).map(
            lambda ends: _numbers(ends, by_uid=False)
        ),
    ),
    lambda keys: st.one_of(
        keys.map(lambda k: Asked(b"NOT " + k.text, k.literals, lambda m, p: not k.holds(m, p))),
        st.tuples(keys, keys).map(lambda two: _either(*two)),
        st.lists(keys, min_size=1, max_size=3).map(lambda several: _every(several, b"(%b)")),
    ),
    max_leaves=8,
)


def _either(one: Asked, other: Asked) -> Asked:
    return Asked(
        b"OR %b %b" % (one.text, other.text),
        one.literals + other.literals,
        lambda m, p: one.holds(m, p) or other.holds(m, p),
    )


def _every(keys: list[Asked], form: bytes = b"%b") -> Asked:
    return Asked(
        form % b" ".join(key.text for key in keys),
        tuple(literal for key in keys for literal in key.literals),
        lambda m, p: all(key.holds(m, p) for key in keys),
    )


# -- the two beside each other


class _Talk:
    """As much of a conversation as SEARCH needs."""

    def __init__(self) -> None:
        self.condstore = False
        self.said = b""

    def say(self, *pieces: bytes) -> None:
        self.said += b"".join(pieces)


async def _found(
    mailbox: list[tuple[Made, bool, bool]], asked: Asked, *, by_uid: bool
) -> tuple[list[int], list[int]]:
    """What was answered, and what the oracle says."""
    folder = MemoryFolder("INBOX", 1)
    placed: list[tuple[int, Made, bool]] = []
    for made, old, gap in mailbox:
        if gap:
            del folder.mail[folder.deliver(b"gone by now")]
        octets = _written(made)
        placed.append((folder.deliver(octets, made.flags, made.received), replace(made, octets=octets), old))
        if old:
            await folder.refresh()
    talk = _Talk()
    view = await folder.refresh()
    opened = Opened(cast(Conversation, talk), cast(Folder, folder), "INBOX", view, read_only=False)
    raw = RawCommand(b" CHARSET UTF-8 " + asked.text, asked.literals)
    await find(cast(Conversation, talk), opened, commands.find(Scanner(raw), by_uid=by_uid))
    assert talk.said.startswith(b"* SEARCH")
    assert talk.said.endswith(b"\r\n")
    count, last = len(placed), placed[-1][0] if placed else 0
    seen = max((at for at, (_, _, old) in enumerate(placed) if old), default=-1)
    expected = [
        uid if by_uid else at + 1
        for at, (uid, made, _) in enumerate(placed)
        if asked.holds(made, Place(at + 1, uid, count, last, recent=at > seen))
    ]
    return [int(number) for number in talk.said.split()[2:]], expected


@settings(max_examples=150)
@given(
    st.lists(st.tuples(MESSAGES, st.booleans(), st.booleans()), max_size=5),
    st.lists(KEYS, min_size=1, max_size=3).map(_every),
    st.booleans(),
)
def test_search_finds_what_its_keys_describe(
    mailbox: list[tuple[Made, bool, bool]], asked: Asked, by_uid: bool
) -> None:
    """Each message comes with whether another session looked when it had come, and whether one has gone
    before it."""
    found, expected = asyncio.run(_found(mailbox, asked, by_uid=by_uid))
    assert found == expected


def test_a_size_is_neither_larger_nor_smaller_than_itself() -> None:
    made = Made(
        (), None, (("ok", "utf-8", "8bit"),), None, None, frozenset(), datetime(2024, 2, 28, tzinfo=UTC)
    )
    size = len(_written(made))
    for asked in (key for octets in (size - 1, size, size + 1) for key in _of_size(octets)):
        found, expected = asyncio.run(_found([(made, False, False)], asked, by_uid=True))
        assert found == expected, asked.text
