"""Mail on its way in: one sealed object in the account's home, or nothing anywhere.

What is needed here is a public key and the right to put one object. Nothing in this module
can open what it has written, or list it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from storage.errors import AccountClosed, AccountSuspended, FenceBroken
from storage.identity import AccountId, MessageId, MessageIds
from storage.located import AccountStatus, Located
from storage.region import RegionStore
from storage.sealing import Binding, seal_message
from storage.traffic import Envelope, describe, write_record

__all__ = ["Envelope", "append", "message_key"]

_IDS: Final = MessageIds()
# Sealing takes about 12 us per KiB: from here on it would hold up every other session.
_LONG_ENOUGH_FOR_A_THREAD: Final = 256 * 1024


def message_key(account: AccountId, message: MessageId) -> str:
    """Where a message lies."""
    return f"mail/{account}/{message}"


async def append(
    home: RegionStore,
    located: Located,
    envelope: Envelope,
    content: bytes,
    *,
    message: MessageId | None = None,
) -> MessageId:
    """Seal one copy of a message to the account's keys and put it into its home.

    When this returns, the object is durable; when it raises, the message may be refused with
    a temporary failure, and the client's retry is a new object. `content` is the message with
    its trace header fields and CRLF line ends, and comes back octet for octet when it is opened.
    `message` is the name for it where the caller has one that names this very message (an import
    that may be run again): then what is there already is left as it is, and AlreadyExists raised.

    Raises FenceBroken for a store that is not the account's home, AccountSuspended and
    AccountClosed, IdentityError for a time that no UUIDv7 can hold, and Unavailable, Forbidden
    or Rejected from the bucket.
    """
    if home.region != located.home:
        raise FenceBroken(f"a mailbox at home in {located.home} takes no mail in {home.region}")
    if located.status is AccountStatus.SUSPENDED:
        raise AccountSuspended("the account takes no mail for now")
    if located.status is AccountStatus.CLOSED:
        raise AccountClosed("the account is closed")
    named = message is not None
    message = message or _IDS.issue(envelope.received_at)
    key = message_key(located.account, message)
    if len(content) < _LONG_ENOUGH_FOR_A_THREAD:
        sealed = _seal(located, key, message, envelope, content)
    else:
        sealed = await asyncio.to_thread(_seal, located, key, message, envelope, content)
    # The key is of chance and this call's own: a retried put that finds it there found itself.
    await home.mail.put_if_absent(key, sealed, legal_hold=located.legal_hold, fresh_key=not named)
    return message


def _seal(located: Located, key: str, message: MessageId, envelope: Envelope, content: bytes) -> bytes:
    traffic = write_record(describe(message, envelope, content))
    return seal_message(located.keys, Binding(located.home.code, key), traffic, content)
