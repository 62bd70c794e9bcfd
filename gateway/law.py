"""Where the lawbook's files come from: the ones that Situs ships, and an operator's own.

An operator's directory overrides file by file: its `ie.toml` replaces the one that is shipped,
its `jp.toml` is added. A directory that holds `lawbook.toml` with `complete = true` is a whole
lawbook by itself, as `situs law save` writes it, and the shipped files play no part: that is
how a decision is made again years later under the law of its day.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final

from gateway.config import ConfigError
from policy.lawbook import Lawbook, LawbookError, read_lawbook

WHOLE_MARK: Final = "lawbook.toml"
_WHOLE: Final = {"complete": True}
_LARGEST_FILE: Final = 1 << 20


class LawbookFilesError(ConfigError):
    """A directory that no lawbook can be read from. The message names it and what was expected."""


def packaged_lawbook(overrides: Path | None = None) -> Lawbook:
    """The lawbook that Situs ships, with an operator's files over it.

    Raises ConfigError: for a directory that cannot be read, and for a lawbook that is none, with
    its first fault (`situs law check` prints them all).
    """
    try:
        return read_lawbook(lawbook_files(overrides))
    except LawbookError as error:
        first, more = error.faults[0], len(error.faults) - 1
        others = f" (and {more} more: `situs law check` names them all)" if more else ""
        raise ConfigError(f"lawbook: {first}{others}") from None


def lawbook_files(overrides: Path | None = None) -> dict[str, bytes]:
    """File name -> contents of the lawbook in force. Raises LawbookFilesError."""
    shipped = {
        entry.name: entry.read_bytes()
        for entry in (files("policy") / "lawbook").iterdir()
        if entry.name.endswith(".toml")
    }
    if overrides is None:
        return shipped
    own = _directory(overrides)
    mark = own.pop(WHOLE_MARK, None)
    if mark is not None:
        _check_mark(overrides / WHOLE_MARK, mark)
        return own
    return shipped | own


def save_lawbook(contents: dict[str, bytes], directory: Path) -> None:
    """Write a whole lawbook into a new or empty directory. Raises LawbookFilesError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise LawbookFilesError(f"{directory}: an empty directory is expected")
        for name, body in contents.items():
            (directory / name).write_bytes(body)
        # Last, so that a directory half written is not taken for a whole lawbook.
        (directory / WHOLE_MARK).write_text("complete = true\n")
    except OSError as error:
        raise LawbookFilesError(f"{error.filename}: {error.strerror}") from None


def _directory(directory: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        for path in sorted(directory.iterdir()):
            if path.suffix != ".toml":
                continue
            if path.stat().st_size > _LARGEST_FILE:
                raise LawbookFilesError(f"{path}: larger than {_LARGEST_FILE} octets, which no law is")
            found[path.name] = path.read_bytes()
    except OSError as error:
        raise LawbookFilesError(f"{error.filename}: {error.strerror}") from None
    if not found:
        raise LawbookFilesError(f"{directory}: there is no lawbook file (*.toml) in this directory")
    return found


def _check_mark(path: Path, body: bytes) -> None:
    try:
        values = tomllib.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LawbookFilesError(f"{path}: not TOML: {error}") from None
    if values != _WHOLE:
        raise LawbookFilesError(f"{path}: 'complete = true' and nothing else is expected")
