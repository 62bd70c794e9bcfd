"""LIST and LSUB: what is asked for, and which names answer (RFC 3501 6.3.8, RFC 5258, RFC 6154, RFC 5819)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from gateway.imap.commands import StatusItem, status_items
from gateway.imap.names import DELIMITER
from gateway.imap.replies import mailbox
from gateway.imap.scanner import BadCommand, Scanner
from storage.folder_types import INBOX, FolderName

_MOST_PATTERNS: Final = 100
_LONGEST_PATTERN: Final = 1_000
_RUNS: Final = re.compile(r"([*%])\1+")


class Selection(StrEnum):
    """RFC 5258 3.1, RFC 6154 2. REMOTE is taken, and adds nothing: there are no remote mailboxes."""

    SUBSCRIBED = "SUBSCRIBED"
    REMOTE = "REMOTE"
    RECURSIVEMATCH = "RECURSIVEMATCH"
    SPECIAL_USE = "SPECIAL-USE"


class Return(StrEnum):
    """RFC 5258 3.2, RFC 6154 2. Subscriptions are told where asked for, children and uses always."""

    SUBSCRIBED = "SUBSCRIBED"
    CHILDREN = "CHILDREN"
    SPECIAL_USE = "SPECIAL-USE"


@final
@dataclass(frozen=True, slots=True)
class Listing:
    """One LIST or LSUB. `status` are the items to be told of each name (RFC 5819)."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[Selection] = frozenset()
    returns: frozenset[Return] = frozenset()
    status: tuple[StatusItem, ...] = ()


def list_(scanner: Scanner) -> Listing:
    """Raises BadCommand."""
    scanner.space()
    selection: frozenset[Selection] = frozenset()
    if scanner.skip(b"("):
        selection = _selection(scanner)
        scanner.space()
    reference = _reference(scanner)
    scanner.space()
    patterns = _patterns(scanner)
    returns, status = _returns(scanner) if scanner.skip(b" RETURN (") else (frozenset[Return](), ())
    scanner.end()
    return Listing(reference, patterns, selection, returns, status)


def lsub(scanner: Scanner) -> Listing:
    """RFC 3501 6.3.9. Raises BadCommand."""
    scanner.space()
    reference = _reference(scanner)
    scanner.space()
    pattern = _pattern(scanner)
    scanner.end()
    return Listing(reference, (pattern,))


def _selection(scanner: Scanner) -> frozenset[Selection]:
    found: list[Selection] = []
    while not scanner.skip(b")"):
        if found:
            scanner.space()
        word = scanner.atom("a selection option is expected (RFC 5258 3.1)").upper()
        try:
            found.append(Selection(word))
        except ValueError:
            raise BadCommand("there is no such selection option (RFC 5258 3.1)") from None
    if Selection.RECURSIVEMATCH in found and not {Selection.SUBSCRIBED, Selection.SPECIAL_USE} & set(found):
        raise BadCommand("RECURSIVEMATCH does not stand alone (RFC 5258 3.1)")
    return frozenset(found)


def _patterns(scanner: Scanner) -> tuple[str, ...]:
    if not scanner.skip(b"("):
        return (_pattern(scanner),)
    patterns = [_pattern(scanner)]
    while not scanner.skip(b")"):
        scanner.space()
        patterns.append(_pattern(scanner))
        if len(patterns) > _MOST_PATTERNS:
            raise BadCommand(f"LIST takes {_MOST_PATTERNS} patterns at most here")
    return tuple(patterns)


def _reference(scanner: Scanner) -> str:
    reference = scanner.mailbox()
    if len(reference) > _LONGEST_PATTERN:
        raise BadCommand(f"a reference has {_LONGEST_PATTERN} characters at most here")
    return reference


def _pattern(scanner: Scanner) -> str:
    pattern = scanner.list_mailbox()
    if len(pattern) > _LONGEST_PATTERN:
        raise BadCommand(f"a pattern has {_LONGEST_PATTERN} characters at most here")
    return pattern


def _returns(scanner: Scanner) -> tuple[frozenset[Return], tuple[StatusItem, ...]]:
    found: set[Return] = set()
    status: tuple[StatusItem, ...] = ()
    first = True
    while not scanner.skip(b")"):
        if not first:
            scanner.space()
        first = False
        word = scanner.atom("a return option is expected (RFC 5258 3.2)").upper()
        if word == "STATUS":
            scanner.space()
            status = status_items(scanner)
            continue
        try:
            found.add(Return(word))
        except ValueError:
            raise BadCommand("there is no such return option (RFC 5258 3.2)") from None
    return frozenset(found), status


