"""On which line each key of a TOML text stands.

`tomllib` gives values without their places, and a fault in a lawbook must name its line.
This reads only as much of TOML 1.0 as that needs: headers, the keys at the start of a line,
and enough of strings, comments and brackets to know where a value goes on over several lines.
The text has already been parsed by `tomllib`, so it is known to be well-formed.
"""

from __future__ import annotations

import re
from typing import Final

Path = tuple[str | int, ...]

_PART: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY: Final = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
_HEADER: Final = re.compile(rf"\s*(\[\[?)\s*({_PART}(?:\s*\.\s*{_PART})*)\s*\]")
# What can change the depth of brackets or begin a string, in the order to be tried.
_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|' + r"'''.*?'''|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]",
    re.DOTALL,
)


def line_numbers(text: str) -> dict[Path, int]:
    """Dotted path -> line, counted from 1; array-of-tables elements by index.

    `[[grant]]` twice gives `("grant", 0)` and `("grant", 1)`; the document itself is `()`.
    """
    lines: dict[Path, int] = {(): 1}
    lengths: dict[Path, int] = {}
    table: Path = ()
    for number, line in _starts(text):
        if header := _HEADER.match(line):
            table = _resolve(_parts(header.group(2)), lengths, append=header.group(1) == "[[")
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = table
            for part in _parts(key.group(1)):
                path = (*path, part)
                lines.setdefault(path, number)
    return lines


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """The line of `path` (of its first element, for an array), or of the innermost table around it."""
    while path not in lines and (*path, 0) not in lines:
        path = path[:-1]
    return lines.get(path) or lines[(*path, 0)]


def _starts(text: str) -> list[tuple[int, str]]:
    """The lines on which no value from above is still going on; each with all of its value."""
    starts: list[tuple[int, str]] = []
    depth, number = 0, 1
    first, begin = 1, 0  # where the statement that is being read began
    for token in _TOKEN.finditer(text):
        word = token.group()
        number += word.count("\n")
        if word == "\n" and depth == 0:
            starts.append((first, text[begin : token.start()]))
            first, begin = number, token.end()
        elif word in "[{":
            depth += 1
        elif word in "]}":
            depth -= 1
    return [*starts, (first, text[begin:])]


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]


def _resolve(parts: list[str], lengths: dict[Path, int], *, append: bool) -> Path:
    """A header's dotted name as a path: each array of tables on the way means its last element."""
    path: Path = ()
    for position, part in enumerate(parts):
        path = (*path, part)
        if append and position == len(parts) - 1:
            lengths[path] = lengths.get(path, 0) + 1
        if path in lengths:
            path = (*path, lengths[path] - 1)
    return path
