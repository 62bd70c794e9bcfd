"""The receiving side: is a package in a directory what its manifest says, all of it and no more?

Needs the directory alone: `manifest.json` as it was fetched, and each part decrypted under its name
(or as it was fetched, under its name and `.p7m`: then only the encryption's digest can be checked).
With the log's verifier key, which the provider publishes, the proof of the release is checked too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

from pydantic import ValidationError

from gateway.disclosure.models import Manifest, Message, Part
from storage.audit.entry import Entry, EntryError, Event
from storage.audit.merkle import ProofError
from storage.audit.note import NoteError, VerifierKey
from storage.audit.view import Proof

MANIFEST: Final = "manifest.json"
_ENCRYPTED: Final = ".p7m"
_CHUNK: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `ok` is None where it could not be."""

    name: str
    ok: bool | None
    detail: str


class NoPackage(ValueError):
    """The directory holds no manifest that can be read. The message names the file and the rule."""


def read_manifest(directory: Path) -> Manifest:
    """Raises NoPackage."""
    path = directory / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NoPackage(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise NoPackage(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def check_package(directory: Path, key: VerifierKey | None) -> Iterator[Check]:
    """Every check, in the manifest's order. Raises NoPackage."""
    manifest = read_manifest(directory)
    for part in manifest.parts:
        yield _check_part(directory, part)
    yield from _check_messages(directory, manifest)
    yield _check_counts(manifest)
    yield _check_order(directory, manifest)
    yield _check_proof(directory, manifest, key)
    yield from _check_strangers(directory, manifest)


def _check_part(directory: Path, part: Part) -> Check:
    plain, sealed = directory / part.name, directory / (part.name + _ENCRYPTED)
    if plain.is_file():
        return _compare(part.name, plain, part.size, part.sha256)
    if sealed.is_file():
        found = _compare(part.name, sealed, part.encrypted_size, part.encrypted_sha256)
        return Check(part.name, found.ok, f"{found.detail}, still encrypted")
    return Check(part.name, False, "missing")


def _compare(name: str, path: Path, size: int, sha256: str) -> Check:
    with path.open("rb") as file:
        digest = _digest(file)
    if path.stat().st_size != size:
        return Check(name, False, f"{path.stat().st_size} octets, the manifest says {size}")
    if digest != sha256:
        return Check(name, False, "its SHA-256 is not the manifest's")
    return Check(name, True, f"{size} octets, SHA-256 agrees")


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check_messages(directory: Path, manifest: Manifest) -> Iterator[Check]:
    """Each message at its path, in its part; and no message in a part that the manifest does not name."""
    by_part: dict[str, list[Message]] = {}
    for message in manifest.messages:
        by_part.setdefault(message.part, []).append(message)
    for name, messages in by_part.items():
        path = directory / name
        if "/" in name or not path.is_file():
            yield Check(f"messages in {name}", None, "the part is not here decrypted")
            continue
        yield _check_volume(path, messages)


def _check_volume(path: Path, messages: list[Message]) -> Check:
    name = f"messages in {path.name}"
    try:
        with zipfile.ZipFile(path) as volume:
            if sorted(volume.namelist()) != sorted(message.path for message in messages):
                return Check(name, False, "the files inside are not those of the manifest")
            for message in messages:
                if volume.getinfo(message.path).file_size != message.size:
                    return Check(name, False, f"{message.path}: not of the manifest's size")
                with volume.open(message.path) as file:
                    digest = _digest(file)
                if digest != message.sha256:
                    return Check(name, False, f"{message.path}: its SHA-256 is not the manifest's")
    # What `zipfile` raises of a ZIP that is none of ours: RuntimeError where a file is encrypted,
    # NotImplementedError where it is packed in another way.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        return Check(name, False, f"cannot be read: {error}")
    return Check(name, True, f"{len(messages)} of {len(messages)}, SHA-256 agrees")


def _check_counts(manifest: Manifest) -> Check:
    told, counted = manifest.counts, (len(manifest.messages), len(manifest.errors))
    if (told.messages, told.errors) != counted:
        return Check(
            "counts", False, f"{counted[0]} messages and {counted[1]} errors are listed, others are counted"
        )
    return Check("counts", True, f"{told.messages} messages, {told.traffic_records} traffic records")


def _check_order(directory: Path, manifest: Manifest) -> Check:
    path = directory / "order.jws"
    if not path.is_file():
        return Check("order", None, "order.jws is not here decrypted")
    found = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    agrees = found == manifest.order_digest
    return Check("order", agrees, "the one that was decided" if agrees else "not the one that was decided")


def _check_proof(directory: Path, manifest: Manifest, key: VerifierKey | None) -> Check:
    """That the entry of the release is this disclosure's, and stands in the log that `key` signs."""
    path = directory / "audit.json"
    if not path.is_file():
        return Check("audit proof", None, "audit.json is not here decrypted")
    try:
        told = json.loads(path.read_bytes())
        proof = Proof(
            int(told["index"]),
            base64.b64decode(told["entry"], validate=True),
            tuple(base64.b64decode(each, validate=True) for each in told["path"]),
            str(told["checkpoint"]).encode(),
        )
        entry = Entry.decode(proof.entry)
    except (OSError, ValueError, KeyError, TypeError, EntryError) as error:
        return Check("audit proof", False, f"audit.json cannot be read: {error}")
    said = (entry.event, entry.disclosure, str(entry.region), proof.index)
    if said != (Event.DISCLOSURE_RELEASED, manifest.disclosure, manifest.region, manifest.audit.index):
        return Check("audit proof", False, "the entry is not this disclosure's release")
    if key is None:
        return Check("audit proof", None, "not checked without --key, the log's verifier key")
    try:
        checkpoint = proof.verify(key)
    except (NoteError, ProofError) as error:
        return Check("audit proof", False, str(error))
    return Check("audit proof", True, f"entry {proof.index} of the {checkpoint.size} in {checkpoint.origin}")


def _check_strangers(directory: Path, manifest: Manifest) -> Iterator[Check]:
    known = {MANIFEST} | {part.name + suffix for part in manifest.parts for suffix in ("", _ENCRYPTED)}
    for path in sorted(directory.iterdir()):
        if path.name not in known:
            yield Check(path.name, False, "not a part of this package")
