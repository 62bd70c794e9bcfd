"""C2SP signed notes and checkpoints: what the log signs, and how anybody checks it.

https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, and for witnesses
https://c2sp.org/tlog-cosignature. Parsing is strict: a note has one spelling, and any
other is refused before a signature is looked at.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.audit.merkle import HASH_SIZE

NOTE_LIMIT: Final = 1_000_000  # bytes; as Go's sumdb/note
SIGNATURE_LIMIT: Final = 100
_DASH: Final = "\N{EM DASH} "
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}\Z")
_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


class NoteError(ValueError):
    """A note, key or checkpoint breaks the format, or carries no signature that counts."""


class KeyKind(IntEnum):
    """Signature type bytes of C2SP signed-note."""

    ED25519 = 0x01
    COSIGNATURE = 0x04  # timestamped Ed25519, tlog-cosignature v1


@final
@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: a key's name, the 4-byte key id, and what follows it."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@final
@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key by name: `name+keyid+base64(kind || key)`."""

    name: str
    kind: KeyKind
    public: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || kind || public key)[:4]."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises NoteError naming what is wrong."""
        parts = text.split("+", 2)
        if len(parts) != 3 or not _NAME.match(parts[0]):
            raise NoteError("a verifier key is written name+keyid+base64")
        data = _base64(parts[2], "a verifier key")
        if len(data) != 33 or data[0] not in set(KeyKind):
            raise NoteError("a verifier key holds a type byte (1 or 4) and a 32-byte Ed25519 key")
        key = cls(parts[0], KeyKind(data[0]), data[1:])
        if parts[1] != key.key_id.hex():
            raise NoteError(f"the verifier key of {key.name!r} has id {key.key_id.hex()}, not {parts[1]!r}")
        return key

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def check(self, text: str, signature: Signature) -> datetime | None:
        """Raises NoteError unless `signature` is this key's over `text`.

        Returns a cosignature's time; None for the plain kind, which has none.
        """
        moment, signed, value = None, text.encode(), signature.value
        if self.kind is KeyKind.COSIGNATURE:
            if len(value) != 72:
                raise NoteError(f"the cosignature of {self.name!r} is {len(value)} bytes, expected 72")
            seconds = int.from_bytes(value[:8])
            signed, value = cosigned_message(text, seconds), value[8:]
            try:
                moment = datetime.fromtimestamp(seconds, UTC)
            except (ValueError, OverflowError):
                raise NoteError(f"the cosignature of {self.name!r} has an impossible time") from None
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, signed)
        except InvalidSignature:
            raise NoteError(f"the signature of {self.name!r} does not verify") from None
        return moment


