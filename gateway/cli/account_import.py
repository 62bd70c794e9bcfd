"""Many accounts out of one CSV file: read a line at a time, made side by side, named where they fail."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from gateway.cli.errand import note
from gateway.cli.outcome import UsageFault
from gateway.house import House
from policy.address import Address, AddressError
from policy.geography import RegionCode
from storage.accounts import SubscriberFault, parse_display_name, parse_password
from storage.audit.entry import Event
from storage.errors import AddressTaken, StorageError, Unavailable, UnknownAddress
from storage.in_order import as_stream, in_order

_REQUIRED: Final = ("address", "home")
_OPTIONAL: Final = ("display_name", "password")
_AT_ONCE: Final = 32


@final
@dataclass(slots=True)
class Imported:
    """What came of a file. `faults` are one line each, in the order of the file."""

    made: int = 0
    there: int = 0  # made by an earlier run, at the same home
    wrong: int = 0  # of the faults: those that running it again will not help
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return {"made": self.made, "there": self.there, "failed": len(self.faults), "faults": self.faults}


class _Wrong(Exception):
    """A line that asks for what cannot be."""


class _NotNow(Exception):
    """A line that somebody is at: an import that was killed a moment ago, most likely."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    fields: Mapping[str | None, str | list[str]]

    def text(self, name: str) -> str:
        value = self.fields.get(name) or ""
        return value if isinstance(value, str) else ""


async def import_accounts(house: House, file: Path) -> Imported:
    """Make every account that the file asks for and that is not there yet.

    Raises UsageFault, before anything is made, for a file that is no such CSV. A line that fails
    is reported, and the others are done.
    """
    total = sum(1 for _ in _lines(file))
    result = Imported()
    seen: dict[Address, int] = {}

    async def handle(line: _Line) -> str | None:
        try:
            if await _make(house, line, seen):
                result.made += 1
            else:
                result.there += 1
        except (_Wrong, _NotNow, StorageError) as error:
            result.wrong += not isinstance(error, _NotNow | Unavailable)
            return f"{file}:{line.number}: {error}"
        return None

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("accounts", total=total)
        async for fault in in_order(as_stream(_lines(file)), handle, _AT_ONCE):
            bar.advance(task)
            if fault is not None:
                result.faults.append(fault)
    return result


async def _make(house: House, line: _Line, seen: dict[Address, int]) -> bool:
    """False where the account is there already, at the same home.

    Raises _Wrong, StorageError; _NotNow for an address that is reserved: for a minute it is somebody's
    who may be dead (`storage.directory`), and then anybody may go on with it.
    """
    if None in line.fields:
        raise _Wrong("it has more fields than the first line has names")
    try:
        address = Address.parse(line.text("address").strip())
    except AddressError as error:
        raise _Wrong(f"address: {error}") from None
    home = _home(house, line.text("home").strip())
    try:
        display_name = parse_display_name(line.text("display_name").strip())
        password = parse_password(line.text("password")) if line.text("password") else None
    except SubscriberFault as fault:
        raise _Wrong(str(fault)) from None
    if (earlier := seen.setdefault(address, line.number)) != line.number:
        raise _Wrong(f"address: it stands in line {earlier} already")
    try:
        await house.directory.create(
            address,
            home,
            password=password,
            display_name=display_name,
            first=lambda made: note(house, home, Event.ACCOUNT_CREATED, made),
        )
    except AddressTaken as taken:
        try:
            located = await house.directory.find(address)
        except UnknownAddress:
            raise _NotNow(str(taken)) from None
        if located.home.code != home:
            raise _Wrong(f"home: the account is there already, at home in {located.home.code}") from None
        return False
    return True


def _home(house: House, text: str) -> RegionCode:
    for code in house.config.serves:
        if str(code) == text:
            return code
    served = ", ".join(str(code) for code in house.config.serves)
    raise _Wrong(f"home: {text!r} is not one of the regions served here ({served})")


def _lines(file: Path) -> Iterator[_Line]:
    """One line after the other; empty ones are passed over. Raises UsageFault.

    A quote that does not end, or an octet that is no UTF-8, is the whole file's fault: where the next
    line begins, and what it says, is not known from there on.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            try:
                _check_columns(file, reader.fieldnames or ())
                for fields in reader:
                    yield _Line(reader.line_num, fields)
            except csv.Error as error:
                # `line_num` is where the last good record ended.
                raise UsageFault(f"{file}: no CSV after line {reader.line_num}: {error}") from None
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{file}:{_not_utf8(file)}: not a CSV file in UTF-8") from None


def _not_utf8(file: Path) -> int:
    """The number of the first line that is no UTF-8."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _check_columns(file: Path, names: Sequence[str]) -> None:
    for name in _REQUIRED:
        if name not in names:
            raise UsageFault(f"{file}: the first line names no column {name!r}")
    for name in names:
        if name not in _REQUIRED + _OPTIONAL:
            known = ", ".join(_REQUIRED + _OPTIONAL)
            raise UsageFault(f"{file}: unknown column {name!r}; there are {known}")
    if len(set(names)) != len(names):
        raise UsageFault(f"{file}: a column stands twice in the first line")
