"""The post office behind the doors: finds a mailbox, and has a copy stored in its home."""

from __future__ import annotations

from typing import Final, Protocol, final

from gateway.bell import Bells
from policy.address import Address
from storage import mailbox
from storage.identity import MessageId
from storage.located import Located
from storage.lookup import Lookup
from storage.traffic import Envelope


class Post(Protocol):
    """All that the SMTP and LMTP doors know of what lies behind them."""

    def remembered(self, address: Address) -> Located | None:
        """Where the mailbox is at home, as far as that is known without asking. None says nothing of it."""

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
class RegionalPost:
    """The post over the regions' buckets. Holds no key that could open what it stores."""

    def __init__(self, directory: Lookup, bells: Bells | None = None) -> None:
        """`bells`: where the owners' sessions of this process listen for new mail."""
        self._directory: Final = directory
        self._bells: Final = bells

    def remembered(self, address: Address) -> Located | None:
        """See Post."""
        return self._directory.remembered(address)

    async def locate(self, address: Address) -> Located:
        """See Post."""
        return await self._directory.locate(address)

    async def store(self, located: Located, envelope: Envelope, content: bytes) -> MessageId:
        """See Post. The one store that mail is ever put into is the one of the mailbox's home.

        Found once more, from memory where that is fresh: a slow client may have named its recipient
        long ago, and the mailbox may have moved since. A move waits for what was found lately.
        """
        address = Address.parse(envelope.recipient)
        located = self._directory.remembered(address) or await self._directory.locate(address)
        home = self._directory.ground.home(located)
        message = await mailbox.append(home, located, envelope, content)
        if self._bells is not None:
            self._bells.ring(located.account)
        return message
