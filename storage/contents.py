"""What lies in a mailbox, message by message: the data in all its versions, its tombstone, its label.

Three folders that are named alike are read side by side, so that a mailbox of any size takes a page
of memory for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, final

from storage.deletion import Candidate
from storage.errors import Corrupt
from storage.flags import FLAGS
from storage.identity import AccountId, IdentityError, MessageId
from storage.labels import LABELS
from storage.tombstones import TOMBSTONES
from storage.versions import Version, Versions

MAIL: Final = "mail/"
_FOLDERS: Final = (MAIL, TOMBSTONES, LABELS, FLAGS)


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


async def stored_messages(
    versions: Versions, account: AccountId, *, start_after: MessageId | None = None
) -> AsyncIterator[Stored]:
    """The messages of an account in key order, which is the order in which they were received.

    Raises Corrupt for an object whose name is no message's; Unavailable, Forbidden.
    """
    streams = [_grouped(versions, f"{folder}{account}/", start_after) for folder in _FOLDERS]
    heads = [await anext(stream, None) for stream in streams]
    while any(heads):
        message = min(head[0] for head in heads if head is not None)
        found: list[Version] = []
        for index, head in enumerate(heads):
            if head is not None and head[0] == message:
                found += head[1]
                heads[index] = await anext(streams[index], None)
        yield Stored(message, tuple(found))


async def stored_message(versions: Versions, account: AccountId, message: MessageId) -> Stored:
    """Everything under one message's name."""
    found = [await versions.of(f"{folder}{account}/{message}") for folder in _FOLDERS]
    return Stored(message, tuple(version for several in found for version in several))


async def _grouped(
    versions: Versions, prefix: str, start_after: MessageId | None
) -> AsyncIterator[tuple[MessageId, list[Version]]]:
    start = f"{prefix}{start_after}" if start_after else None
    current: tuple[MessageId, list[Version]] | None = None
    async for version in versions.list(prefix, start_after=start):
        try:
            message = MessageId.parse(version.key.removeprefix(prefix))
        except IdentityError:
            raise Corrupt(version.key, "its name is no message id") from None
        if current is not None and current[0] == message:
            current[1].append(version)
            continue
        if current is not None:
            yield current
        current = (message, [version])
    if current is not None:
        yield current
