"""SEARCH's arguments (RFC 3501 6.4.4 and 9, `search-key`) -> a tree of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from gateway.imap.replies import Refused, no
from gateway.imap.scanner import BadCommand, Scanner
from gateway.imap.search_keys import (
    ChangedSince,
    Either,
    Every,
    Flagged,
    InBody,
    InField,
    InText,
    Key,
    Larger,
    Not,
    Numbers,
    Received,
    Sent,
    Smaller,
    When,
)

_DEEPEST: Final = 50
_MOST_KEYS: Final = 1_000
_LARGEST_MODSEQ: Final = (1 << 63) - 1  # RFC 7162 7
_CHARSETS: Final = {"US-ASCII": "ascii", "UTF-8": "utf-8"}
_BAD_CHARSET: Final = no("US-ASCII and UTF-8 are searched in", "BADCHARSET (US-ASCII UTF-8)")

_FLAGS: Final = ("Answered", "Deleted", "Draft", "Flagged", "Recent", "Seen")
_WORDS: Final[dict[str, Key]] = {
    "ALL": Every(()),
    **{flag.upper(): Flagged(f"\\{flag}") for flag in _FLAGS},
    **{f"UN{flag.upper()}": Not(Flagged(f"\\{flag}")) for flag in _FLAGS if flag != "Recent"},
    "NEW": Every((Flagged("\\Recent"), Not(Flagged("\\Seen")))),
    "OLD": Not(Flagged("\\Recent")),
}
_FIELDS: Final = {"BCC", "CC", "FROM", "SUBJECT", "TO"}


@final
@dataclass(frozen=True, slots=True)
class Search:
    """`counts_changes`: it asks by modification sequence, and is told the highest one that it found."""

    key: Key
    counts_changes: bool


def search(scanner: Scanner) -> Search:
    """Raises BadCommand, and Refused for a charset that is not known (RFC 3501 6.4.4)."""
    charset = "ascii"
    if scanner.skip(b"CHARSET "):
        name = scanner.astring().decode("latin-1").upper()
        if name not in _CHARSETS:
            raise Refused(_BAD_CHARSET)
        charset = _CHARSETS[name]
        scanner.space()
    reading = _Reading(scanner, charset)
    keys = [reading.key(0)]
    while not scanner.at_end:
        scanner.space()
        keys.append(reading.key(0))
    return Search(Every(tuple(keys)), reading.counts_changes)


@final
class _Reading:
    """One SEARCH on its way."""

    def __init__(self, scanner: Scanner, charset: str) -> None:
        self._scanner: Final = scanner
        self._charset: Final = charset
        self._keys = 0
        self.counts_changes = False

    def key(self, depth: int) -> Key:
        scanner = self._scanner
        self._keys += 1
        if depth > _DEEPEST or self._keys > _MOST_KEYS:
            raise BadCommand(f"SEARCH takes {_MOST_KEYS} keys at most here, {_DEEPEST} deep")
        if scanner.skip(b"("):
            keys = [self.key(depth + 1)]
            while not scanner.skip(b")"):
                scanner.space()
                keys.append(self.key(depth + 1))
            return Every(tuple(keys))
        if scanner.at_sequence_set():
            return Numbers(scanner.sequence_set(), uids=False)
        word = scanner.atom("a search key is expected (RFC 3501 6.4.4)").upper()
        if word in _WORDS:
            return _WORDS[word]
        scanner.space()
        if word == "NOT":
            return Not(self.key(depth + 1))
        if word == "OR":
            one = self.key(depth + 1)
            scanner.space()
            return Either(one, self.key(depth + 1))
        return self._with_argument(word)

    def _with_argument(self, word: str) -> Key:
        scanner = self._scanner
        if word in _FIELDS:
            return InField(word.lower().encode("ascii"), self._text())
        if word in _ARGUMENTS:
            return _ARGUMENTS[word](scanner)
        match word:
            case "BODY":
                return InBody(self._text())
            case "TEXT":
                return InText(self._text())
            case "HEADER":
                name = scanner.astring().lower()
                scanner.space()
                return InField(name, self._text())
            case "MODSEQ":
                self.counts_changes = True
                return self._modseq()
            case _:
                raise BadCommand("there is no such search key (RFC 3501 6.4.4)")

    def _modseq(self) -> Key:
        """RFC 7162 3.1.5. An entry name narrows it to one flag's changes, which are not kept one by one:
        any change of the message's flags counts, as the RFC allows."""
        scanner = self._scanner
        if scanner.next_is(b'"'):
            scanner.string()
            scanner.space()
            if scanner.atom().lower() not in ("priv", "shared", "all"):
                raise BadCommand("priv, shared or all is expected (RFC 7162 3.1.5)")
            scanner.space()
        return ChangedSince(scanner.number(largest=_LARGEST_MODSEQ))

    def _text(self) -> str:
        try:
            return self._scanner.astring().decode(self._charset)
        except UnicodeDecodeError:
            raise BadCommand("the text is not in the search's CHARSET (RFC 3501 6.4.4)") from None


def _keyword(scanner: Scanner) -> Key:
    return Flagged(scanner.atom("a keyword is expected (RFC 3501 6.4.4)"))


_ARGUMENTS: Final[dict[str, Callable[[Scanner], Key]]] = {
    "BEFORE": lambda scanner: Received(When.BEFORE, scanner.date()),
    "ON": lambda scanner: Received(When.ON, scanner.date()),
    "SINCE": lambda scanner: Received(When.SINCE, scanner.date()),
    "SENTBEFORE": lambda scanner: Sent(When.BEFORE, scanner.date()),
    "SENTON": lambda scanner: Sent(When.ON, scanner.date()),
    "SENTSINCE": lambda scanner: Sent(When.SINCE, scanner.date()),
    "LARGER": lambda scanner: Larger(scanner.number()),
    "SMALLER": lambda scanner: Smaller(scanner.number()),
    "UID": lambda scanner: Numbers(scanner.sequence_set(), uids=True),
    "KEYWORD": _keyword,
    "UNKEYWORD": lambda scanner: Not(_keyword(scanner)),
}
