"""Selected (RFC 3501 3.3): an owner with a mailbox open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, final

from gateway.imap import commands
from gateway.imap import replies as say
from gateway.imap.fetching import fetch
from gateway.imap.finding import find
from gateway.imap.idling import idle
from gateway.imap.opened import Opened
from gateway.imap.replies import Refused
from gateway.imap.resident import Resident
from gateway.imap.scanner import Scanner
from gateway.imap.sequences import compact
from gateway.imap.states import Answer
from storage.errors import StorageError
from storage.folder import Folder

# RFC 3501 7.4.1: while the client counts messages by number, none may go.
_NUMBERS_STAY: Final = frozenset({"FETCH", "STORE", "SEARCH"})
# What asks whether something has happened, or makes it happen.
_LOOKS: Final = frozenset({"NOOP", "CHECK", "EXPUNGE", "UID EXPUNGE", "MOVE", "UID MOVE"})


@final
class Reader:
    """A resident who reads one mailbox. All that a resident may do goes on being possible."""

    def __init__(self, resident: Resident, opened: Opened) -> None:
        self._resident: Final = resident
        self._conversation: Final = resident.conversation
        self._opened: Final = opened
        self._commands: Final[dict[str, Callable[[Scanner], Awaitable[Answer]]]] = {
            "SELECT": partial(self._open_another, read_only=False),
            "EXAMINE": partial(self._open_another, read_only=True),
            "CHECK": self._check,
            "CLOSE": self._close,
            "UNSELECT": self._unselect,
            "IDLE": self._idle,
            "EXPUNGE": partial(self._expunge, by_uid=False),
            "UID EXPUNGE": partial(self._expunge, by_uid=True),
            "SEARCH": partial(self._search, by_uid=False),
            "UID SEARCH": partial(self._search, by_uid=True),
            "FETCH": partial(self._fetch, by_uid=False),
            "UID FETCH": partial(self._fetch, by_uid=True),
            "STORE": partial(self._store, by_uid=False),
            "UID STORE": partial(self._store, by_uid=True),
            "COPY": partial(self._copy, by_uid=False),
            "UID COPY": partial(self._copy, by_uid=True),
            "MOVE": partial(self._move, by_uid=False),
            "UID MOVE": partial(self._move, by_uid=True),
        }

    def command(self, verb: str) -> Callable[[Scanner], Awaitable[Answer]] | None:
        """See State."""
        return self._commands.get(verb) or self._resident.command(verb)

    async def before(self) -> None:
        """See State."""
        await self._resident.before()

    async def after(self, verb: str) -> None:
        """See State. Others' changes are told when they were heard of, or not looked for lately."""
        if verb in _NUMBERS_STAY:
            return
        overdue = self._opened.age >= self._conversation.commons.poll_seconds
        if verb in _LOOKS or self._resident.bell.is_set() or overdue:
            await self._look()

    def close(self) -> None:
        """See State."""
        self._resident.close()

    async def _look(self) -> None:
        self._resident.bell.clear()
        await self._opened.look()

    # -- opening and closing

    async def _open_another(self, scanner: Scanner, *, read_only: bool) -> Answer:
        """RFC 3501 6.3.1: whatever comes of it, this mailbox is closed, and nothing in it expunged."""
        found = commands.select(scanner)
        self._conversation.tell(say.ok("the mailbox before is closed", "CLOSED"))  # RFC 7162 3.2.11
        try:
            return await self._resident.open(found, read_only=read_only)
        except (Refused, StorageError) as error:
            return Answer(say.for_error(error), self._resident)

    async def _check(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        return Answer(say.ok("all is kept"))

    async def _close(self, scanner: Scanner) -> Answer:
        """RFC 3501 6.4.2: expunges without a word, unless the mailbox is read only."""
        commands.plain(scanner)
        if not self._opened.read_only and await self._opened.folder.expunge():
            self._resident.ring()
        return Answer(say.ok("closed"), self._resident)

    async def _unselect(self, scanner: Scanner) -> Answer:
        """RFC 3691 2."""
        commands.plain(scanner)
        return Answer(say.ok("closed, and nothing expunged"), self._resident)

    async def _idle(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        await idle(self._conversation, self._resident.bell, self._look_and_be_open)
        return Answer(say.ok("done"))

    async def _look_and_be_open(self) -> None:
        await self._resident.before()
        await self._look()

    # -- messages

    async def _expunge(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        """RFC 3501 6.4.3, RFC 4315 2.1. Which ones are gone is told by the look that follows."""
        found = commands.expunge(scanner, by_uid=by_uid)
        self._need_write()
        chosen = None if found.chosen is None else self._opened.chosen(found.chosen, by_uid=True)
        if await self._opened.folder.expunge(chosen):
            self._resident.ring()
        return Answer(say.ok("expunged"))

    async def _search(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        return Answer(await find(self._conversation, self._opened, commands.find(scanner, by_uid=by_uid)))

    async def _fetch(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        return Answer(await fetch(self._conversation, self._opened, commands.fetch(scanner, by_uid=by_uid)))

    async def _store(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        """RFC 3501 6.4.6, RFC 7162 3.1.3."""
        found = commands.store(scanner, by_uid=by_uid)
        opened, talk = self._opened, self._conversation
        conditional = found.unchanged_since is not None
        if conditional:
            talk.condstore = True
        uids = opened.chosen(found.chosen, by_uid=by_uid)
        outcome = await opened.change(uids, found.change, unchanged_since=found.unchanged_since)
        self._resident.ring()
        for entry, before in zip(outcome.entries, outcome.before, strict=True):
            # RFC 3501 6.4.6: what others did to the flags is told, .SILENT or not.
            silent = found.silent and opened.has_told_of(entry.uid, before)
            if not silent or talk.condstore:
                # RFC 7162 3.1.3: with .SILENT a client that counts modification sequences hears those.
                opened.tell_flags(entry, uid=by_uid or talk.condstore, flags=not silent)
                await talk.flow()
            else:
                opened.knows(entry)
        if outcome.modified:
            left = outcome.modified if by_uid else tuple(opened.numbers(outcome.modified))
            return Answer(say.ok("some had changed meanwhile", f"MODIFIED {compact(left)}"))
        if not by_uid and len(outcome.entries) < len(uids):
            return Answer(say.SOME_GONE)
        return Answer(say.ok("kept"))

    async def _copy(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        """RFC 3501 6.4.7, with the places that the copies went to (RFC 4315 3)."""
        found = commands.copy(scanner, by_uid=by_uid)
        to = await self._resident.destination(found.to)
        pairs = await self._opened.folder.copy(self._opened.chosen(found.chosen, by_uid=by_uid), to)
        self._resident.ring_all()
        if not pairs:
            return Answer(say.ok("there was nothing to copy"))
        return Answer(say.ok("copied", _copied(to, pairs)))

    async def _move(self, scanner: Scanner, *, by_uid: bool) -> Answer:
        """RFC 6851 3: COPYUID comes first, untagged, then each EXPUNGE (by the look that follows)."""
        found = commands.copy(scanner, by_uid=by_uid)
        self._need_write()
        to = await self._resident.destination(found.to)
        pairs = await self._opened.folder.move(self._opened.chosen(found.chosen, by_uid=by_uid), to)
        self._resident.ring_all()
        if pairs:
            self._conversation.tell(say.ok("moved", _copied(to, pairs)))
        return Answer(say.ok("moved"))

    def _need_write(self) -> None:
        if self._opened.read_only:
            raise Refused(say.READ_ONLY)


def _copied(to: Folder, pairs: tuple[tuple[int, int], ...]) -> str:
    """RFC 4315 3: the two sets are read side by side. Both rise, since copies are made in order."""
    return (
        f"COPYUID {to.uid_validity} {compact(one for one, _ in pairs)} {compact(other for _, other in pairs)}"
    )
