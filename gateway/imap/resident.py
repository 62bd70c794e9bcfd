"""Authenticated (RFC 3501 3.2): an owner at home, with all their mailboxes and none of them open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final, final

from gateway.imap import commands, listing
from gateway.imap import replies as say
from gateway.imap.anybody import Anybody
from gateway.imap.commands import StatusItem
from gateway.imap.conversation import Conversation
from gateway.imap.idling import idle
from gateway.imap.names import DELIMITER
from gateway.imap.opened import Opened
from gateway.imap.replies import Ended, Refused
from gateway.imap.scanner import BadCommand, Scanner
from gateway.imap.signing_in import Owner
from gateway.imap.states import Answer, State
from storage.folder_types import NoSuchFolder
from storage.folders import Folder, Folders

_CONDSTORE: Final = "CONDSTORE"


@final
class Resident:
    """An owner who has signed in. `reader` makes the state that an open mailbox leads to."""

    def __init__(
        self, conversation: Conversation, owner: Owner, reader: Callable[[Resident, Opened], State]
    ) -> None:
        self.conversation: Final = conversation
        self.owner: Final = owner
        self._reader: Final = reader
        self._anybody: Final = Anybody(conversation)
        self._stack: Final = ExitStack()
        self.bell: Final[asyncio.Event] = self._stack.enter_context(
            conversation.commons.bells.listening(owner.located.account)
        )
        self._commands: Final[dict[str, Callable[[Scanner], Awaitable[Answer]]]] = {
            "ENABLE": self._enable,
            "NAMESPACE": self._namespace,
            "SELECT": self._select,
            "EXAMINE": self._examine,
            "CREATE": self._create,
            "DELETE": self._delete,
            "RENAME": self._rename,
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "LIST": self._list,
            "LSUB": self._lsub,
            "STATUS": self._status,
            "APPEND": self._append,
            "IDLE": self._idle,
        }

    @property
    def folders(self) -> Folders:
        return self.owner.folders

    def command(self, verb: str) -> Callable[[Scanner], Awaitable[Answer]] | None:
        """See State."""
        return self._commands.get(verb) or self._anybody.command(verb)

    async def before(self) -> None:
        """See State."""
        if not await self.owner.is_still_open():
            raise Ended(say.NO_LONGER)

    async def after(self, verb: str) -> None:
        """See State. With no mailbox open there is nothing to tell."""

    def close(self) -> None:
        """See State."""
        self._stack.close()

    def ring(self) -> None:
        """Tells the other sessions of this owner that something has changed."""
        self.conversation.commons.bells.ring(self.owner.located.account, but=self.bell)

    def ring_all(self) -> None:
        """As `ring`, for what may have come into this session's own mailbox too."""
        self.conversation.commons.bells.ring(self.owner.located.account)

    async def destination(self, name: str) -> Folder:
        """The folder that messages are to go to. Raises Refused with TRYCREATE (RFC 3501 6.3.11)."""
        try:
            return await self.folders.folder(name)
        except NoSuchFolder:
            raise Refused(say.CREATE_FIRST) from None

    # -- the commands

    async def _enable(self, scanner: Scanner) -> Answer:
        """RFC 5161 3.1: what is not known is passed over."""
        found = commands.enable(scanner)
        enabled = ""
        if _CONDSTORE in found.extensions:
            self.conversation.condstore = True
            enabled = f" {_CONDSTORE}"
        self.conversation.say(f"* ENABLED{enabled}\r\n".encode("ascii"))
        return Answer(say.ok("done"))

    async def _namespace(self, scanner: Scanner) -> Answer:
        """RFC 2342 5: one personal namespace, nobody else's, none that is shared."""
        commands.plain(scanner)
        self.conversation.say(f'* NAMESPACE (("" "{DELIMITER}")) NIL NIL\r\n'.encode("ascii"))
        return Answer(say.ok("that is all"))

    async def _select(self, scanner: Scanner) -> Answer:
        return await self.open(commands.select(scanner), read_only=False)

    async def _examine(self, scanner: Scanner) -> Answer:
        return await self.open(commands.select(scanner), read_only=True)

    async def open(self, found: commands.Select, *, read_only: bool) -> Answer:
        """RFC 3501 6.3.1 and 6.3.2."""
        if found.condstore:
            self.conversation.condstore = True
        folder = await self.folders.folder(found.name)
        view = await folder.refresh(claims=not read_only)
        opened = Opened(self.conversation, folder, found.name, view, read_only=read_only)
        await opened.announce()
        mode = "READ-ONLY" if read_only else "READ-WRITE"
        return Answer(say.ok("the mailbox is open", mode), self._reader(self, opened))

    async def _create(self, scanner: Scanner) -> Answer:
        await self.folders.create(commands.create(scanner).name)
        return Answer(say.ok("made"))

    async def _delete(self, scanner: Scanner) -> Answer:
        await self.folders.delete(commands.named(scanner).name)
        self.ring()
        return Answer(say.ok("deleted"))

    async def _rename(self, scanner: Scanner) -> Answer:
        found = commands.rename(scanner)
        await self.folders.rename(found.old, found.new)
        self.ring()
        return Answer(say.ok("renamed"))

    async def _subscribe(self, scanner: Scanner) -> Answer:
        await self.folders.subscribe(commands.named(scanner).name, True)
        return Answer(say.ok("subscribed"))

    async def _unsubscribe(self, scanner: Scanner) -> Answer:
        await self.folders.subscribe(commands.named(scanner).name, False)
        return Answer(say.ok("unsubscribed"))

    async def _list(self, scanner: Scanner) -> Answer:
        found = listing.list_(scanner)
        if listing.root(found):
            self.conversation.say(f'* LIST (\\Noselect) "{DELIMITER}" ""\r\n'.encode("ascii"))
            return Answer(say.ok("that is all"))
        folders = await self.folders.names()
        selectable = {folder.name for folder in folders if folder.selectable}
        for line in listing.listed(found, folders, await self.folders.subscriptions()):
            self.conversation.say(line.encode())
            if found.status and line.name in selectable:
                await self._tell_status(line.name, found.status)
            await self.conversation.flow()
        return Answer(say.ok("that is all"))

    async def _lsub(self, scanner: Scanner) -> Answer:
        found = listing.lsub(scanner)
        if listing.root(found):
            self.conversation.say(f'* LSUB (\\Noselect) "{DELIMITER}" ""\r\n'.encode("ascii"))
            return Answer(say.ok("that is all"))
        for line in listing.listed_subscriptions(found, await self.folders.subscriptions()):
            self.conversation.say(line.encode(b"LSUB"))
        return Answer(say.ok("that is all"))

    async def _status(self, scanner: Scanner) -> Answer:
        found = commands.status(scanner)
        await self._tell_status(found.name, found.items)
        return Answer(say.ok("that is all"))

    async def _tell_status(self, name: str, items: tuple[StatusItem, ...]) -> None:
        if StatusItem.HIGHESTMODSEQ in items:
            self.conversation.condstore = True  # RFC 7162 3.1: asking for it enables the extension
        view = await (await self.folders.folder(name)).refresh(claims=False)
        numbers = {
            StatusItem.MESSAGES: view.count,
            StatusItem.RECENT: len(view.recent),
            StatusItem.UIDNEXT: view.uid_next,
            StatusItem.UIDVALIDITY: view.uid_validity,
            StatusItem.UNSEEN: view.unseen,
            StatusItem.HIGHESTMODSEQ: view.highest_modseq,
            StatusItem.APPENDLIMIT: self.conversation.limits.message_size,
        }
        told = " ".join(f"{item} {numbers[item]}" for item in items)
        self.conversation.say(b"* STATUS ", say.mailbox(name), f" ({told})\r\n".encode("ascii"))

    async def _append(self, scanner: Scanner) -> Answer:
        """RFC 3501 6.3.11, with the place it went to (RFC 4315 3)."""
        found = commands.append(scanner)
        if b"\0" in found.content:
            raise BadCommand("a message has no NUL (RFC 3501 4.3)")
        folder = await self.destination(found.name)
        async with self.conversation.commons.memory.storing(len(found.content)):
            uid = await folder.append(found.content, found.flags, found.date)
        self.ring_all()
        return Answer(say.ok("kept", f"APPENDUID {folder.uid_validity} {uid}"))

    async def _idle(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        await idle(self.conversation, self.bell, self.before)
        return Answer(say.ok("done"))
