"""Copies that are durable although the peer was not told so.

It happens when one of several copies failed (SMTP has one reply for all of them), and when the
peer left before its reply. The peer sends the same message again, and the copy that is there
already counts: it is not stored a second time.

This is one process's memory, of digests alone. A retry that reaches another process, or one whose
250 was lost on the way, makes a second object; whoever builds the owner's view tells it by the same
sender, recipient and `sent_sha256` in the two traffic records.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, final

from storage.identity import MessageId

_REMEMBERED: Final = 50_000


def delivery_key(sender: str, mailbox: str, sent_sha256: str) -> bytes:
    """Names one delivery: the same envelope, and the same message as the client sent it."""
    return hashlib.sha256(f"{sent_sha256}\0{sender}\0{mailbox}".encode()).digest()


@final
class Unacknowledged:
    """The latest unacknowledged copies of a process. Empty for as long as nothing fails."""

    def __init__(self) -> None:
        self._copies: Final[OrderedDict[bytes, MessageId]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._copies)

    def remember(self, key: bytes, message: MessageId) -> None:
        self._copies[key] = message
        self._copies.move_to_end(key)
        if len(self._copies) > _REMEMBERED:
            self._copies.popitem(last=False)

    def take(self, key: bytes) -> MessageId | None:
        """The copy that is there already. Forgotten: it is acknowledged now, or remembered anew."""
        return self._copies.pop(key, None)
