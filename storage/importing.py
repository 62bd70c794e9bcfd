"""Mail that comes from somewhere else: dates and flags kept, and nothing twice however often it is run.

A message that is imported gets a name that follows from where it came from and what it says. A run
that died is simply run again: what is there already is passed over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from storage.errors import AlreadyExists
from storage.flags import Flags, put_flags
from storage.folder_notes import leave_note
from storage.identity import AccountId, MessageId, named_by
from storage.located import Located
from storage.mailbox import append
from storage.region import RegionStore
from storage.traffic import Envelope

PROTOCOL: Final = "import"  # in the traffic record, where RFC 3848 has ESMTP


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A message where it lay. `place` names it there for ever: a Maildir's unique name, an mbox's
    position. `content` has CRLF line ends; `received_at` is aware."""

    place: str
    content: bytes
    received_at: datetime
    sender: str = ""
    flags: Flags = Flags()  # noqa: RUF009 - frozen


def imported_name(account: AccountId, found: Found) -> MessageId:
    """The name of a message by its time, place and content: the same one in every run."""
    digest = hashlib.sha256(found.content).hexdigest()
    text = f"situs import\0{account}\0{found.place}\0{digest}"
    return named_by(found.received_at, hashlib.sha256(text.encode()).digest())


async def import_message(home: RegionStore, located: Located, recipient: str, found: Found) -> bool:
    """Put a message into its mailbox; False where an earlier run has done so. Raises as `append`.

    The flags first: a crash in between leaves flags of a message that the next run brings.
    """
    name = imported_name(located.account, found)
    envelope = Envelope(found.sender, recipient, "", "", found.received_at, PROTOCOL)
    if found.flags != Flags():
        await put_flags(home, located.keys, located.account, name, found.flags)
    try:
        await append(home, located, envelope, found.content, message=name)
    except AlreadyExists:
        return False
    return True


async def announce(home: RegionStore, located: Located, now: datetime) -> None:
    """Have the owner's folders look for mail of any date: before a run, so that one that dies is not
    forgotten, and after it. Raises Unavailable, Forbidden."""
    await leave_note(home, located.keys, located.account, now)
