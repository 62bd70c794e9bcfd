"""A set of UIDs in order, as the ranges that it is made of: 100,000 messages in a few octets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, final, overload

_Range = tuple[int, int]  # first and last, both in it


@final
class UidSet(Sequence[int]):
    """Immutable. `uids[n - 1]` is the UID of the message with sequence number n (RFC 3501 2.3.1.2)."""

    __slots__ = ("_before", "ranges")

    def __init__(self, ranges: Iterable[_Range] = ()) -> None:
        """From ranges that rise and do not touch. Raises ValueError for any others."""
        self.ranges: Final = tuple(ranges)
        if any(last < first or first < 1 for first, last in self.ranges) or any(
            right[0] <= left[1] + 1 for left, right in pairwise(self.ranges)
        ):
            raise ValueError("ranges of UIDs that rise and do not touch are expected")
        self._before: Final = (0, *accumulate(last - first + 1 for first, last in self.ranges))

    @classmethod
    def of(cls, uids: Iterable[int]) -> UidSet:
        """The UIDs in any order, as often as they come."""
        return cls(_joined([uid, uid] for uid in sorted(set(uids))))

    @classmethod
    def spanning(cls, ranges: Iterable[_Range]) -> UidSet:
        """The UIDs of ranges that may come in any order, touch and overlap."""
        return cls(_joined([first, last] for first, last in sorted(ranges)))

    @classmethod
    def parse(cls, text: str) -> UidSet:
        """What `str` wrote. Raises ValueError."""
        spans = (part.partition(":") for part in text.split(",") if part)
        return cls((int(first), int(last or first)) for first, _, last in spans)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError("no message has that sequence number")
        at = bisect_right(self._before, index) - 1
        return self.ranges[at][0] + index - self._before[at]

    def __len__(self) -> int:
        return self._before[-1]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, int) and self.position(uid) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UidSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"UidSet({str(self)!r})"

    def __str__(self) -> str:
        """As a sequence set writes it (RFC 3501 9): `1:5,7`."""
        return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in self.ranges)

    def position(self, uid: int) -> int | None:
        """How many of the set come before `uid`; None where it is not in the set."""
        at = bisect_right(self.ranges, (uid, 1 << 64)) - 1
        if at < 0 or uid > self.ranges[at][1]:
            return None
        return self._before[at] + uid - self.ranges[at][0]

    def union(self, other: UidSet) -> UidSet:
        return UidSet.spanning((*self.ranges, *other.ranges))

    def minus(self, other: UidSet) -> UidSet:
        """Those that are not in `other`."""
        left: list[_Range] = []
        gone = iter(other.ranges)
        taken = next(gone, None)
        for first, last in self.ranges:
            while taken is not None and taken[1] < first:
                taken = next(gone, None)
            start = first
            while taken is not None and taken[0] <= last:
                if start < taken[0]:
                    left.append((start, taken[0] - 1))
                start = taken[1] + 1
                if taken[1] > last:
                    break
                taken = next(gone, None)
            if start <= last:
                left.append((start, last))
        return UidSet(left)

    def both(self, other: UidSet) -> UidSet:
        """Those that are in `other` too."""
        return self.minus(self.minus(other))


NONE: Final = UidSet()


def _joined(ranges: Iterable[list[int]]) -> Iterator[_Range]:
    """Ranges that rise by their first, those that touch or overlap made one."""
    current: list[int] | None = None
    for first, last in ranges:
        if current is not None and first <= current[1] + 1:
            current[1] = max(current[1], last)
            continue
        if current is not None:
            yield current[0], current[1]
        current = [first, last]
    if current is not None:
        yield current[0], current[1]
