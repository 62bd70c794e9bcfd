"""What an owner's folder is to those who read and change it: views, entries, changes of flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, final

from storage.errors import StorageError
from storage.folder_uids import UidSet
from storage.identity import MessageId

INBOX: Final = "INBOX"
DELIMITER: Final = "/"  # RFC 3501 5.1.1: the hierarchy of names


class NoSuchFolder(StorageError):
    """The account has no folder of that name, or it was deleted meanwhile."""


class FolderExists(StorageError):
    """The account has a folder of that name already."""


class FolderRefused(StorageError):
    """A name that no folder may have, a flag that none may bear, or what may not be done to a folder.
    The message says why."""


@final
@dataclass(frozen=True, slots=True)
class FolderName:
    """One folder by its name. `special_use` such as "\\Sent" (RFC 6154 2).

    `selectable` is false for a name that only leads to others below it (\\Noselect, RFC 3501 7.2.2).
    """

    name: str
    special_use: str | None
    subscribed: bool
    uid_validity: int
    selectable: bool = True


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One message in a folder. `size` in octets, as it is fetched; `internal_date` is aware."""

    uid: int
    message: MessageId
    flags: frozenset[str]
    size: int
    internal_date: datetime
    modseq: int


@final
@dataclass(frozen=True, slots=True)
class View:
    """A folder as it was at one moment: what a session's sequence numbers refer to.

    `recent`: the UIDs that the refresh which gave this view took in itself, and no other session; and what
    came in while nobody looked that claimed it.
    `serial` names the state of the head: two views of equal serial show the same.
    """

    uid_validity: int
    uid_next: int
    highest_modseq: int
    unseen: int
    uids: UidSet
    recent: frozenset[int] = frozenset()
    serial: int = field(default=0)

    @property
    def count(self) -> int:
        return len(self.uids)

    def uid(self, sequence: int) -> int:
        """The UID of the message with this sequence number, from 1 on. Raises IndexError."""
        if sequence < 1:
            raise IndexError("sequence numbers begin with 1")
        return self.uids[sequence - 1]

    def sequence(self, uid: int) -> int | None:
        """The sequence number of a UID; None where the view has no such message."""
        position = self.uids.position(uid)
        return None if position is None else position + 1


class FlagMode(StrEnum):
    """How a STORE changes flags (RFC 3501 6.4.6)."""

    SET = "set"
    ADD = "add"
    REMOVE = "remove"


@final
@dataclass(frozen=True, slots=True)
class FlagChange:
    """A change of flags. `\\Recent` is a session's own, and no flag that is kept (RFC 3501 2.3.2)."""

    mode: FlagMode
    flags: frozenset[str]

    def on(self, flags: frozenset[str]) -> frozenset[str]:
        """What `flags` become."""
        match self.mode:
            case FlagMode.SET:
                return self.flags
            case FlagMode.ADD:
                return flags | self.flags
            case FlagMode.REMOVE:
                return flags - self.flags


@final
@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of a change: the entries as they are now (those whose flags stayed the same too), the
    modification sequence that each had `before`, and the UIDs that were left alone since they had changed
    after `unchanged_since` (RFC 7162 3.1.3)."""

    entries: tuple[Entry, ...]
    before: tuple[int, ...]
    modified: tuple[int, ...]
