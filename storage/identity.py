"""Names of things at rest: accounts, and messages whose name is their time.

A message's name is a UUID version 7 (RFC 9562 5.7), written as 32 hexadecimal digits: the
first 12 are the millisecond it was received, so that a range of time is a range of keys and
the bucket itself does the selecting. The name is the authority on when a message was
received: the record inside the sealed object repeats it, to the millisecond.

No hyphens: SeaweedFS lists keys out of order where a byte below `/` stands next to one.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, final

from policy.order import Timespan

_ACCOUNT: Final = re.compile(r"[0-9a-f]{32}\Z")
_MESSAGE: Final = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}\Z")  # RFC 9562 5.7
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_TAIL_BITS: Final = 74  # rand_a (12) and rand_b (62)

Clock = Callable[[], datetime]


class IdentityError(ValueError):
    """A text is no account or message name; the message quotes it."""


def utc_now() -> datetime:
    """The wall clock: the default of everything that takes a `Clock`."""
    return datetime.now(UTC)


@final
@dataclass(frozen=True, slots=True, order=True)
class AccountId:
    """An account, for ever: 32 hexadecimal digits of chance. Says nothing of who it is."""

    value: str

    @classmethod
    def parse(cls, text: str) -> AccountId:
        """Raises IdentityError for anything but 32 lower-case hexadecimal digits."""
        if not _ACCOUNT.match(text):
            raise IdentityError(f"{text!r} is not an account id (32 hexadecimal digits)")
        return cls(text)

    @classmethod
    def new(cls) -> AccountId:
        return cls(secrets.token_hex(16))

    def __str__(self) -> str:
        return self.value


@final
@dataclass(frozen=True, slots=True, order=True)
class MessageId:
    """A message at rest: a UUIDv7 as 32 hexadecimal digits. Sorts by time received."""

    value: str

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """Raises IdentityError for anything but an unhyphenated, lower-case UUIDv7."""
        if not _MESSAGE.match(text):
            raise IdentityError(f"{text!r} is not a message id (a UUIDv7 in 32 hexadecimal digits)")
        return cls(text)

    @property
    def received_at(self) -> datetime:
        """UTC, to the millisecond."""
        return _EPOCH + int(self.value[:12], 16) * _MILLISECOND

    def __str__(self) -> str:
        return self.value


class MessageIds:
    """Issues message ids: strictly rising within one millisecond, and so, for times that
    never step back, in the order of issue (RFC 9562 6.2, method 2). Thread-safe.

    A time that steps back gives an id that sorts earlier. The id says when the message was
    received, and an order's timespan is measured against that; it is never bent to keep order.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._milliseconds = -1
        self._tail = 0

    def issue(self, received_at: datetime) -> MessageId:
        """A fresh id for a message received at `received_at` (aware; cut to the millisecond)."""
        milliseconds = _milliseconds(received_at)
        with self._lock:
            if milliseconds == self._milliseconds:
                self._tail += 1 + secrets.randbits(32)
            else:
                # The top bit starts clear: 2^41 more ids fit behind any first one.
                self._milliseconds, self._tail = milliseconds, secrets.randbits(_TAIL_BITS - 1)
            tail = self._tail
        return _composed(milliseconds, tail)


def named_by(received_at: datetime, seed: bytes) -> MessageId:
    """The id of a message whose name is to follow from what it is: `seed` in place of chance.

    `seed` has at least 10 octets, evenly spread (RFC 9562 6.5 allows a hash for them). Raises
    IdentityError for a time that no UUIDv7 can hold.
    """
    return _composed(_milliseconds(received_at), int.from_bytes(seed[:10]) & ((1 << _TAIL_BITS) - 1))


def _milliseconds(moment: datetime) -> int:
    milliseconds = (moment - _EPOCH) // _MILLISECOND
    if not 0 <= milliseconds < 1 << 48:
        raise IdentityError(f"{moment.isoformat()} lies outside the range of a UUIDv7")
    return milliseconds


def _composed(milliseconds: int, tail: int) -> MessageId:
    rand_a, rand_b = tail >> 62, tail & ((1 << 62) - 1)
    return MessageId(f"{milliseconds:012x}7{rand_a:03x}{(0b10 << 62) | rand_b:016x}")


@final
@dataclass(frozen=True, slots=True)
class KeyRange:
    """The ids received in a timespan: those that sort after `after` and before `before`.

    Both are the 12 hexadecimal digits of a millisecond, which sort before every id of it.
    Times inside a millisecond round up at both ends, as ids are cut down to the millisecond:
    `received_at in timespan` and `id in KeyRange.of(timespan)` are then the same statement.
    """

    after: str
    before: str

    @classmethod
    def of(cls, timespan: Timespan | None) -> KeyRange:
        """The ids of a timespan; of all time, where there is none."""
        if timespan is None:
            return cls("0" * 12, "g")
        return cls(_milliseconds_up(timespan.start), _milliseconds_up(timespan.end))

    def __contains__(self, message: MessageId) -> bool:
        return self.after < message.value < self.before


def _milliseconds_up(moment: datetime) -> str:
    milliseconds = -((_EPOCH - moment) // _MILLISECOND)
    return f"{min(max(milliseconds, 0), (1 << 48) - 1):012x}"
