"""A witness: it cosigns a tree head only if the tree extends the one that it cosigned before.

https://c2sp.org/tlog-witness. A court, an opponent or an NGO runs one beside its own affairs:
a log that shows two people two histories, or rewrites its own, then has to do without its
cosignature. The witness keeps one checkpoint for each log, and reads no entries.

The order: check, persist, then sign. If we crash between persisting and answering, the log
asks again with the size that we tell it, and gets its signature then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, final

from storage.audit.merkle import EMPTY_ROOT, HASH_SIZE, ProofError, verify_consistency
from storage.audit.note import (
    Checkpoint,
    KeyKind,
    Note,
    NoteError,
    Signature,
    Signer,
    VerifierKey,
    parse_decimal,
)

PROOF_LIMIT: Final = 63  # hashes, by the protocol


class WitnessRefusal(Exception):
    """The witness does not sign. `status` is the protocol's HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status: Final = status
        self.reason: Final = reason


class OutOfDate(WitnessRefusal):
    """The proof starts from another size than the one cosigned last: `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(409, f"the checkpoint cosigned last has size {size}")
        self.size: Final = size


@final
@dataclass(frozen=True, slots=True)
class Submission:
    """The body of add-checkpoint: from where, the consistency proof, the signed head."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def serialise(self) -> bytes:
        lines = [f"old {self.old}", *(base64.b64encode(hash_).decode() for hash_ in self.proof)]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Raises WitnessRefusal 400."""
        head, blank, checkpoint = body.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
            word, _, old = first.partition(" ")
            if not blank or word != "old" or len(lines) > PROOF_LIMIT:
                raise WitnessRefusal(400, "expected: old, at most 63 hashes, an empty line, a checkpoint")
            proof = tuple(base64.b64decode(line, validate=True) for line in lines)
            if any(len(hash_) != HASH_SIZE for hash_ in proof):
                raise WitnessRefusal(400, "each proof line is one SHA-256 hash")
            return cls(parse_decimal(old), proof, checkpoint)
        except (UnicodeDecodeError, binascii.Error, NoteError) as error:
            raise WitnessRefusal(400, str(error)) from None


@final
class Memory:
    """The checkpoints cosigned last, one file for each log. Processes that share it take turns."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory: Final = directory

    def last(self, origin: str) -> Checkpoint:
        """What was cosigned last; the empty tree before the first. Raises NoteError if damaged."""
        try:
            raw = self._path(origin).read_bytes()
        except FileNotFoundError:
            return Checkpoint(origin, 0, EMPTY_ROOT)
        checkpoint = Checkpoint.parse(Note.parse(raw).text)
        if checkpoint.origin != origin:
            raise NoteError(f"{self._path(origin)} is of {checkpoint.origin!r}")
        return checkpoint

    def advance(self, origin: str, raw: bytes, allowed: Callable[[Checkpoint], None]) -> None:
        """Keep `raw` as the log's newest, if `allowed` does not raise at the one cosigned last.

        As one, for the threads and processes that share the directory: two heads that both extend the
        same one might be two histories. Raises what `allowed` raises, NoteError and OSError.
        """
        with (self._directory / ".turn").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # ends with the file's closing, however that comes about
            allowed(self.last(origin))
            self._keep(origin, raw)

    def _keep(self, origin: str, raw: bytes) -> None:
        """Durable once this returns: written beside, synced, renamed, and the rename synced."""
        path = self._path(origin)
        beside = path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _path(self, origin: str) -> Path:
        return self._directory / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"


@final
class Witness:
    """A cosigner for the logs that it knows by their keys."""

    def __init__(
        self, signer: Signer, logs: Sequence[VerifierKey], memory: Memory, clock: Callable[[], datetime]
    ) -> None:
        """Raises NoteError for a signer that does not cosign (type 4)."""
        if signer.key.kind is not KeyKind.COSIGNATURE:
            raise NoteError("a witness signs with a cosignature key (type 4)")
        self.key: Final = signer.key
        self._signer: Final = signer
        self._logs: Final[Mapping[str, VerifierKey]] = {key.name: key for key in logs}
        self._memory: Final = memory
        self._clock: Final = clock

    async def add_checkpoint(self, body: bytes) -> Signature:
        """The cosignature over a submitted checkpoint. Raises WitnessRefusal."""
        submission = Submission.parse(body)
        try:
            note = Note.parse(submission.checkpoint)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise WitnessRefusal(400, str(error)) from None
        key = self._logs.get(checkpoint.origin)
        if key is None:
            raise WitnessRefusal(404, f"{checkpoint.origin!r} is not a log that is witnessed here")
        try:
            if key not in note.verified_by([key]):
                raise WitnessRefusal(403, f"not signed by {key.name!r} ({key.key_id.hex()})")
        except NoteError as error:
            raise WitnessRefusal(403, str(error)) from None
        if submission.old > checkpoint.size:
            raise WitnessRefusal(400, f"a tree of {checkpoint.size} cannot extend one of {submission.old}")

        def allowed(last: Checkpoint) -> None:
            _extends(last, checkpoint, submission)

        origin, raw = checkpoint.origin, submission.checkpoint
        await asyncio.to_thread(self._memory.advance, origin, raw, allowed)
        return self._signer.sign(note.text, self._clock())


def _extends(last: Checkpoint, checkpoint: Checkpoint, submission: Submission) -> None:
    if submission.old != last.size:
        raise OutOfDate(last.size)
    if last.size == checkpoint.size:
        if last.root != checkpoint.root:
            raise WitnessRefusal(409, f"another tree of {last.size} entries was cosigned before")
        if submission.proof:
            raise WitnessRefusal(422, "two trees of one size have an empty proof")
        return
    try:
        verify_consistency(last.size, checkpoint.size, last.root, checkpoint.root, submission.proof)
    except ProofError as error:
        raise WitnessRefusal(422, str(error)) from None
