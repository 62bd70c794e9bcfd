"""What anybody may say in any state of a session (RFC 3501 6.1, RFC 2971)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, final

from gateway.imap import commands
from gateway.imap import replies as say
from gateway.imap.conversation import Conversation
from gateway.imap.replies import Ended
from gateway.imap.scanner import Scanner
from gateway.imap.states import Answer


class LoggedOut(Ended):
    """LOGOUT: the goodbye has a tagged reply behind it."""


@final
class Anybody:
    """The commands that every state has."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation

    def command(self, verb: str) -> Callable[[Scanner], Awaitable[Answer]] | None:
        """See State."""
        match verb:
            case "CAPABILITY":
                return self._capability
            case "NOOP":
                return self._noop
            case "ID":
                return self._id
            case "LOGOUT":
                return self._logout
            case _:
                return None

    async def _capability(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        self._conversation.say(f"* CAPABILITY {self._conversation.capabilities()}\r\n".encode("ascii"))
        return Answer(say.ok("that is all"))

    async def _noop(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        return Answer(say.ok("done"))

    async def _id(self, scanner: Scanner) -> Answer:
        """RFC 2971 3.1. The version stays untold: it helps nobody but those who look for old ones."""
        commands.identify(scanner)
        self._conversation.say(b'* ID ("name" "Situs")\r\n')
        return Answer(say.ok("pleased to meet you"))

    async def _logout(self, scanner: Scanner) -> Answer:
        commands.plain(scanner)
        raise LoggedOut(say.GOODBYE)
