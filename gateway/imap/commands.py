"""Commands as types: each is made by parsing its arguments to their end (RFC 3501 6 and 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, final

from gateway.imap.fetch_grammar import FetchItem, fetch_items
from gateway.imap.scanner import BadCommand, Scanner
from gateway.imap.search_grammar import Search, search
from gateway.imap.sequences import SequenceSet
from storage.folder_types import FlagChange, FlagMode

# RFC 7162 7: mod-sequence-value has 63 bits.
LARGEST_MODSEQ: Final = (1 << 63) - 1


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """A command without arguments."""


@final
@dataclass(frozen=True, slots=True)
class Login:
    user: bytes
    password: bytes


@final
@dataclass(frozen=True, slots=True)
class Authenticate:
    """`initial` is the initial response as it was sent (RFC 4959), None where there is none."""

    mechanism: str
    initial: str | None


@final
@dataclass(frozen=True, slots=True)
class Enable:
    extensions: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Select:
    name: str
    condstore: bool


@final
@dataclass(frozen=True, slots=True)
class Named:
    name: str


@final
@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


class StatusItem(StrEnum):
    """RFC 3501 6.3.10, RFC 7162 3.1.7, RFC 7889 5."""

    MESSAGES = "MESSAGES"
    RECENT = "RECENT"
    UIDNEXT = "UIDNEXT"
    UIDVALIDITY = "UIDVALIDITY"
    UNSEEN = "UNSEEN"
    HIGHESTMODSEQ = "HIGHESTMODSEQ"
    APPENDLIMIT = "APPENDLIMIT"


@final
@dataclass(frozen=True, slots=True)
class StatusOf:
    name: str
    items: tuple[StatusItem, ...]


@final
@dataclass(frozen=True, slots=True)
class Append:
    name: str
    flags: frozenset[str]
    date: datetime | None
    content: bytes


@final
@dataclass(frozen=True, slots=True)
class Expunge:
    """`chosen` is None for EXPUNGE, and the set of UID EXPUNGE (RFC 4315 2.1)."""

    chosen: SequenceSet | None


@final
@dataclass(frozen=True, slots=True)
class Fetch:
    chosen: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None
    by_uid: bool


@final
@dataclass(frozen=True, slots=True)
class Store:
    chosen: SequenceSet
    change: FlagChange
    silent: bool
    unchanged_since: int | None
    by_uid: bool


@final
@dataclass(frozen=True, slots=True)
class Copy:
    chosen: SequenceSet
    to: str
    by_uid: bool


@final
@dataclass(frozen=True, slots=True)
class Find:
    search: Search
    by_uid: bool


def plain(scanner: Scanner) -> Plain:
    scanner.end()
    return Plain()


def login(scanner: Scanner) -> Login:
    scanner.space()
    user = scanner.astring()
    scanner.space()
    password = scanner.astring()
    scanner.end()
    return Login(user, password)


def authenticate(scanner: Scanner) -> Authenticate:
    scanner.space()
    mechanism = scanner.atom().upper()
    initial = None
    if scanner.skip(b" "):
        initial = scanner.atom("an initial response in base64 is expected (RFC 4959 3)")
    scanner.end()
    return Authenticate(mechanism, initial)


def enable(scanner: Scanner) -> Enable:
    """RFC 5161 3.1."""
    names: list[str] = []
    while not names or not scanner.at_end:
        scanner.space()
        names.append(scanner.atom("a capability is expected (RFC 5161 3.1)").upper())
    return Enable(tuple(names))


def identify(scanner: Scanner) -> Plain:
    """RFC 2971 3.1. What a client says of itself is read, and forgotten."""
    scanner.space()
    if not scanner.skip(b"NIL"):
        scanner.expect(b"(", "NIL or a list in parentheses is expected (RFC 2971 3.1)")
        fields = 0
        while not scanner.skip(b")"):
            if fields:
                scanner.space()
            scanner.string()
            scanner.space()
            if not scanner.skip(b"NIL"):
                scanner.string()
            fields += 1
            if fields > 30:
                raise BadCommand("ID takes 30 fields at most (RFC 2971 3.3)")
    scanner.end()
    return Plain()


def select(scanner: Scanner) -> Select:
    scanner.space()
    name = scanner.mailbox()
    condstore = False
    if scanner.skip(b" "):
        scanner.expect(b"(", "a list of parameters is expected (RFC 4466 2.1)")
        scanner.expect(b"CONDSTORE)", "CONDSTORE is the one parameter here (RFC 7162 3.1.8)")
        condstore = True
    scanner.end()
    return Select(name, condstore)


def named(scanner: Scanner) -> Named:
    scanner.space()
    name = scanner.mailbox()
    scanner.end()
    return Named(name)


def create(scanner: Scanner) -> Named:
    """RFC 3501 6.3.3: a delimiter at the end says that names below will follow, and is no part of it."""
    found = named(scanner)
    return Named(found.name.removesuffix("/"))


def rename(scanner: Scanner) -> Rename:
    scanner.space()
    old = scanner.mailbox()
    scanner.space()
    new = scanner.mailbox()
    scanner.end()
    return Rename(old, new.removesuffix("/"))


def status_items(scanner: Scanner) -> tuple[StatusItem, ...]:
    scanner.expect(b"(", "a list of status items is expected (RFC 3501 6.3.10)")
    items: list[StatusItem] = []
    while not items or not scanner.skip(b")"):
        if items:
            scanner.space()
        word = scanner.atom("a status item is expected (RFC 3501 6.3.10)").upper()
        try:
            items.append(StatusItem(word))
        except ValueError:
            raise BadCommand("there is no such status item (RFC 3501 6.3.10)") from None
    return tuple(dict.fromkeys(items))


def status(scanner: Scanner) -> StatusOf:
    scanner.space()
    name = scanner.mailbox()
    scanner.space()
    items = status_items(scanner)
    scanner.end()
    return StatusOf(name, items)


def append(scanner: Scanner) -> Append:
    scanner.space()
    name = scanner.mailbox()
    scanner.space()
    flags: frozenset[str] = frozenset()
    date = None
    if scanner.next_is(b"("):
        flags = kept_flags(scanner.flag_list())
        scanner.space()
    if scanner.next_is(b'"'):
        date = scanner.date_time()
        scanner.space()
    content = scanner.literal()
    scanner.end()
    return Append(name, flags, date, content)


def expunge(scanner: Scanner, *, by_uid: bool) -> Expunge:
    chosen = None
    if by_uid:
        scanner.space()
        chosen = scanner.sequence_set()
    scanner.end()
    return Expunge(chosen)


def fetch(scanner: Scanner, *, by_uid: bool) -> Fetch:
    scanner.space()
    chosen = scanner.sequence_set()
    scanner.space()
    items = fetch_items(scanner)
    changed_since = None
    if scanner.skip(b" "):
        scanner.expect(b"(CHANGEDSINCE ", "CHANGEDSINCE is the one modifier here (RFC 7162 3.1.4.1)")
        changed_since = scanner.number(largest=LARGEST_MODSEQ)
        scanner.expect(b")", "the modifiers end with a parenthesis (RFC 4466 2.4)")
    scanner.end()
    return Fetch(chosen, items, changed_since, by_uid)


def store(scanner: Scanner, *, by_uid: bool) -> Store:
    scanner.space()
    chosen = scanner.sequence_set()
    scanner.space()
    unchanged_since = None
    if scanner.skip(b"("):
        scanner.expect(b"UNCHANGEDSINCE ", "UNCHANGEDSINCE is the one modifier here (RFC 7162 3.1.3)")
        unchanged_since = scanner.number(largest=LARGEST_MODSEQ)
        scanner.expect(b") ", "the modifiers end with a parenthesis (RFC 4466 2.5)")
    mode = FlagMode.SET
    if scanner.skip(b"+"):
        mode = FlagMode.ADD
    elif scanner.skip(b"-"):
        mode = FlagMode.REMOVE
    scanner.expect(b"FLAGS", "FLAGS, +FLAGS or -FLAGS is expected (RFC 3501 6.4.6)")
    silent = scanner.skip(b".SILENT")
    scanner.space()
    flags = scanner.flag_list() if scanner.next_is(b"(") else bare_flags(scanner)
    scanner.end()
    return Store(chosen, FlagChange(mode, kept_flags(flags)), silent, unchanged_since, by_uid)


def copy(scanner: Scanner, *, by_uid: bool) -> Copy:
    scanner.space()
    chosen = scanner.sequence_set()
    scanner.space()
    to = scanner.mailbox()
    scanner.end()
    return Copy(chosen, to, by_uid)


def find(scanner: Scanner, *, by_uid: bool) -> Find:
    scanner.space()
    found = search(scanner)
    scanner.end()
    return Find(found, by_uid)


def bare_flags(scanner: Scanner) -> tuple[str, ...]:
    """RFC 3501 9: `flag *(SP flag)`, the form of STORE without parentheses."""
    flags = [scanner.flag()]
    while scanner.skip(b" "):
        flags.append(scanner.flag())
    return tuple(flags)


_SYSTEM: Final = {
    flag.lower(): flag for flag in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")
}


def kept_flags(flags: tuple[str, ...]) -> frozenset[str]:
    """Flags as they are kept: system flags in their one spelling. Raises BadCommand for what is none."""
    kept = set()
    for flag in flags:
        if not flag.startswith("\\"):
            kept.add(flag)
        elif flag.lower() in _SYSTEM:
            kept.add(_SYSTEM[flag.lower()])
        elif flag.lower() != "\\recent":  # RFC 3501 2.3.2: nobody's to change; passed over, as others do
            raise BadCommand("there is no such system flag (RFC 3501 2.3.2)")
    return frozenset(kept)


Parse = Callable[[Scanner], object]
