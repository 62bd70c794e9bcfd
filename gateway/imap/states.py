"""The states of a session (RFC 3501 3) as types: a command exists only where its state has it.

    Stranger  --LOGIN, AUTHENTICATE-->  Resident  --SELECT, EXAMINE-->  Reader
    Reader    --CLOSE, UNSELECT-->      Resident

A Resident is made from an Owner, and an Owner by signing in; a Reader is made from a Resident and an
open folder. Nothing else makes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, final

from gateway.imap.replies import Status
from gateway.imap.scanner import Scanner


class State(Protocol):
    """Where a session stands."""

    def command(self, verb: str) -> Callable[[Scanner], Awaitable[Answer]] | None:
        """What the verb does here; None where there is no such command in this state."""

    async def before(self) -> None:
        """Before each command. Raises Ended where the session may not go on."""

    async def after(self, verb: str) -> None:
        """After each command and before its tagged reply: what happened meanwhile is told."""

    def close(self) -> None:
        """The session has come to its end in this state."""


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended; `then` is the state that it leads to, None where the session stays."""

    status: Status
    then: State | None = None