def cosigned_message(text: str, seconds: int) -> bytes:
    """What a witness signs (tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


@final
class Signer:
    """A private Ed25519 key by name. Its text form is Go's: `PRIVATE+KEY+name+keyid+base64`."""

    def __init__(self, name: str, seed: bytes, kind: KeyKind = KeyKind.ED25519) -> None:
        """`seed` is 32 bytes. Raises NoteError for a name with spaces or plus signs."""
        if not _NAME.match(name):
            raise NoteError(f"{name!r} cannot name a key: no spaces, control characters or '+'")
        if len(seed) != 32:
            raise NoteError("an Ed25519 seed has 32 bytes")
        self._seed: Final = seed
        self._key: Final = Ed25519PrivateKey.from_private_bytes(seed)
        self.name: Final = name
        self.key: Final = VerifierKey(name, kind, self._key.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Raises NoteError; the message never quotes the key."""
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise NoteError("a signing key is written PRIVATE+KEY+name+keyid+base64")
        data = _base64(parts[4], "a signing key")
        if len(data) != 33 or data[0] not in set(KeyKind):
            raise NoteError("a signing key holds a type byte (1 or 4) and a 32-byte Ed25519 seed")
        signer = cls(parts[2], data[1:], KeyKind(data[0]))
        if parts[3] != signer.key.key_id.hex():
            raise NoteError(f"the signing key of {signer.name!r} does not have the id written in it")
        return signer

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Read a key file. Raises NoteError, naming the file, for a bad one or an open mode."""
        try:
            mode = path.stat().st_mode
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoteError(f"{path}: the signing key cannot be read: {error}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise NoteError(f"{path}: mode {stat.S_IMODE(mode):04o}: a signing key must be 0600")
        try:
            return cls.parse(text)
        except NoteError as error:
            raise NoteError(f"{path}: {error}") from None

    def text(self) -> str:
        """The private key as text: for a 0600 file, and nothing else."""
        encoded = base64.b64encode(bytes([self.key.kind]) + self._seed).decode()
        return f"PRIVATE+KEY+{self.name}+{self.key.key_id.hex()}+{encoded}"

    def sign(self, text: str, now: datetime | None = None) -> Signature:
        """A signature over a note's text; a cosigning key needs the time that it vouches for."""
        if self.key.kind is KeyKind.ED25519:
            return Signature(self.name, self.key.key_id, self._key.sign(text.encode()))
        if now is None:
            raise NoteError("a cosignature carries a time")
        seconds = int(now.timestamp())
        value = seconds.to_bytes(8) + self._key.sign(cosigned_message(text, seconds))
        return Signature(self.name, self.key.key_id, value)


def generate_signer(path: Path, name: str, kind: KeyKind = KeyKind.ED25519) -> Signer:
    """Make a key and keep it in a new 0600 file. Raises NoteError if the file is there already."""
    signer = Signer(name, secrets.token_bytes(32), kind)
    try:
        # O_EXCL: a log whose key is replaced in silence can no longer be verified.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise NoteError(f"{path}: the signing key cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(signer.text() + "\n")
    return signer


@final
@dataclass(frozen=True, slots=True)
class Note:
    """A text ending in a newline, and its signature lines. Nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Note:
        """Raises NoteError for anything but the exact format."""
        if len(raw) > NOTE_LIMIT:
            raise NoteError(f"a note of {len(raw)} bytes is too long")
        try:
            whole = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise NoteError("a note is UTF-8") from None
        if any(ord(c) < 0x20 and c != "\n" for c in whole):
            raise NoteError("a note has no control characters other than newline")
        body, blank, block = whole.rpartition("\n\n")  # the last empty line parts them
        if not blank or not body or not block.endswith("\n"):
            raise NoteError("a note is a text, an empty line, and signature lines, each ending in a newline")
        lines = block[:-1].split("\n")
        if len(lines) > SIGNATURE_LIMIT:
            raise NoteError(f"a note with {len(lines)} signatures is too long")
        return cls(body + "\n", tuple(parse_signature(line) for line in lines))

    def serialise(self) -> bytes:
        """The bytes of the note."""
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode()

    def verified_by(self, keys: Iterable[VerifierKey]) -> dict[VerifierKey, datetime | None]:
        """Which of the known keys signed, with the time of each cosignature.

        Signatures of unknown keys are ignored; a bad signature under a known name and id
        spoils the whole note. Raises NoteError for that and for a key that signs twice.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[VerifierKey, datetime | None] = {}
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if key in found:
                raise NoteError(f"{key.name!r} signs the note twice")
            found[key] = key.check(self.text, signature)
        return found


def parse_signature(line: str) -> Signature:
    """One signature line without its newline -> Signature. Raises NoteError."""
    if not line.startswith(_DASH):
        raise NoteError("a signature line starts with an em dash and a space")
    name, space, encoded = line[len(_DASH) :].partition(" ")
    if not space or not _NAME.match(name):
        raise NoteError("a signature line names its key, then a space and the signature")
    data = _base64(encoded, "a signature")
    if len(data) < 5:
        raise NoteError("a signature starts with the 4 bytes of its key id")
    return Signature(name, data[:4], data[4:])


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose log, how many entries, which root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text. We write no extension lines: nobody can audit them."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises NoteError. Extension lines of other logs are allowed, and carry nothing here."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteError("a checkpoint has an origin, a size and a root hash, one line each")
        root = _base64(lines[2], "a root hash")
        if len(root) != HASH_SIZE:
            raise NoteError(f"a root hash has {HASH_SIZE} bytes, not {len(root)}")
        return cls(lines[0], parse_decimal(lines[1]), root)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed note of a tree head. The origin is the signer's name."""
    if checkpoint.origin != signer.name:
        raise NoteError(f"{signer.name!r} does not sign for {checkpoint.origin!r}")
    text = checkpoint.text()
    return Note(text, (signer.sign(text),)).serialise()


def open_checkpoint(raw: bytes, key: VerifierKey) -> tuple[Checkpoint, Note]:
    """Parse a checkpoint and prove that the log's own key signed it. Raises NoteError."""
    note = Note.parse(raw)
    if key not in note.verified_by([key]):
        raise NoteError(f"the checkpoint carries no signature of {key.name!r} ({key.key_id.hex()})")
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:  # a signature for one log must not pass for another's
        raise NoteError(f"the checkpoint is of {checkpoint.origin!r}, expected {key.name!r}")
    return checkpoint, note


def with_signatures(raw: bytes, extra: Sequence[Signature]) -> bytes:
    """The same note with more signature lines."""
    note = Note.parse(raw)
    return Note(note.text, (*note.signatures, *extra)).serialise()


def parse_decimal(text: str) -> int:
    """The size of a tree: ASCII digits without leading zeroes. Raises NoteError."""
    if not _DECIMAL.match(text):
        raise NoteError(f"{text!r} is not the size of a tree")
    return int(text)


def _base64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what} is not base64") from None
    if base64.b64encode(data).decode() != text:  # RFC 4648 3.5: one spelling only
        raise NoteError(f"{what} is not canonical base64")
    return data