@final
@dataclass(frozen=True, slots=True)
class Listed:
    """One line of an answer. `name` is one of the account's, or one that only leads to others."""

    name: str
    attributes: tuple[str, ...]
    child_info: bool = False

    def encode(self, command: bytes = b"LIST") -> bytes:
        line = b"* %s (%s) %s %s" % (
            command,
            " ".join(self.attributes).encode("ascii"),
            b'"%s"' % DELIMITER.encode(),
            mailbox(self.name),
        )
        return line + (b' ("CHILDINFO" ("SUBSCRIBED"))\r\n' if self.child_info else b"\r\n")


def root(listing: Listing) -> bool:
    """RFC 3501 6.3.8: an empty pattern asks for the delimiter, and for no name."""
    return listing.patterns == ("",)


def listed(listing: Listing, folders: Sequence[FolderName], subscribed: Iterable[str]) -> list[Listed]:
    """The answer to LIST."""
    matches = _matcher(listing)
    subscriptions = frozenset(subscribed)
    asked = Selection.SUBSCRIBED in listing.selection
    by_name = {folder.name: folder for folder in folders}
    # RFC 5258 3.1: a subscribed name is listed even where its mailbox is gone.
    names = [*by_name, *sorted(subscriptions - by_name.keys())] if asked else list(by_name)
    parents, leading = _superiors(by_name), _superiors(subscriptions.intersection(names))
    found: list[Listed] = []
    for name in names:
        if not matches(name):
            continue
        folder = by_name.get(name)
        leads = Selection.RECURSIVEMATCH in listing.selection and name in leading
        chosen = not asked or name in subscriptions
        if Selection.SPECIAL_USE in listing.selection and (folder is None or folder.special_use is None):
            chosen = False
        if chosen or leads:
            attributes = _attributes(folder, has_children=name in parents)
            if name in subscriptions and (asked or Return.SUBSCRIBED in listing.returns):
                attributes.append("\\Subscribed")
            found.append(Listed(name, tuple(attributes), child_info=leads))
    return found


def listed_subscriptions(listing: Listing, subscribed: Iterable[str]) -> list[Listed]:
    """The answer to LSUB. RFC 3501 6.3.9: where % stops above a subscribed name, what it stopped at is
    told as \\Noselect."""
    matches = _matcher(listing)
    found: dict[str, Listed] = {}
    names = sorted(subscribed)
    for name in names:
        if matches(name):
            found[name] = Listed(name, ())
        elif any(pattern.endswith("%") for pattern in listing.patterns):
            parts = name.split(DELIMITER)
            for end in range(1, len(parts)):
                above = DELIMITER.join(parts[:end])
                if above not in names and matches(above):
                    found[above] = Listed(above, ("\\Noselect",))
    return list(found.values())


def _superiors(names: Iterable[str]) -> frozenset[str]:
    """The names that others stand below."""
    return frozenset(name[:end] for name in names for end, letter in enumerate(name) if letter == DELIMITER)


def _attributes(folder: FolderName | None, *, has_children: bool) -> list[str]:
    if folder is None:
        return ["\\NonExistent"]  # RFC 5258 3
    attributes = [] if folder.selectable else ["\\Noselect"]
    attributes.append("\\HasChildren" if has_children else "\\HasNoChildren")  # RFC 3348 3
    if folder.special_use is not None:
        attributes.append(folder.special_use)
    return attributes


def _matches(pattern: str, name: str) -> bool:
    """RFC 3501 6.3.8: * stands for anything, % for anything but the delimiter.

    Keeps the places in the name that the pattern so far can lead to: a regular expression would try
    the divisions of `*a*a*a*a` one by one.
    """
    places = {0}
    for letter in pattern:
        if letter == "*":
            places = set(range(min(places), len(name) + 1))
        elif letter == "%":
            reached: set[int] = set()
            end = -1
            for place in sorted(places):
                if place > end:  # else this level was gone through from a place before
                    level = _up_to_delimiter(name, place)
                    reached.update(level)
                    end = level[-1]
            places = reached
        else:
            places = {place + 1 for place in places if name[place : place + 1] == letter}
        if not places:
            return False
    return len(name) in places


def _up_to_delimiter(name: str, place: int) -> range:
    end = name.find(DELIMITER, place)
    return range(place, (len(name) if end < 0 else end) + 1)


def _matcher(listing: Listing) -> Callable[[str], bool]:
    # RFC 3501 6.3.8: how a reference is combined is the server's affair; here it is what stands before.
    # Runs of a wildcard say no more than one of it.
    patterns = [_RUNS.sub(r"\1", listing.reference + pattern) for pattern in listing.patterns]

    def matches(name: str) -> bool:
        return any(
            _matches(pattern, name) or (name == INBOX and _matches(pattern.upper(), name))
            for pattern in patterns
        )

    return matches
