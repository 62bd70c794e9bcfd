"""Sequence sets (RFC 3501 9, `sequence-set`): which messages a command is about."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self, final

# RFC 3501 9: nz-number is an unsigned 32-bit integer that is not zero.
LARGEST: Final = 0xFFFFFFFF
_NUMBER: Final = r"(?:[1-9][0-9]{0,9}|\*)"
_RANGE: Final = rf"{_NUMBER}(?::{_NUMBER})?"
_SET: Final = re.compile(rf"{_RANGE}(?:,{_RANGE})*\Z")
_MOST_RANGES: Final = 10_000  # a client that syncs names single UIDs by the hundred


class BadSequenceSet(ValueError):
    """Not a sequence set (RFC 3501 9)."""


@final
@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges of numbers as they were written, both ends included; None is `*`, the largest in use."""

    ranges: tuple[tuple[int | None, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2,4:7,9,12:*`. Raises BadSequenceSet."""
        if not _SET.match(text):
            raise BadSequenceSet("a sequence set is expected, such as 2,4:7,9,12:* (RFC 3501 9)")
        parts = text.split(",")
        if len(parts) > _MOST_RANGES:
            raise BadSequenceSet(f"a sequence set has {_MOST_RANGES} ranges at most here")
        ranges = []
        for part in parts:
            first, colon, last = part.partition(":")
            ranges.append((_number(first), _number(last) if colon else _number(first)))
        return cls(tuple(ranges))

    def spans(self, largest: int) -> tuple[tuple[int, int], ...]:
        """Rising, disjoint (first, last) spans; `largest` is what `*` means. None overlap or touch."""
        found: list[tuple[int, int]] = []
        for one, other in sorted(self._ends(largest)):
            if found and one <= found[-1][1] + 1:
                found[-1] = (found[-1][0], max(found[-1][1], other))
            else:
                found.append((one, other))
        return tuple(found)

    def among(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Those of the rising `numbers` that are in the set: UIDs that no longer exist are passed over."""
        if not numbers:
            return ()
        chosen: list[int] = []
        for first, last in self.spans(numbers[-1]):
            chosen.extend(numbers[bisect_left(numbers, first) : bisect_right(numbers, last)])
        return tuple(chosen)

    def _ends(self, largest: int) -> Iterator[tuple[int, int]]:
        for one, other in self.ranges:
            first, last = one or largest, other or largest
            # RFC 3501 9: 2:4 and 4:2 are the same; 559:* holds * even where 559 is above it.
            yield min(first, last), max(first, last)


def compact(numbers: Iterable[int]) -> str:
    """Rising numbers as a `uid-set` (RFC 4315 4): `1:3,7`."""
    parts: list[str] = []
    first = last = 0
    for number in numbers:
        if number != last + 1 or not first:
            if first:
                parts.append(f"{first}:{last}" if last > first else f"{first}")
            first = number
        last = number
    if first:
        parts.append(f"{first}:{last}" if last > first else f"{first}")
    return ",".join(parts)


def _number(text: str) -> int | None:
    if text == "*":
        return None
    number = int(text)
    if number > LARGEST:
        raise BadSequenceSet("a number of a sequence set has 32 bits (RFC 3501 9)")
    return number
