"""How the gateway works, where the law leaves it open: bounds, lifetimes, rates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, final

MEBIBYTE: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """How the gateway works, where the law leaves it open. Raises ValueError for less than is safe.

    `body_limit` in octets; `body_time` for a whole request body; `part_size`: octets of plaintext
    that a part is filled up to (a larger message has a part of its own, up to 64 MiB);
    `package_lifetime`: how long a package can be fetched; `approval_wait`: how long an approval's
    answer may wait for the package to be made; `attempts_a_minute`: requests of one operator;
    `strangers_a_minute`: of one peer without a valid token; `nearly_due`: when a deadline begins to
    be called near.
    """

    body_limit: int = MEBIBYTE
    body_time: timedelta = timedelta(seconds=20)
    part_size: int = 16 * MEBIBYTE
    package_lifetime: timedelta = timedelta(days=14)
    approval_wait: timedelta = timedelta(seconds=25)
    attempts_a_minute: int = 600
    strangers_a_minute: int = 600
    nearly_due: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if not MEBIBYTE // 16 <= self.part_size <= 64 * MEBIBYTE:
            raise ValueError("part_size: from 64 KiB to 64 MiB is expected")
        if not 1024 <= self.body_limit <= 16 * MEBIBYTE:
            raise ValueError("body_limit: from 1 KiB to 16 MiB is expected")
