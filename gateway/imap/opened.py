"""An open mailbox as one session sees it: a view, and what the client has been told of it.

Sequence numbers mean the messages of the view that the client knows. They change only when the
client is told, and it is told only where RFC 3501 7.4.1 and 5.5 allow: until then the view stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final, final

from gateway.imap import replies as say
from gateway.imap.conversation import Conversation
from gateway.imap.replies import Ended, Refused
from gateway.imap.sequences import SequenceSet
from storage.folder_types import Entry, FlagChange, NoSuchFolder, StoreOutcome, View
from storage.folders import Folder

_SYSTEM_FLAGS: Final = "\\Answered \\Flagged \\Deleted \\Seen \\Draft"


@final
class Opened:
    """One selected mailbox. `read_only`: EXAMINE opened it."""

    def __init__(
        self, conversation: Conversation, folder: Folder, name: str, view: View, *, read_only: bool
    ) -> None:
        self._conversation: Final = conversation
        self.folder: Final = folder
        self.name: Final = name
        self.view = view
        self.read_only: Final = read_only
        # RFC 3501 2.3.2: \Recent belongs to the one session that took the message in.
        self._recent = set(view.recent)
        self._refreshed = _now()
        # What has been told of changes: all up to the view's modification sequence, and these above it.
        self._told: dict[int, int] = {}

    async def announce(self) -> None:
        """RFC 3501 6.3.1: what SELECT and EXAMINE tell of the mailbox."""
        view, talk = self.view, self._conversation
        keywords = "" if self.read_only else f"{_SYSTEM_FLAGS} \\*"
        talk.say(f"* FLAGS ({_SYSTEM_FLAGS})\r\n".encode("ascii"))
        talk.tell(say.ok("flags that are kept", f"PERMANENTFLAGS ({keywords})"))
        talk.say(b"* %d EXISTS\r\n* %d RECENT\r\n" % (view.count, len(self._recent)))
        if view.unseen and (first := await self._first_unseen()) is not None:
            talk.tell(say.ok("the first that is unseen", f"UNSEEN {first}"))
        talk.tell(say.ok("UIDs are valid", f"UIDVALIDITY {view.uid_validity}"))
        talk.tell(say.ok("the next UID", f"UIDNEXT {view.uid_next}"))
        talk.tell(say.ok("modification sequences are kept", f"HIGHESTMODSEQ {view.highest_modseq}"))

    # -- which messages

    def chosen(self, numbers: SequenceSet, *, by_uid: bool) -> tuple[int, ...]:
        """The UIDs that a command is about. Raises Refused for a sequence number that there is not.

        An empty mailbox answers `1:*` with nothing, as clients expect.
        """
        if by_uid:
            return tuple(self._among(numbers))
        count = self.view.count
        # `7:*` of five messages is the last one (RFC 3501 9): only a number without * must be there.
        named = [number for ends in numbers.ranges if None not in ends for number in ends if number]
        if count and max(named, default=0) > count:
            raise Refused(say.NO_SUCH_NUMBER)
        spans = numbers.spans(count or 1)
        return tuple(uid for first, last in spans for uid in self.view.uids[first - 1 : last])

    def _among(self, numbers: SequenceSet) -> Iterator[int]:
        uids = self.view.uids
        if uids.ranges:
            for first, last in numbers.spans(uids.ranges[-1][1]):
                for low, high in uids.ranges:
                    yield from range(max(first, low), min(last, high) + 1)

    def numbers(self, uids: Iterable[int]) -> list[int]:
        """The sequence numbers of UIDs that the view has."""
        return [number for uid in uids if (number := self.view.sequence(uid)) is not None]

    # -- what is told

    def flags(self, entry: Entry) -> bytes:
        """The flags of an entry with this session's own \\Recent."""
        if entry.uid in self._recent:
            return say.flag_list(entry.flags | {"\\Recent"})
        return say.flag_list(entry.flags)

    def is_recent(self, uid: int) -> bool:
        return uid in self._recent

    def tell_flags(self, entry: Entry, *, uid: bool = True, modseq: bool = False, flags: bool = True) -> None:
        """An untagged FETCH with an entry's flags (RFC 3501 7.4.2)."""
        number = self.view.sequence(entry.uid)
        if number is None:
            return
        parts = [b"UID %d" % entry.uid] if uid else []
        if flags:
            parts.append(b"FLAGS " + self.flags(entry))
        if modseq or self._conversation.condstore:
            parts.append(b"MODSEQ (%d)" % entry.modseq)  # RFC 7162 3.2
        self._told[entry.uid] = entry.modseq
        self._conversation.say(b"* %d FETCH (" % number, b" ".join(parts), b")\r\n")

    def knows(self, entry: Entry) -> None:
        """The client has been told of the entry as it is now, in other words."""
        self._told[entry.uid] = entry.modseq

    def has_told_of(self, uid: int, modseq: int) -> bool:
        """Whether the client has been told of a message as it was at that modification sequence."""
        return modseq <= self.view.highest_modseq or self._told.get(uid) == modseq

    async def change(
        self, uids: tuple[int, ...], change: FlagChange, *, unchanged_since: int | None = None
    ) -> StoreOutcome:
        """Changes flags. Raises Refused in a mailbox that is read only, and what `Folder.store` raises."""
        if self.read_only:
            raise Refused(say.READ_ONLY)
        return await self.folder.store(uids, change, unchanged_since=unchanged_since)

    # -- what happened meanwhile

    @property
    def age(self) -> float:
        """Seconds since the session last looked."""
        return _now() - self._refreshed

    async def look(self) -> None:
        """Looks for what happened, and tells all of it: only between commands, or in those that allow
        EXPUNGE. Raises Ended where the mailbox itself is gone; Unavailable, Corrupt, Forbidden."""
        try:
            new = await self.folder.refresh(claims=not self.read_only)
        except NoSuchFolder:
            raise Ended(say.MAILBOX_GONE) from None
        old, talk = self.view, self._conversation
        # Before anything is told: what fails here is looked for again, and nothing is missed.
        risen = new.highest_modseq > old.highest_modseq
        changed = await self.folder.changed(new, old.highest_modseq) if risen else ()
        gone = old.uids.minus(new.uids)
        # From the last to the first: the numbers of those before stay what they were.
        for uid in reversed(tuple(gone)):
            number = old.sequence(uid)
            assert number is not None
            talk.say(b"* %d EXPUNGE\r\n" % number)
            await talk.flow()
        self._recent = {uid for uid in self._recent if uid in new.uids} | new.recent
        self.view, told, self._told = new, self._told, {}
        self._refreshed = _now()
        if new.count > old.count - len(gone):
            talk.say(b"* %d EXISTS\r\n* %d RECENT\r\n" % (new.count, len(self._recent)))
        for entry in changed:
            if entry.uid in old.uids and told.get(entry.uid) != entry.modseq:
                self.tell_flags(entry)
                await talk.flow()
        if risen:
            self._told = {}

    async def _first_unseen(self) -> int | None:
        """RFC 3501 7.1 UNSEEN, where all that is unseen is among the newest messages. Where it is not,
        nothing is said, as the RFC allows: opening a large mailbox does not read all of it."""
        if self.view.unseen > _NEWEST:
            return None  # and no segment is read, nor kept by a session that only waits
        newest = self.view.uids[max(0, self.view.count - _NEWEST) :]
        unseen = [e.uid for e in await self.folder.entries(self.view, newest) if "\\Seen" not in e.flags]
        return self.view.sequence(min(unseen)) if len(unseen) == self.view.unseen and unseen else None


_NEWEST: Final = 500


def _now() -> float:
    return asyncio.get_running_loop().time()
