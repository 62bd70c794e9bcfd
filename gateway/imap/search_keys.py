"""What SEARCH asks for (RFC 3501 6.4.4), as types: a tree of keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import final

from gateway.imap.sequences import SequenceSet


class When(StrEnum):
    """RFC 3501 6.4.4: dates are compared without regard to time and time zone."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"

    def holds(self, here: date, asked: date) -> bool:
        match self:
            case When.BEFORE:
                return here < asked
            case When.ON:
                return here == asked
            case When.SINCE:
                return here >= asked


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """Messages by number, or by UID."""

    numbers: SequenceSet
    uids: bool


@final
@dataclass(frozen=True, slots=True)
class Flagged:
    """A flag or keyword is set; `\\Recent` is the session's own."""

    flag: str


@final
@dataclass(frozen=True, slots=True)
class Received:
    """By internal date."""

    when: When
    day: date


@final
@dataclass(frozen=True, slots=True)
class Sent:
    """By the Date field."""

    when: When
    day: date


@final
@dataclass(frozen=True, slots=True)
class Larger:
    octets: int


@final
@dataclass(frozen=True, slots=True)
class Smaller:
    octets: int


@final
@dataclass(frozen=True, slots=True)
class ChangedSince:
    """RFC 7162 3.1.5: a modification sequence of `modseq` or more."""

    modseq: int


@final
@dataclass(frozen=True, slots=True)
class InField:
    """A header field of that name (lower case) holds the text; "" is in every field that is there."""

    name: bytes
    text: str


@final
@dataclass(frozen=True, slots=True)
class InBody:
    text: str


@final
@dataclass(frozen=True, slots=True)
class InText:
    """In the header or the body."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Not:
    key: Key


@final
@dataclass(frozen=True, slots=True)
class Either:
    one: Key
    other: Key


@final
@dataclass(frozen=True, slots=True)
class Every:
    """All of the keys; none of them is ALL."""

    keys: tuple[Key, ...]


Key = (
    Numbers
    | Flagged
    | Received
    | Sent
    | Larger
    | Smaller
    | ChangedSince
    | InField
    | InBody
    | InText
    | Not
    | Either
    | Every
)
