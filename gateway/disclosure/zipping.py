"""A ZIP that is written from its beginning to its end, and never gone back into.

Stored, not compressed: what is inside is found by offset with any tool, and building costs what reading
costs. Python's `zipfile` writes to what it can seek in, or leaves sizes out of the local headers, which
makes a stored file unreadable to whoever reads a ZIP as a stream; here sizes and sums are known beforehand.
"""

from __future__ import annotations

import struct
import zlib
from datetime import datetime
from typing import Final, final

# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT 4.3.7, 4.3.12 and 4.3.16
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_VERSION: Final = 20  # 2.0: folders in names
_UNIX: Final = 3 << 8
_REGULAR_FILE: Final = 0o100600 << 16
_MOST: Final = 0xFFFF  # entries, before a reader has to know ZIP64
_ENTRY: Final = _LOCAL.size + _CENTRAL.size


@final
class Archive:
    """What stands around the files: whoever writes puts `before`, then the file, and `end` last."""

    def __init__(self) -> None:
        self._directory: Final[list[bytes]] = []
        self._directory_size = 0
        self._offset = 0

    def has_room(self, path: str, content: bytes, most: int) -> bool:
        """Whether it takes one more file, and the whole ZIP were then of `most` octets or fewer."""
        added = _ENTRY + 2 * len(path) + len(content)
        size = self._offset + self._directory_size + added + _END.size
        return len(self._directory) < _MOST and size <= most

    def before(self, path: str, modified: datetime, content: bytes) -> bytes:
        """What stands before the file's own octets. `path` is ASCII; `modified` in UTC."""
        name, (day, clock), size = path.encode("ascii"), _dos_time(modified), len(content)
        # flags, method (0: stored), time, day, CRC-32, size packed and unpacked, length of name
        common = (0, 0, clock, day, zlib.crc32(content), size, size, len(name))
        local = _LOCAL.pack(b"PK\x03\x04", _VERSION, *common, 0) + name
        entry = _CENTRAL.pack(
            b"PK\x01\x02", _UNIX | _VERSION, _VERSION, *common, 0, 0, 0, 0, _REGULAR_FILE, self._offset
        )
        self._directory.append(entry + name)
        self._directory_size += len(entry) + len(name)
        self._offset += len(local) + size
        return local

    def end(self) -> bytes:
        """The directory of all files, and where it begins."""
        files = len(self._directory)
        end = _END.pack(b"PK\x05\x06", 0, 0, files, files, self._directory_size, self._offset, 0)
        return b"".join((*self._directory, end))


def _dos_time(moment: datetime) -> tuple[int, int]:
    """Day and time as a ZIP has them (4.4.6), in two seconds: from 1980 on."""
    if moment.year < 1980:
        return (1 << 5) | 1, 0
    day = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return day, moment.hour << 11 | moment.minute << 5 | moment.second // 2
