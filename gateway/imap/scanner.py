"""The words of RFC 3501 9, read from one command and nothing more generous than it.

A command reaches the scanner with its literals taken out: in the text a NUL, which no command
line can hold, stands where each of them stood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Final, final

from gateway.imap.names import BadName, decode_name
from gateway.imap.sequences import LARGEST, BadSequenceSet, SequenceSet

LITERAL_MARK: Final = b"\0"

# CHAR is 01-7F, CTL is 00-1F and 7F (RFC 3501 9). What each class leaves out stands here.
_ATOM: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_ASTRING: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
_LIST_CHARS: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){"\\]+')
# Octets above 7F are let through as RFC 9051 9 has them: a password may be UTF-8. Who cannot take
# them (a mailbox name, a search without a charset) says so.
_QUOTED: Final = re.compile(rb'"((?:[^\x00\r\n"\\]|\\["\\])*)"')
_ESCAPED: Final = re.compile(rb'\\(["\\])')
_NUMBER: Final = re.compile(rb"[0-9]{1,20}")
_PART_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,8}(?![0-9])")
_SET: Final = re.compile(rb"[0-9*][0-9*:,]*")
_FLAG: Final = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_DATE: Final = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
_DATE_TIME: Final = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS: Final = {name.lower().encode(): number for number, name in enumerate(MONTHS, 1)}


class BadCommand(Exception):
    """The command breaks a rule of the grammar, which the message names. It quotes nothing of the command."""


@final
@dataclass(frozen=True, slots=True)
class RawCommand:
    """A command as it came, without its last CRLF: the text, and the literals that it points to."""

    text: bytes
    literals: tuple[bytes, ...] = ()


@final
class Scanner:
    """Reads a command from left to right. Each method raises BadCommand where something else comes next."""

    def __init__(self, command: RawCommand) -> None:
        self._text: Final = command.text
        self._literals: Final = command.literals
        self._at = 0
        self._literal = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def next_is(self, octets: bytes) -> bool:
        """Whether `octets` come next, in any case of letters."""
        return self._text[self._at : self._at + len(octets)].upper() == octets.upper()

    def skip(self, octets: bytes) -> bool:
        """Passes over `octets` if they come next."""
        if self.next_is(octets):
            self._at += len(octets)
            return True
        return False

    def expect(self, octets: bytes, rule: str) -> None:
        if not self.skip(octets):
            raise BadCommand(rule)

    def space(self) -> None:
        self.expect(b" ", "one space is expected between arguments (RFC 3501 9)")

    def end(self) -> None:
        if not self.at_end:
            raise BadCommand("the command has more arguments than its syntax allows (RFC 3501 9)")

    def atom(self, rule: str = "an atom is expected (RFC 3501 9)") -> str:
        return self._take(_ATOM, rule).decode("ascii")

    def astring(self) -> bytes:
        """RFC 3501 9: `astring`, an atom that may hold "]", or a string."""
        found = _ASTRING.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            return found.group()
        return self.string("an atom or a string is expected (RFC 3501 9)")

    def string(self, rule: str = "a string is expected (RFC 3501 9)") -> bytes:
        """RFC 3501 9: `string`, quoted or a literal."""
        if self.next_is(LITERAL_MARK):
            return self.literal()
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise BadCommand(rule)
        self._at = found.end()
        return _ESCAPED.sub(rb"\1", found.group(1))

    def literal(self) -> bytes:
        """RFC 3501 4.3."""
        self.expect(LITERAL_MARK, "a literal is expected (RFC 3501 4.3)")
        octets = self._literals[self._literal]
        self._literal += 1
        return octets

    def mailbox(self) -> str:
        """RFC 3501 5.1: a mailbox name, with INBOX in whatever case as INBOX."""
        return _name(self.astring())

    def list_mailbox(self) -> str:
        """RFC 3501 9: `list-mailbox`, a name in which % and * may stand."""
        found = _LIST_CHARS.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            return _name(found.group())
        return _name(self.string("a mailbox pattern is expected (RFC 3501 6.3.8)"))

    def number(self, rule: str = "a number is expected (RFC 3501 9)", *, largest: int = LARGEST) -> int:
        start = self._at
        value = int(self._take(_NUMBER, rule))
        if value > largest:
            self._at = start
            raise BadCommand(f"a number is {largest} at most (RFC 3501 9)")
        return value

    def sequence_set(self) -> SequenceSet:
        start = self._at
        text = self._take(_SET, "a sequence set is expected (RFC 3501 9)").decode("ascii")
        try:
            return SequenceSet.parse(text)
        except BadSequenceSet as error:
            self._at = start
            raise BadCommand(str(error)) from None

    def part_number(self) -> int | None:
        """A number of a section (RFC 3501 9, `section-part`); None where none comes next."""
        found = _PART_NUMBER.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return int(found.group())

    def at_sequence_set(self) -> bool:
        """Whether a sequence set comes next: search keys begin with letters, sets never do."""
        return _SET.match(self._text, self._at) is not None

    def flag(self) -> str:
        """RFC 3501 9: `flag`. `\\Recent` is none that a client may name."""
        return self._take(_FLAG, "a flag is expected (RFC 3501 9)").decode("ascii")

    def flag_list(self) -> tuple[str, ...]:
        """RFC 3501 9: `flag-list`, which may be empty."""
        self.expect(b"(", "a list of flags is expected in parentheses (RFC 3501 9)")
        flags: list[str] = []
        while not self.skip(b")"):
            if flags:
                self.space()
            flags.append(self.flag())
        return tuple(flags)

    def date(self) -> date:
        """RFC 3501 9: `date`, `1-Feb-1994` with or without quotes."""
        found = _DATE.match(self._text, self._at)
        if found is None:
            raise BadCommand("a date is expected, such as 1-Feb-1994 (RFC 3501 9)")
        _, day, month, year = found.groups()
        try:
            parsed = date(int(year), _MONTHS[month.lower()], int(day))
        except (KeyError, ValueError):
            raise BadCommand("there is no such date (RFC 3501 9)") from None
        self._at = found.end()
        return parsed

    def date_time(self) -> datetime:
        """RFC 3501 9: `date-time`, with the zone that it names."""
        found = _DATE_TIME.match(self._text, self._at)
        if found is None:
            raise BadCommand('a date-time is expected, such as "17-Jul-1996 02:44:25 -0700" (RFC 3501 9)')
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        try:
            zone = timezone(-offset if sign == b"-" else offset)
            day_of_year = date(int(year), _MONTHS[month.lower()], int(day))
            moment = datetime.combine(day_of_year, time(int(hour), int(minute), int(second)), zone)
        except (KeyError, ValueError):
            raise BadCommand("there is no such date and time (RFC 3501 9)") from None
        self._at = found.end()
        return moment

    def _take(self, pattern: re.Pattern[bytes], rule: str) -> bytes:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise BadCommand(rule)
        self._at = found.end()
        return found.group()


def _name(octets: bytes) -> str:
    try:
        return decode_name(octets)
    except BadName as error:
        raise BadCommand(str(error)) from None
