"""JSON that can be read in one way only.

Python's parser keeps the last of two equal keys where another keeps the first, takes NaN, and
recurses as deep as the text tells it to. Whoever signs a text that two readers read
differently has signed two orders; this reader refuses such texts (RFC 8259 4, RFC 7493).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 12  # the deepest that an order needs is four

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class JsonFault(ValueError):
    """Not JSON, or JSON with more than one reading. The message names the rule."""


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """UTF-8 JSON text -> its value. Raises JsonFault; the size is the caller's to limit."""
    _limit_depth(raw, max_depth)
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
        # A lone surrogate escape makes a text that no encoder can write (RFC 7493 2.1).
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except JsonFault:
        raise
    except UnicodeDecodeError:
        raise JsonFault("not UTF-8 (RFC 8259 8.1)") from None
    except UnicodeEncodeError:
        raise JsonFault("a string holds half of a surrogate pair (RFC 7493 2.1)") from None
    except json.JSONDecodeError as error:
        raise JsonFault(f"not JSON: {error.msg} at character {error.pos} (RFC 8259)") from None
    except (ValueError, RecursionError):  # an integer of more digits than Python converts
        raise JsonFault("a number is too long (RFC 8259 6)") from None
    return value


def _limit_depth(raw: bytes, limit: int) -> None:
    if raw.count(b"{") + raw.count(b"[") <= limit:
        return
    depth = 0
    for byte in _STRING.sub(b"", raw):
        if byte in b"{[":
            depth += 1
            if depth > limit:
                raise JsonFault(f"nested deeper than {limit} levels (RFC 8259 9)")
        elif byte in b"}]":
            depth -= 1


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise JsonFault(f"the name {name[:64]!r} stands twice in one object (RFC 7493 2.3)")
        found[name] = value
    return found


def _no_constant(word: str) -> NoReturn:
    raise JsonFault(f"{word} is not JSON (RFC 8259 6)")
