"""The owner's own mail, out again (GDPR Art. 15 and 20): what the owner sees, and nothing that is hidden.

What the owner has deleted is gone from the owner's view, even while a hold keeps it. A delivery that
was sent again, since the answer to the first was lost, is one message, as it is in a folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, final

from storage.errors import Corrupt
from storage.flags import Flags, read_flags
from storage.folder_arrivals import delivery_of
from storage.folder_places import places_of
from storage.folder_vault import FolderDocuments
from storage.identity import MessageId
from storage.in_order import in_order
from storage.keyring import Keyholder, Keyring
from storage.located import Located
from storage.opening import Opener
from storage.region import RegionStore
from storage.tombstones import hidden

_AT_ONCE: Final = 8


@final
@dataclass(frozen=True, slots=True)
class Exported:
    """One message as it was received, octet for octet, with where its owner keeps it."""

    message: MessageId
    content: bytes
    flags: Flags
    delivery: str | None = None
    """See `storage.folder_arrivals.delivery_of`."""


@final
@dataclass(frozen=True, slots=True)
class NotExported:
    """A message that could not be opened: an export says so, it does not leave it out in silence."""

    message: MessageId
    rule: str


async def owners_mail(home: RegionStore, located: Located) -> AsyncIterator[Exported | NotExported]:
    """Every message that the owner can see, oldest first. Raises Unavailable, Forbidden, Corrupt."""
    account = located.account
    opener = Opener(home, account)
    keyring = await Keyring.load(home.mail, home.keys, Keyholder(home.region.code, account))
    places = await places_of(FolderDocuments(home, account, keyring))

    async def open_one(message: MessageId) -> Exported | NotExported:
        try:
            record, content = await opener.message(message)
            # Where the owner keeps it; where it came from, if no folder has taken it in yet.
            filed = places.flags.get(message)
            flags = filed or await read_flags(home, keyring, account, message)
            return Exported(message, content, flags, delivery_of(record))
        except Corrupt as error:
            return NotExported(message, error.rule)

    async def wanted() -> AsyncIterator[MessageId]:
        async for message in visible(home, located):
            if str(message) not in places.leaving:
                yield message

    seen: set[str] = set()
    async for one in in_order(wanted(), open_one, _AT_ONCE):
        if isinstance(one, Exported) and one.delivery is not None:
            # What a folder shows is shown here, whatever came before it.
            if one.delivery in seen and one.message not in places.flags:
                continue
            seen.add(one.delivery)
        yield one


async def visible(home: RegionStore, located: Located) -> AsyncIterator[MessageId]:
    """The names of the messages that the owner has not deleted, in order. A page in memory."""
    prefix = f"mail/{located.account}/"
    deleted = hidden(home.mail, located.account)
    tombstone = await anext(deleted, None)
    async for listed in home.mail.list(prefix):
        message = MessageId.parse(listed.key.removeprefix(prefix))
        while tombstone is not None and tombstone < message:
            tombstone = await anext(deleted, None)
        if message != tombstone:
            yield message
