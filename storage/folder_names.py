"""The names of an account's folders: `folders/<account>/names`, replaced by compare-and-swap.

A folder is its id; a name leads to it. So a folder that is renamed keeps its messages and their UIDs,
and one that is made again under an old name is another one.

UIDVALIDITY (RFC 3501 2.3.1.1) is given out here, from one counter that rises with the clock: no two
folders of an account have ever the same, and a name never goes back to a lower one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, final

from storage.errors import Conflict, Corrupt, NotFound
from storage.folder_index import Index
from storage.folder_types import DELIMITER, INBOX, FolderExists, FolderName, FolderRefused, NoSuchFolder
from storage.folder_vault import FolderVault, fresh_name
from storage.objects import ETag

_VERSION: Final = 1
_VERSIONS: Final = 16  # how many replaced ones may lie in the bucket
_MOST: Final = 5000  # folders of an account
_LONGEST: Final = 255  # characters of one level of a name
_LONGEST_NAME: Final = 900
# RFC 6154 2: what clients look for before they make folders of their own.
_SPECIAL: Final = {
    "Drafts": "\\Drafts",
    "Sent": "\\Sent",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Archive": "\\Archive",
}

_T = TypeVar("_T")


@final
@dataclass(frozen=True, slots=True)
class Named:
    """What a name leads to: a folder by its id, or (None) only to names below it."""

    id: str | None
    uid_validity: int
    special_use: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Roster:
    """All names. `last` is the highest UIDVALIDITY that a name had which it has no more; `dying` are
    the ids of folders that were deleted, until nothing of them is left."""

    serial: int = 0
    validity: int = 0
    folders: Mapping[str, Named] = field(default_factory=dict)
    subscribed: frozenset[str] = frozenset()
    last: Mapping[str, int] = field(default_factory=dict)
    dying: frozenset[str] = frozenset()

    def below(self, name: str) -> list[str]:
        return [one for one in self.folders if one.startswith(name + DELIMITER)]

    def leads(self, name: str, to: Named) -> Roster:
        return replace(self, folders={**self.folders, name: to})

    def without(self, name: str) -> Roster:
        folders = {one: named for one, named in self.folders.items() if one != name}
        gone = max(self.folders[name].uid_validity, self.last.get(name, 0))
        return replace(self, folders=folders, last={**self.last, name: gone})


def checked_name(text: str) -> str:
    """A folder's name as it is kept. Raises FolderRefused, saying what it breaks."""
    if text.upper() == INBOX:
        return INBOX  # RFC 3501 5.1: in whatever case
    parts = text.split(DELIMITER)
    if parts[0].upper() == INBOX:
        parts[0] = INBOX
    if not all(parts):
        raise FolderRefused(f"a folder's name has no empty level between two {DELIMITER!r}")
    if any(len(part) > _LONGEST for part in parts) or len(text) > _LONGEST_NAME:
        raise FolderRefused(f"a folder's name has at most {_LONGEST_NAME} characters, {_LONGEST} in a level")
    if any(part in (".", "..") for part in parts):
        raise FolderRefused("no level of a folder's name is '.' or '..'")
    # RFC 3501 5.1: "*" and "%" are wildcards, and control characters are best left alone.
    if not text.isprintable() or set(text) & set("*%"):
        raise FolderRefused("a folder's name has printable characters, and no '*' or '%'")
    return DELIMITER.join(parts)


