"""The post office behind the doors: finds a mailbox, and has a copy stored in its home."""

from __future__ import annotations

from typing import Final, Protocol, final

from policy.address import Address
from storage.identity import MessageId
from storage.located import Located
from storage.lookup import Lookup
from storage.mailbox import append
from storage.traffic import Envelope


class Post(Protocol):
    """All that the SMTP and LMTP doors know of what lies behind them."""

    async def locate(self, address: Address) -> Located:
        """Where the mailbox is at home.

        Raises UnknownAddress, AccountSuspended, AccountClosed; Unavailable where nobody can
        say for now. Never guesses a region.
        """

    async def store(self, located: Located, envelope: Envelope, content: bytes) -> MessageId:
        """Makes one copy durable in the mailbox's home; `content` has its trace fields and CRLF.

        When this returns, the copy is durable. When it raises (StorageError) or is cancelled,
        nothing is promised of it, and it is nowhere but in its home.
        """


@final
class HomePost:
    """The post office of a process that serves mail: the directory, and each mailbox's own home."""

    def __init__(self, directory: Lookup) -> None:
        self._directory: Final = directory

    async def locate(self, address: Address) -> Located:
        return await self._directory.locate(address)

    async def store(self, located: Located, envelope: Envelope, content: bytes) -> MessageId:
        return await append(self._directory.ground.home(located), located, envelope, content)
