"""What its owner has deleted: gone from the owner's view, and kept for as long as a hold says.

The message stays where it lies, and `deleted/<account>/<message>` says that the owner wants it gone.
A delete marker on the message itself would hide it from everybody: from the law, which must still
find it, and from whoever counts what is at home here. The sweeper destroys both together.

A tombstone has the message's own name, so that one key range lists both, side by side. It holds
no octet: the time of deletion is the bucket's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from storage.errors import AlreadyExists
from storage.identity import AccountId, MessageId
from storage.objects import Bucket

TOMBSTONES: Final = "deleted/"


def tombstone_key(account: AccountId, message: MessageId) -> str:
    return f"{TOMBSTONES}{account}/{message}"


async def hide(bucket: Bucket, account: AccountId, message: MessageId) -> None:
    """The owner deletes a message. Done twice, it is done."""
    with suppress(AlreadyExists):
        await bucket.put_if_absent(tombstone_key(account, message), b"")


async def hidden(
    bucket: Bucket, account: AccountId, *, start_after: MessageId | None = None
) -> AsyncIterator[MessageId]:
    """The messages that their owner has deleted and that are still here, in order of time."""
    prefix = f"{TOMBSTONES}{account}/"
    start = f"{prefix}{start_after}" if start_after else None
    async for listed in bucket.list(prefix, start_after=start):
        yield MessageId.parse(listed.key.rpartition("/")[2])
