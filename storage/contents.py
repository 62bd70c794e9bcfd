"""What lies in a mailbox, message by message: the data in all its versions, its tombstone, its label.

Three folders that are named alike are read side by side, so that a mailbox of any size takes a page
of memory for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, final

from storage.deletion import Candidate
from storage.errors import Corrupt
from storage.flags import FLAGS
from storage.identity import AccountId, IdentityError, MessageId
from storage.labels import LABELS
from storage.objects import Bucket, Listed
from storage.tombstones import TOMBSTONES
from storage.versions import Version, Versions

MAIL: Final = "mail/"
_FOLDERS: Final = (MAIL, TOMBSTONES, LABELS, FLAGS)

_T = TypeVar("_T", Version, Listed)


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """Everything under one message's name. Some of it may be there without the rest, after a crash."""

    message: MessageId
    versions: tuple[Version, ...]

    @property
    def has_data(self) -> bool:
        """Whether a version of the message itself is there, hidden or not."""
        return any(one.key.startswith(MAIL) and not one.is_marker for one in self.versions)

    @property
    def deleted_by_owner(self) -> bool:
        """By our tombstone, or by a delete marker on the message: some other tool's way to say it."""
        return any(
            one.latest and one.is_marker == one.key.startswith(MAIL)
            for one in self.versions
            if one.key.startswith((MAIL, TOMBSTONES))
        )

    @property
    def label_key(self) -> str | None:
        found = (one for one in self.versions if one.key.startswith(LABELS))
        return next((one.key for one in found if one.latest and not one.is_marker), None)

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.versions, self.message)


@final
@dataclass(frozen=True, slots=True)
class Shown:
    """What a plain read finds under one message's name: the newest of each object, and nothing hidden."""

    message: MessageId
    objects: tuple[Listed, ...]

    @property
    def octets(self) -> int:
        return sum(one.size for one in self.objects)


async def stored_messages(
    versions: Versions, account: AccountId, *, start_after: MessageId | None = None
) -> AsyncIterator[Stored]:
    """The messages of an account in key order, which is the order in which they were received.

    Raises Corrupt for an object whose name is no message's; Unavailable, Forbidden.
    """

    def listed(prefix: str) -> AsyncIterator[Version]:
        return versions.list(prefix, start_after=f"{prefix}{start_after}" if start_after else None)

    async for message, found in _side_by_side(listed, account):
        yield Stored(message, found)


async def shown_messages(bucket: Bucket, account: AccountId) -> AsyncIterator[Shown]:
    """The same for a plain read, which an engine lists at half the cost. Raises as `stored_messages`."""
    async for message, found in _side_by_side(bucket.list, account):
        yield Shown(message, found)


async def stored_message(versions: Versions, account: AccountId, message: MessageId) -> Stored:
    """Everything under one message's name."""
    found = [await versions.of(f"{folder}{account}/{message}") for folder in _FOLDERS]
    return Stored(message, tuple(version for several in found for version in several))


async def _side_by_side(
    listed: Callable[[str], AsyncIterator[_T]], account: AccountId
) -> AsyncIterator[tuple[MessageId, tuple[_T, ...]]]:
    prefixes = [f"{folder}{account}/" for folder in _FOLDERS]
    streams = [_grouped(listed(prefix), prefix) for prefix in prefixes]
    # The first pages together: most mailboxes have nothing in the folders beside the mail.
    heads = list(await asyncio.gather(*(anext(stream, None) for stream in streams)))
    while any(heads):
        message = min(head[0] for head in heads if head is not None)
        found: list[_T] = []
        for index, head in enumerate(heads):
            if head is not None and head[0] == message:
                found += head[1]
                heads[index] = await anext(streams[index], None)
        yield message, tuple(found)


async def _grouped(listed: AsyncIterator[_T], prefix: str) -> AsyncIterator[tuple[MessageId, Sequence[_T]]]:
    current: tuple[MessageId, list[_T]] | None = None
    async for one in listed:
        try:
            message = MessageId.parse(one.key.removeprefix(prefix))
        except IdentityError:
            raise Corrupt(one.key, "its name is no message id") from None
        if current is not None and current[0] == message:
            current[1].append(one)
            continue
        if current is not None:
            yield current
        current = (message, [one])
    if current is not None:
        yield current
