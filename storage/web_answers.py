"""What a web server answers, read to its end and no further than one is ready to hold."""

from __future__ import annotations

import aiohttp


class TooLong(ValueError):
    """The answer is longer than anything that was asked for could be."""


async def read_whole(content: aiohttp.StreamReader, limit: int) -> bytes:
    """The whole body, at most `limit` octets of it. Raises TooLong; aiohttp.ClientError.

    `StreamReader.read(n)` gives what has arrived so far, and no more: for a body of more than one
    packet, its beginning.
    """
    parts: list[bytes] = []
    length = 0
    async for part in content.iter_any():
        length += len(part)
        if length > limit:
            raise TooLong(f"more than {limit} octets")
        parts.append(part)
    return b"".join(parts)
