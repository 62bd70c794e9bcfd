"""Logs to test with: a signer, entries, and an oracle that reads a bucket without our reader."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

from policy.geography import RegionCode
from storage.audit.entry import Entry, Event
from storage.audit.note import Signer, VerifierKey, open_checkpoint

REGION = RegionCode.parse("eu-west-1")
ORIGIN = "situs/test/eu-west-1"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def entry(number: int = 0, event: Event = Event.SERVER_STARTED) -> Entry:
    """An entry that is told apart by its number, which stands in its id."""
    return Entry(time=NOW, event=event, region=REGION, id=f"{number:032x}")


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word: the oracle for every root."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def committed_entries(objects: Mapping[str, bytes], key: VerifierKey = SIGNER.key) -> list[bytes]:
    """The entries under the published checkpoint, read plainly, the root proven from them."""
    checkpoint, _ = open_checkpoint(objects["log/checkpoint"], key)
    entries: list[bytes] = []
    for n in range(-(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - n * 256)
        path = f"log/tile/entries/{n:03d}" + ("" if width == 256 else f".p/{width}")
        body = objects[path]
        while body:
            length = int.from_bytes(body[:2])
            entries.append(body[2 : 2 + length])
            body = body[2 + length :]
    assert len(entries) == checkpoint.size
    assert mth(entries) == checkpoint.root, base64.b64encode(checkpoint.root)
    return entries
