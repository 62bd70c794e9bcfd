"""An export on disk: EML files or a Maildir, with a manifest that says what is there and what is not.

    DIR/manifest.json      each file with its SHA-256, size, date, folder and flags; counts; errors
    DIR/eml/<name>.eml     or DIR/Maildir/{cur,new,tmp} with subfolders as Maildir++ writes them

The directory is made for its owner alone: it is the one place outside the region where this mail
lies, and the one who asked for it is the one whom it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from storage.exporting import Exported, NotExported

_LETTERS: Final = {
    "\\Draft": "D",
    "\\Flagged": "F",
    "$Forwarded": "P",
    "\\Answered": "R",
    "\\Seen": "S",
    "\\Deleted": "T",
}


class Format(StrEnum):
    EML = "eml"
    MAILDIR = "maildir"


class ExportExists(Exception):
    """The directory is not empty: an export is never mixed with something else."""


@dataclass(slots=True)
class Written:
    """What has been written so far."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    octets: int = 0


async def write_export(
    mail: AsyncIterator[Exported | NotExported],
    directory: Path,
    format_: Format,
    *,
    told: dict[str, Any],
    progress: Callable[[Written], None] = lambda _: None,
) -> Written:
    """Write the export; the manifest comes last, so that a directory with one is whole.

    `told` is what the manifest says of the mailbox. Raises ExportExists, OSError, and what reading
    the mail raises.
    """
    _claim(directory)
    written = Written()
    async for one in mail:
        match one:
            case NotExported(message, rule):
                written.errors.append({"id": str(message), "error": rule})
            case Exported():
                _write_one(one, directory, format_, written)
        progress(written)
    manifest = {
        "manifest": "situs-export/1",
        **told,
        "format": format_.value,
        "counts": {
            "messages": len(written.messages),
            "octets": written.octets,
            "errors": len(written.errors),
        },
        "messages": written.messages,
        "errors": written.errors,
    }
    _write(directory / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    return written


def _claim(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ExportExists(f"{directory}: not empty; an export wants a directory of its own")


def _write_one(one: Exported, directory: Path, format_: Format, written: Written) -> None:
    relative = _eml(one) if format_ is Format.EML else _maildir(one)
    path = directory / relative
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if format_ is Format.MAILDIR:
        for part in ("cur", "new", "tmp"):
            (path.parent.parent / part).mkdir(mode=0o700, exist_ok=True)
    _write(path, one.content)
    received = one.message.received_at
    os.utime(path, (received.timestamp(), received.timestamp()))
    written.octets += len(one.content)
    written.messages.append(
        {
            "id": str(one.message),
            "file": relative,
            "received_at": received.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "size": len(one.content),
            "sha256": hashlib.sha256(one.content).hexdigest(),
            "folder": one.flags.folder,
            "flags": sorted(one.flags.flags),
        }
    )


def _eml(one: Exported) -> str:
    return f"eml/{one.message}.eml"


def _maildir(one: Exported) -> str:
    # Maildir++: subfolders are ".A.B"; a name cannot leave the directory, whatever it says.
    folder = "" if one.flags.folder == "INBOX" else "." + _safe(one.flags.folder) + "/"
    letters = "".join(sorted(_LETTERS[flag] for flag in one.flags.flags if flag in _LETTERS))
    return f"Maildir/{folder}cur/{one.message}.situs:2,{letters}"


def _safe(folder: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in " -_/" else "_" for letter in folder)
    return ".".join(part for part in kept.split("/") if part) or "_"


def _write(path: Path, body: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(body)
