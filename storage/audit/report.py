"""What a verification found: every fault by its name and place."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, final

FAULT_LIMIT: Final = 1000  # kept in full; beyond, they are counted


class FaultCode(StrEnum):
    """What can be wrong with a log."""

    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    WITNESS = "witness"  # fewer good cosignatures than were asked for
    EARLIER_CHECKPOINT = "earlier-checkpoint"  # what was to be trusted is not the log's own
    SHRUNK = "shrunk"  # the tree is shorter than one that was signed before
    REWRITTEN = "rewritten"  # the tree does not begin with one that was signed before
    ROOT = "root"  # the entries do not make the root that is signed
    ENTRY_CHANGED = "entry-changed"
    ENTRY_REMOVED = "entry-removed"
    ENTRY_INSERTED = "entry-inserted"
    ENTRIES_REORDERED = "entries-reordered"
    ENTRIES_REWRITTEN = "entries-rewritten"  # entries and their tile agree, and the tree knows neither
    ENTRY_FORM = "entry-form"  # genuine, and yet no entry of this log
    BUNDLE_MISSING = "bundle-missing"
    BUNDLE_FORM = "bundle-form"
    TILE_CHANGED = "tile-changed"
    TILE_MISSING = "tile-missing"
    BEYOND_THE_END = "beyond-the-end"  # tiles of a longer tree than the one that is signed
    STRAY_OBJECT = "stray-object"
    LOCK = "lock"
    FORGED_VERSION = "forged-version"  # a second version of what is written once
    DELETE_MARKER = "delete-marker"
    RECORD_MISSING = "record-missing"
    RECORD_CHANGED = "record-changed"


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `where` is an entry's index, a path or an object key."""

    code: FaultCode
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.where}: {self.detail}"


@final
@dataclass(slots=True)
class Report:
    """The outcome of one verification. `ok` is the answer; the rest is why."""

    origin: str
    size: int = 0
    root: bytes = b""
    checkpoint: bytes = b""  # the note that was verified, cosignatures and all
    entries: int = 0  # entries whose leaf hash was computed
    records: int = 0  # sealed records that were compared with their digest
    erased: int = 0  # records that cannot be opened any more: their account was erased
    witnesses: dict[str, datetime] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    more: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.faults

    def add(self, code: FaultCode, where: object, detail: str) -> None:
        """Note a fault; once only for the same words."""
        fault = Fault(code, str(where), detail)
        if len(self.faults) >= FAULT_LIMIT:
            self.more += 1
        elif fault not in self.faults[-8:]:
            self.faults.append(fault)

    def add_last(self, code: FaultCode, where: object, detail: str) -> None:
        """Note a fault that must be seen however many there are."""
        self.faults.append(Fault(code, str(where), detail))

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "origin": self.origin,
            "size": self.size,
            "root": base64.b64encode(self.root).decode(),
            "entries": self.entries,
            "records": self.records,
            "erased": self.erased,
            "witnesses": {name: moment.isoformat() for name, moment in self.witnesses.items()},
            "faults": [{"code": f.code, "where": f.where, "detail": f.detail} for f in self.faults],
            "more_faults": self.more,
        }