@final
class Names:
    """The names, read and changed. Made for one session."""

    def __init__(self, vault: FolderVault) -> None:
        self._vault: Final = vault
        self._key: Final = f"{vault.prefix}names"

    async def open(self) -> Roster:
        """The names; on the first opening, with the folders that every account has."""
        try:
            return (await self._read())[0]
        except NotFound:
            pass
        await self._vault.refuse_while_frozen()
        roster = Roster()
        for name in (INBOX, *_SPECIAL):
            roster = await self._with_new(roster, name, _SPECIAL.get(name))
        roster = replace(roster, subscribed=frozenset(roster.folders))
        try:
            await self._vault.compare_and_swap(self._key, _write(roster), None)
        except Conflict:  # another session was first: its folders are the account's
            for named in roster.folders.values():
                await self._vault.let_go(f"{self._vault.prefix}{named.id}/head")
        return (await self._read())[0]

    async def list(self) -> tuple[FolderName, ...]:
        roster = (await self._read())[0]
        found = [
            FolderName(
                name, named.special_use, name in roster.subscribed, named.uid_validity, named.id is not None
            )
            for name, named in roster.folders.items()
        ]
        return tuple(sorted(found, key=lambda one: (one.name != INBOX, one.name)))

    async def roster(self) -> Roster:
        return (await self._read())[0]

    async def find(self, name: str) -> tuple[str, Named, str]:
        """The name as it is kept, what it leads to, and the folder's id. Raises NoSuchFolder."""
        try:
            kept = checked_name(name)
        except FolderRefused:
            raise NoSuchFolder("there is no folder of that name") from None
        named = (await self._read())[0].folders.get(kept)
        if named is None:
            raise NoSuchFolder("there is no folder of that name")
        if named.id is None:
            raise NoSuchFolder("that name only leads to other folders")
        return kept, named, named.id

    async def create(self, name: str) -> FolderName:
        """With the names above it (RFC 3501 6.3.3). Raises FolderExists, FolderRefused."""
        # RFC 3501 6.3.3: a delimiter at the end says that names below it will follow; it is not of the name.
        kept = checked_name(name.removesuffix(DELIMITER))
        await self._vault.refuse_while_frozen()
        while True:
            roster, etag = await self._read()
            if (there := roster.folders.get(kept)) is not None and there.id is not None:
                raise FolderExists("there is a folder of that name already")
            made = await self._with_superiors(roster, kept)
            made = await self._with_new(made, kept)
            if await self._replaced(made, etag):
                return FolderName(kept, None, kept in made.subscribed, made.folders[kept].uid_validity, True)
            await self._take_back(roster, made)

    async def delete(self, name: str) -> str | None:
        """Returns the id of the folder whose messages are to go. Raises NoSuchFolder, FolderRefused."""
        kept = checked_name(name)
        if kept == INBOX:
            raise FolderRefused("INBOX cannot be deleted")

        def change(roster: Roster) -> tuple[Roster, str | None]:
            named = roster.folders.get(kept)
            if named is None:
                raise NoSuchFolder("there is no folder of that name")
            dying = roster.dying | ({named.id} if named.id else set())
            if roster.below(kept):
                if named.id is None:
                    raise FolderRefused("there are folders below that name")  # RFC 3501 6.3.4
                hollow = replace(named, id=None, special_use=None)
                gone = replace(
                    roster, last={**roster.last, kept: max(named.uid_validity, roster.last.get(kept, 0))}
                )
                return replace(gone.leads(kept, hollow), dying=dying), named.id
            return replace(roster.without(kept), dying=dying), named.id

        return await self._change(change)

    async def rename(self, old: str, new: str) -> None:
        """The folder and those below it. Raises NoSuchFolder, FolderExists, FolderRefused."""
        source, target = checked_name(old), checked_name(new.removesuffix(DELIMITER))
        if target.startswith(source + DELIMITER) or INBOX in (source, target):
            raise FolderRefused("a folder cannot be moved there")
        await self._vault.refuse_while_frozen()
        while True:
            roster, etag = await self._read()
            if source not in roster.folders:
                raise NoSuchFolder("there is no folder of that name")
            moved = [source, *roster.below(source)]
            renamed = {one: target + one.removeprefix(source) for one in moved}
            if any(one in roster.folders for one in renamed.values()):
                raise FolderExists("there is a folder of that name already")
            made = await self._with_superiors(roster, target)
            for one, becomes in renamed.items():
                named = made.folders[one]
                made = made.without(one)
                if named.uid_validity < made.last.get(becomes, 0):
                    # RFC 3501 2.3.1.1: the name has stood for a folder with a higher one.
                    made, validity = self._next_validity(made)
                    named = replace(named, uid_validity=validity)
                made = made.leads(becomes, named)
            if await self._replaced(made, etag):
                return
            await self._take_back(roster, made)

    async def subscribe(self, name: str, on: bool) -> None:
        """Raises NoSuchFolder, FolderRefused."""
        kept = checked_name(name.removesuffix(DELIMITER))

        def change(roster: Roster) -> tuple[Roster, None]:
            if on and kept not in roster.folders:
                raise NoSuchFolder("there is no folder of that name")
            subscribed = roster.subscribed | {kept} if on else roster.subscribed - {kept}
            return replace(roster, subscribed=subscribed), None

        await self._change(change)

    async def buried(self, folder: str) -> None:
        """Nothing of a deleted folder is left."""
        await self._change(lambda roster: (replace(roster, dying=roster.dying - {folder}), None))

    async def _change(self, change: Callable[[Roster], tuple[Roster, _T]]) -> _T:
        await self._vault.refuse_while_frozen()
        while True:
            before, etag = await self._read()
            after, result = change(before)
            if after == before or await self._replaced(after, etag):
                return result

    async def _replaced(self, roster: Roster, etag: ETag) -> bool:
        if len(roster.folders) > _MOST:
            raise FolderRefused(f"an account has at most {_MOST} folders")
        try:
            await self._vault.compare_and_swap(
                self._key, _write(replace(roster, serial=roster.serial + 1)), etag
            )
        except Conflict:
            return False
        if roster.serial % _VERSIONS == 0:
            await self._vault.forget_replaced(self._key)
        return True

    async def _with_superiors(self, roster: Roster, name: str) -> Roster:
        parts = name.split(DELIMITER)
        for depth in range(1, len(parts)):
            superior = DELIMITER.join(parts[:depth])
            if superior not in roster.folders:
                roster = await self._with_new(roster, superior)
        return roster

    async def _with_new(self, roster: Roster, name: str, special_use: str | None = None) -> Roster:
        """An empty folder: its head is there before any name leads to it."""
        folder = fresh_name()
        await Index(self._vault, folder).create()
        roster, validity = self._next_validity(roster)
        return roster.leads(name, Named(folder, validity, special_use))

    def _next_validity(self, roster: Roster) -> tuple[Roster, int]:
        # RFC 3501 9: 32 bits, not zero. By the clock, so that it rises even over lost names.
        validity = max(roster.validity + 1, int(self._vault.clock().timestamp()))
        return replace(roster, validity=validity), validity

    async def _take_back(self, before: Roster, made: Roster) -> None:
        """Heads of folders that no name has come to lead to."""
        known = {named.id for named in before.folders.values()}
        for named in made.folders.values():
            if named.id not in known:
                await self._vault.let_go(f"{self._vault.prefix}{named.id}/head")

    async def _read(self) -> tuple[Roster, ETag]:
        blob = await self._vault.get(self._key)
        return parse_names(self._key, blob.body), blob.etag


def _write(roster: Roster) -> bytes:
    document = {
        "version": _VERSION,
        "serial": roster.serial,
        "validity": roster.validity,
        "folders": [
            [name, named.id, named.uid_validity, named.special_use] for name, named in roster.folders.items()
        ],
        "subscribed": sorted(roster.subscribed),
        "last": dict(roster.last),
        "dying": sorted(roster.dying),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def parse_names(key: str, body: bytes) -> Roster:
    """Raises Corrupt naming `key`."""
    try:
        found: dict[str, Any] = json.loads(body)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']!r} is unknown")
        return Roster(
            int(found["serial"]),
            int(found["validity"]),
            {
                str(name): Named(
                    str(folder) if folder is not None else None,
                    int(validity),
                    str(special) if special is not None else None,
                )
                for name, folder, validity, special in found["folders"]
            },
            frozenset(map(str, found["subscribed"])),
            {str(name): int(validity) for name, validity in found["last"].items()},
            frozenset(map(str, found["dying"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(key, f"not the names of folders ({type(error).__name__})") from None
