"""Asking witnesses for their cosignatures, as the log's own client (https://c2sp.org/tlog-witness).

A witness that is down, slow or unwilling costs the checkpoint its cosignature, and nothing
else: what a checkpoint must carry is for the verifier to say, not for the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import aiohttp
import structlog

from storage.audit.backend import LogBackend
from storage.audit.merkle import ProofError
from storage.audit.note import (
    Checkpoint,
    Note,
    NoteError,
    Signature,
    VerifierKey,
    parse_decimal,
    parse_signature,
    with_signatures,
)
from storage.audit.reader import BackendTiles, TreeReader
from storage.audit.witness import Submission
from storage.errors import StorageError, Unavailable
from storage.web_answers import TooLong, read_whole

_ANSWER_LIMIT: Final = 65_536
_SIZE_TYPE: Final = "text/x.tlog.size"

_NO_ANSWER: Final = (
    StorageError, NoteError, ProofError, TooLong, aiohttp.ClientError, TimeoutError, OSError,
)  # fmt: skip

_log: Final = structlog.get_logger(__name__)


@final
@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness: the prefix that its `add-checkpoint` is under, and its cosigning key."""

    url: str
    key: VerifierKey


@final
class Cosigning:
    """Collects cosignatures for one log; `storage.audit.publisher.Cosign` as an object."""

    def __init__(
        self,
        backend: LogBackend,
        witnesses: Sequence[WitnessAddress],
        session: aiohttp.ClientSession,
        *,
        seconds: float = 5.0,
    ) -> None:
        """`seconds`: how long a checkpoint waits for its witnesses, all of them together."""
        self._tiles: Final = BackendTiles(backend)
        self._witnesses: Final = tuple(witnesses)
        self._session: Final = session
        self._seconds: Final = seconds
        self._sizes: Final[dict[str, int]] = {}  # what each witness cosigned last, as far as we know

    async def __call__(self, checkpoint: Checkpoint, note: bytes) -> bytes:
        """The note with whatever cosignatures could be had in time."""
        found = await asyncio.gather(*(self._ask(witness, checkpoint, note) for witness in self._witnesses))
        return with_signatures(note, [signature for signature in found if signature is not None])

    async def _ask(self, witness: WitnessAddress, checkpoint: Checkpoint, note: bytes) -> Signature | None:
        try:
            async with asyncio.timeout(self._seconds):
                # Twice: the first answer may be the size that the witness stands at.
                for _ in range(2):
                    if (signature := await self._submit(witness, checkpoint, note)) is not None:
                        return signature
                raise Unavailable("it does not agree on a size to start from")
        except _NO_ANSWER as error:
            reason = str(error) or type(error).__name__
            _log.warning("witness did not cosign", witness=witness.key.name, reason=reason)
            return None

    async def _submit(self, witness: WitnessAddress, checkpoint: Checkpoint, note: bytes) -> Signature | None:
        """The cosignature; None where the witness told us another size to start from."""
        old = min(self._sizes.get(witness.key.name, 0), checkpoint.size)
        proof = await TreeReader(self._tiles, checkpoint.size).consistency_proof(old)
        body = Submission(old, proof, note).serialise()
        url = f"{witness.url.rstrip('/')}/add-checkpoint"
        async with self._session.post(url, data=body) as response:
            answer = (await read_whole(response.content, _ANSWER_LIMIT)).decode("utf-8", "replace")
            status, kind = response.status, response.headers.get("Content-Type", "")
        if status == 409 and kind.startswith(_SIZE_TYPE):
            size = parse_decimal(answer.removesuffix("\n"))
            if size > checkpoint.size:
                raise Unavailable(f"it has seen {size} entries already")
            if size == old:
                raise Unavailable("it has cosigned another tree of this size")
            self._sizes[witness.key.name] = size
            return None
        if status != 200:
            raise Unavailable(f"HTTP {status}: {answer.strip()[:200]}")
        signature = _signature_of(witness.key, checkpoint, answer)
        self._sizes[witness.key.name] = checkpoint.size
        return signature


def _signature_of(key: VerifierKey, checkpoint: Checkpoint, answer: str) -> Signature:
    """The witness's own line of its answer, verified. Raises NoteError."""
    lines = answer.removesuffix("\n").split("\n")
    note = Note(checkpoint.text(), tuple(map(parse_signature, lines)))
    if key not in note.verified_by([key]):
        raise NoteError(f"no cosignature of {key.name!r} in its answer")
    return next(s for s in note.signatures if (s.name, s.key_id) == (key.name, key.key_id))
