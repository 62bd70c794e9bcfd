"""One TOML table, read strictly: every fault is noted with its file, line and key, and reading goes on.

A lawyer who has edited a file wants all its faults at once. So a reader's methods never
raise: a faulty value becomes a `Fault` and a stand-in, and nobody sees the stand-in, since
`policy.lawbook` makes no lawbook while there is a fault.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar, final

from policy.geography import GeographyError, Jurisdiction
from policy.toml_lines import Path, line_numbers, nearest_line

_Word = TypeVar("_Word", bound=StrEnum)
_LONGEST_DAYS: Final = 36_500


@final
@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a lawbook: where, and the rule that it breaks."""

    file: str
    line: int
    key: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.rule}"


@final
class Table:
    """A TOML table being read. `finish` reports every key that nobody asked for."""

    def __init__(
        self, file: str, values: Mapping[str, Any], path: Path, lines: dict[Path, int], faults: list[Fault]
    ) -> None:
        self.file: Final = file
        self._values: Final = values
        self._path: Final = path
        self._lines: Final = lines
        self._faults: Final = faults
        self._read: Final[set[str]] = set()

    @classmethod
    def document(cls, file: str, body: bytes, faults: list[Fault]) -> Table | None:
        """The whole file, or None after noting why it is not TOML."""
        try:
            text = body.decode("utf-8")
            values = tomllib.loads(text)
        except UnicodeDecodeError as error:
            faults.append(Fault(file, body.count(b"\n", 0, error.start) + 1, "(file)", "not UTF-8"))
            return None
        except tomllib.TOMLDecodeError as error:
            faults.append(Fault(file, _syntax_line(str(error), body), "(file)", f"not TOML: {error}"))
            return None
        return cls(file, values, (), line_numbers(text.replace("\r\n", "\n")), faults)

    def fault(self, key: str, rule: str) -> None:
        """Note that `key` breaks `rule`."""
        path = (*self._path, key) if key else self._path
        self._faults.append(Fault(self.file, nearest_line(self._lines, path), _dotted(path), rule))

    def has(self, key: str) -> bool:
        return key in self._values

    def finish(self) -> None:
        for key in self._values:
            if key not in self._read:
                self.fault(key, f"unknown key; known here: {', '.join(sorted(self._read))}")

    def text(self, key: str) -> str:
        value = self._take(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.fault(key, "a text that is not empty is expected")
            return ""
        return " ".join(value.split())

    def texts(self, key: str) -> tuple[str, ...]:
        """An optional list of texts."""
        if not self._optional(key):
            return ()
        return tuple(" ".join(value.split()) for value in self._strings(key))

    def flag(self, key: str, *, default: bool) -> bool:
        if not self._optional(key):
            return default
        value = self._values[key]
        if not isinstance(value, bool):
            self.fault(key, "true or false is expected")
            return default
        return value

    def word(self, key: str, kind: type[_Word], default: _Word | None = None) -> _Word:
        if default is not None and not self._optional(key):
            return default
        value = self._take(key)
        stand_in = default or next(iter(kind))
        if value is None:
            return stand_in
        try:
            return kind(value)
        except ValueError:
            self.fault(key, f"{value!r} is not one of {', '.join(kind)}")
            return stand_in

    def words(self, key: str, kind: type[_Word], *, required: bool) -> frozenset[_Word]:
        """A list of words, each once; empty only where the key is optional and left out."""
        if not required and not self._optional(key):
            return frozenset()
        found: set[_Word] = set()
        for value in self._strings(key):
            try:
                found.add(kind(value))
            except ValueError:
                self.fault(key, f"{value!r} is not one of {', '.join(kind)}")
        return frozenset(found)

    def names(self, key: str, *, required: bool = True) -> frozenset[str]:
        if not required and not self._optional(key):
            return frozenset()
        return frozenset(self._strings(key))

    def jurisdiction(self, key: str) -> Jurisdiction:
        value = self._take(key)
        return self._jurisdiction(key, value) if value is not None else Jurisdiction("XX")

    def jurisdictions(self, key: str, *, required: bool = True) -> frozenset[Jurisdiction]:
        return frozenset(self._jurisdiction(key, name) for name in self.names(key, required=required))

    def day(self, key: str) -> datetime | None:
        """An optional TOML date, as its first moment in UTC."""
        if not self._optional(key):
            return None
        value = self._values[key]
        if not isinstance(value, date) or isinstance(value, datetime):
            self.fault(key, "a date without a time is expected, such as 2026-08-18")
            return None
        return datetime(value.year, value.month, value.day, tzinfo=UTC)

    def years(self, key: str) -> float:
        if not self._optional(key):
            return 0.0
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
            self.fault(key, "a number of years above 0 and up to 100 is expected")
            return 0.0
        return float(value)

    def count(self, key: str) -> int | None:
        if not self._optional(key):
            return None
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1000:
            self.fault(key, "a whole number from 1 to 1000 is expected")
            return None
        return value

    def span(self, name: str) -> timedelta | None:
        """`<name>days` or `<name>hours`, at most one of them."""
        days, hours = self._whole(f"{name}days"), self._whole(f"{name}hours")
        if days is not None and hours is not None:
            self.fault(f"{name}hours", f"give {name}days or {name}hours, not both")
        if days is not None:
            return timedelta(days=days)
        return timedelta(hours=hours) if hours is not None else None

    def required_span(self, name: str) -> timedelta:
        span = self.span(name)
        if span is None:
            self.fault("", f"{name}days or {name}hours is required here")
        return span or timedelta(days=1)

    def table(self, key: str) -> Table | None:
        """An optional sub-table."""
        if not self._optional(key):
            return None
        value = self._values[key]
        if not isinstance(value, dict):
            self.fault(key, "a table is expected")
            return None
        return Table(self.file, value, (*self._path, key), self._lines, self._faults)

    def tables(self, key: str) -> list[Table]:
        """An array of tables, possibly none."""
        if not self._optional(key):
            return []
        value = self._values[key]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fault(key, f"an array of tables is expected: [[{key}]]")
            return []
        return [
            Table(self.file, item, (*self._path, key, index), self._lines, self._faults)
            for index, item in enumerate(value)
        ]

    def keys(self) -> Iterable[str]:
        """Every key: for a table whose keys are data (the regions)."""
        self._read.update(self._values)
        return self._values.keys()

    def _take(self, key: str) -> Any:
        self._read.add(key)
        if key not in self._values:
            self.fault("", f"the key {key!r} is required here")
            return None
        return self._values[key]

    def _optional(self, key: str) -> bool:
        self._read.add(key)
        return key in self._values

    def _strings(self, key: str) -> list[str]:
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            self.fault(key, "a list of one or more texts is expected")
            return []
        if len(set(value)) != len(value):
            self.fault(key, "a word stands twice")
        return value

    def _jurisdiction(self, key: str, value: object) -> Jurisdiction:
        try:
            return Jurisdiction.parse(value)  # type: ignore[arg-type]  # it says so itself where it is no text
        except GeographyError as error:
            self.fault(key, str(error))
            return Jurisdiction("XX")

    def _whole(self, key: str) -> int | None:
        if not self._optional(key):
            return None
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LONGEST_DAYS:
            self.fault(key, f"a whole number from 1 to {_LONGEST_DAYS} is expected")
            return None
        return value


def _dotted(path: Path) -> str:
    """`("instrument", 0, "grant", 1)` -> `instrument[1].grant[2]`: people count from one."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(file)"


def _syntax_line(message: str, body: bytes) -> int:
    """tomllib says "(at line 3, column 5)", or "(at end of document)"."""
    _, found, place = message.partition("(at line ")
    return int(place.split(",")[0]) if found else body.count(b"\n") + 1
