"""Witnesses: the protocol from both ends, and what it is for: a rewritten log goes without."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from gateway.cli.audit import audit
from gateway.witness import serving_witness
from storage.audit.cosigning import Cosigning, WitnessAddress
from storage.audit.log import AuditLog
from storage.audit.merkle import root_of
from storage.audit.note import (
    Checkpoint,
    KeyKind,
    Note,
    NoteError,
    Signer,
    VerifierKey,
    generate_signer,
    open_checkpoint,
    parse_signature,
    sign_checkpoint,
)
from storage.audit.reader import BackendTiles, TreeReader
from storage.audit.report import FaultCode
from storage.audit.source import BackendSource
from storage.audit.verify import Demands, verify
from storage.audit.witness import Memory, OutOfDate, Submission, Witness, WitnessRefusal
from tests.audit.logs import REGION, SIGNER, entry
from tests.audit.suspicious import SuspiciousBucket

WITNESS = Signer("witness.example/court", b"\x09" * 32, KeyKind.COSIGNATURE)
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def _witness(memory: Path) -> Witness:
    return Witness(WITNESS, [SIGNER.key], Memory(memory), lambda: NOW)


async def _grown(*batches: int, first: int = 0) -> tuple[SuspiciousBucket, list[bytes]]:
    """A log, and the checkpoints it published after each batch."""
    bucket = SuspiciousBucket()
    notes, count = [], 0
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        for batch in batches:
            await asyncio.gather(*(log.append(entry(first + count + n)) for n in range(batch)))
            count += batch
            notes.append(await log.published(count))
    return bucket, notes


async def _submission(bucket: SuspiciousBucket, old: int, note: bytes) -> bytes:
    size = open_checkpoint(note, SIGNER.key)[0].size
    proof = await TreeReader(BackendTiles(bucket), size).consistency_proof(old)
    return Submission(old, proof, note).serialise()


async def test_a_witness_cosigns_a_log_that_only_grows(tmp_path: Path) -> None:
    bucket, notes = await _grown(3, 300, 1)
    for old, note in zip([0, 3, 303], notes, strict=True):
        signature = await _witness(tmp_path).add_checkpoint(await _submission(bucket, old, note))
        assert WITNESS.key.check(Note.parse(note).text, signature) == NOW


async def test_a_witness_remembers_and_says_where_it_stands(tmp_path: Path) -> None:
    bucket, notes = await _grown(3, 5)
    await _witness(tmp_path).add_checkpoint(await _submission(bucket, 0, notes[0]))
    for old in (0, 2, 4):
        with pytest.raises(OutOfDate) as caught:
            await _witness(tmp_path).add_checkpoint(await _submission(bucket, old, notes[1]))
        assert (caught.value.status, caught.value.size) == (409, 3)
    # The same checkpoint again is no fork: whoever lost the answer asks for it again.
    again = await _witness(tmp_path).add_checkpoint(await _submission(bucket, 3, notes[0]))
    assert WITNESS.key.check(Note.parse(notes[0]).text, again) == NOW


def _forged_same_size(note: bytes) -> bytes:
    head, _ = open_checkpoint(note, SIGNER.key)
    return sign_checkpoint(Checkpoint(head.origin, head.size, root_of([b"x" * 32])), SIGNER)


def _resigned(note: bytes, signer: Signer) -> bytes:
    text = Note.parse(note).text
    return Note(text, (signer.sign(text),)).serialise()


_THIEF = Signer(SIGNER.name, bytes(32))
_STRANGER = Signer("situs/elsewhere/eu-west-1", bytes(32))
_ELSEWHERE = sign_checkpoint(Checkpoint(_STRANGER.name, 1, bytes(32)), _STRANGER)
# What is sent after a checkpoint of 3 entries was cosigned, given that one and the next.
_Send = Callable[[bytes, bytes], bytes]
REFUSED: dict[str, tuple[_Send, int]] = {
    "unsigned": (lambda _, new: Submission(3, (), _resigned(new, _THIEF)).serialise(), 403),
    "stranger": (lambda _old, _new: Submission(0, (), _ELSEWHERE).serialise(), 404),
    "fork": (lambda old, _: Submission(3, (), _forged_same_size(old)).serialise(), 409),
    "bad proof": (lambda _, new: Submission(3, (bytes(32),) * 3, new).serialise(), 422),
    "no proof": (lambda _, new: Submission(3, (), new).serialise(), 422),
    "older": (lambda _, new: Submission(9, (), new).serialise(), 400),
    "long": (lambda _, new: Submission(3, (bytes(32),) * 64, new).serialise(), 400),
    "garbage": (lambda _old, _new: b"old 3", 400),
    "leading zero": (lambda _, new: b"old 03\n\n" + new, 400),
    "short hash": (lambda _, new: b"old 3\nZXg=\n\n" + new, 400),
    "a proof for nothing": (lambda old, _: Submission(3, (bytes(32),), old).serialise(), 422),
}  # fmt: skip


@pytest.mark.parametrize(("send", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_a_witness_refuses_leaves_its_memory_as_it_was(
    tmp_path: Path, send: _Send, status: int
) -> None:
    bucket, notes = await _grown(3, 5)
    witness = _witness(tmp_path)
    await witness.add_checkpoint(await _submission(bucket, 0, notes[0]))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(WitnessRefusal) as caught:
        await witness.add_checkpoint(send(notes[0], notes[1]))
    assert caught.value.status == status
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_the_size_it_stands_at_is_told_to_the_letter_of_the_protocol(tmp_path: Path) -> None:
    """c2sp.org/tlog-witness: text/x.tlog.size, without a parameter, and the size in decimal on a line."""
    bucket, notes = await _grown(3, 5)
    await _witness(tmp_path).add_checkpoint(await _submission(bucket, 0, notes[0]))
    body = await _submission(bucket, 0, notes[1])
    async with (
        serving_witness(_witness(tmp_path), "127.0.0.1", 0) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/add-checkpoint", data=body) as response,
    ):
        assert (response.status, await response.read()) == (409, b"3\n")
        assert response.headers["Content-Type"] == "text/x.tlog.size"


async def test_two_requests_at_once_cannot_both_start_from_the_same_checkpoint(tmp_path: Path) -> None:
    bucket, notes = await _grown(3, 5, 7)
    witness = _witness(tmp_path)
    await witness.add_checkpoint(await _submission(bucket, 0, notes[0]))
    bodies = [await _submission(bucket, 3, note) for note in notes[1:]]
    outcomes = await asyncio.gather(*map(witness.add_checkpoint, bodies), return_exceptions=True)
    assert sum(isinstance(outcome, OutOfDate) for outcome in outcomes) == 1


async def test_a_second_process_with_the_same_memory_waits_its_turn(tmp_path: Path) -> None:
    """Or it would compare with a checkpoint that the first is about to replace, and sign a fork of it."""
    bucket, notes = await _grown(3, 5, 7)
    await _witness(tmp_path).add_checkpoint(await _submission(bucket, 0, notes[0]))
    body = await _submission(bucket, 3, notes[1])
    held = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import fcntl,sys; f=open(sys.argv[1],'ab'); fcntl.flock(f,2); print(flush=True); input()",
        str(tmp_path / ".turn"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert held.stdout is not None
    await held.stdout.readline()
    (kept,) = tmp_path.glob("*.checkpoint")
    try:
        second = asyncio.create_task(_witness(tmp_path).add_checkpoint(body))
        done, _ = await asyncio.wait({second}, timeout=0.5)
        assert not done, "it has not waited for its turn"
        kept.write_bytes(notes[2])  # what the first process was about to do
    finally:
        await held.communicate(b"\n")
    with pytest.raises(OutOfDate) as refused:
        await second
    assert refused.value.size == 15


async def test_a_damaged_memory_signs_nothing(tmp_path: Path) -> None:
    bucket, notes = await _grown(3, 5)
    await _witness(tmp_path).add_checkpoint(await _submission(bucket, 0, notes[0]))
    (path,) = tmp_path.glob("*.checkpoint")
    path.write_bytes(b"damaged")
    body = await _submission(bucket, 0, notes[1])
    with pytest.raises(NoteError):
        await _witness(tmp_path).add_checkpoint(body)
    async with (
        serving_witness(_witness(tmp_path), "127.0.0.1", 0) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/add-checkpoint", data=body) as response,
    ):
        assert response.status == 500


async def test_a_plain_signing_key_is_no_witness(tmp_path: Path) -> None:
    with pytest.raises(NoteError, match="type 4"):
        Witness(SIGNER, [SIGNER.key], Memory(tmp_path), lambda: NOW)


@asynccontextmanager
async def _witnessed(
    bucket: SuspiciousBucket, *addresses: WitnessAddress, seconds: float = 5.0
) -> AsyncIterator[AuditLog]:
    async with aiohttp.ClientSession() as http:
        cosigning = Cosigning(bucket, addresses, http, seconds=seconds)
        async with await AuditLog.open(bucket, REGION, SIGNER, cosign=cosigning) as log:
            yield log


async def test_a_log_gets_its_checkpoints_cosigned(tmp_path: Path) -> None:
    """Over HTTP, with no word in advance of where the witness stands; then again after a restart."""
    bucket = SuspiciousBucket()
    async with serving_witness(_witness(tmp_path), "127.0.0.1", 0) as url:
        address = WitnessAddress(url, WITNESS.key)
        for life in range(2):
            async with _witnessed(bucket, address) as log:
                for number in range(3):
                    await log.append(entry(life * 10 + number))
                    note = await log.published(life * 3 + number + 1)
                    assert Note.parse(note).verified_by([SIGNER.key, WITNESS.key])[WITNESS.key] == NOW
    demands = Demands(witnesses=[WITNESS.key])
    report = await verify(BackendSource(bucket), SIGNER.key, demands)
    assert (report.faults, report.witnesses) == ([], {WITNESS.name: NOW})


async def test_a_log_rewritten_with_the_right_key_goes_without_its_witness(tmp_path: Path) -> None:
    """Whoever holds the signing key can make a log of any content, and cannot get it cosigned."""
    bucket, notes = await _grown(5)
    await _witness(tmp_path).add_checkpoint(await _submission(bucket, 0, notes[0]))
    rewritten = SuspiciousBucket()
    async with (
        serving_witness(_witness(tmp_path), "127.0.0.1", 0) as url,
        _witnessed(rewritten, WitnessAddress(url, WITNESS.key)) as log,
    ):
        await asyncio.gather(*(log.append(entry(900 + n)) for n in range(9)))
        await log.published(9)
    assert (await verify(BackendSource(rewritten), SIGNER.key)).ok, "by itself it cannot be told"
    report = await verify(BackendSource(rewritten), SIGNER.key, Demands(witnesses=[WITNESS.key]))
    assert [(fault.code, fault.where) for fault in report.faults] == [(FaultCode.WITNESS, "checkpoint")]


async def test_a_witness_that_is_down_or_slow_costs_its_cosignature_and_nothing_else(tmp_path: Path) -> None:
    async def stall(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    bucket = SuspiciousBucket()
    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    slow = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    other = Signer("witness.example/ngo", b"\x0a" * 32, KeyKind.COSIGNATURE)
    async with serving_witness(_witness(tmp_path), "127.0.0.1", 0) as url:
        addresses = [
            WitnessAddress(url, WITNESS.key),
            WitnessAddress(slow, other.key),
            WitnessAddress("http://127.0.0.1:1", other.key),
        ]
        async with _witnessed(bucket, *addresses, seconds=0.2) as log:
            place = await log.append(entry(1))
            assert place.index == 0
            note = await log.published(1)
    server.close()
    assert set(Note.parse(note).verified_by([WITNESS.key, other.key])) == {WITNESS.key}
    two = [WITNESS.key, other.key]
    assert (await verify(BackendSource(bucket), SIGNER.key, Demands(witnesses=two, quorum=1))).ok
    report = await verify(BackendSource(bucket), SIGNER.key, Demands(witnesses=two))
    assert [fault.code for fault in report.faults] == [FaultCode.WITNESS]
    assert other.name in report.faults[0].detail


async def test_a_cosignature_by_somebody_else_does_not_count(tmp_path: Path) -> None:
    """A server that answers in the witness's place with a key of its own."""
    bucket = SuspiciousBucket()
    impostor = Signer(WITNESS.name, b"\x0b" * 32, KeyKind.COSIGNATURE)
    server = Witness(impostor, [SIGNER.key], Memory(tmp_path), lambda: NOW)
    async with (
        serving_witness(server, "127.0.0.1", 0) as url,
        _witnessed(bucket, WitnessAddress(url, WITNESS.key)) as log,
    ):
        await log.append(entry(1))
        note = await log.published(1)
    assert [s.name for s in Note.parse(note).signatures] == [SIGNER.name]


async def test_the_witness_command_runs_as_a_process(tmp_path: Path) -> None:
    """As a court would run it: a key made at the first start, the same one at the second."""
    bucket, notes = await _grown(3, 5)
    keys = set()
    for old, note in zip([0, 3], notes, strict=True):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "audit", "witness", "--log", str(SIGNER.key)),
            *("--key-file", str(tmp_path / "w.key"), "--state", str(tmp_path / "memory")),
            *("--name", "court.example", "--listen", "127.0.0.1:0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        key = VerifierKey.parse((await process.stdout.readline()).decode().strip())
        keys.add(key)
        url = (await process.stderr.readline()).decode().split()[-1]
        async with aiohttp.ClientSession() as http:
            body = await _submission(bucket, old, note)
            async with http.post(f"{url}/add-checkpoint", data=body) as response:
                line = (await response.text()).removesuffix("\n")
                assert response.status == 200, line
        key.check(Note.parse(note).text, parse_signature(line))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert len(keys) == 1


def test_the_witness_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    generate_signer(tmp_path / "plain.key", "a-log")
    cases = [
        (["--key-file", str(tmp_path / "plain.key"), "--log", str(SIGNER.key)], "type 4"),
        (["--key-file", str(tmp_path / "new.key"), "--log", "nonsense"], "--log: "),
        (["--key-file", str(tmp_path / "n2.key"), "--log", str(SIGNER.key), "--listen", "x"], "--listen: "),
    ]
    for words, what in cases:
        done = CliRunner().invoke(audit, ["witness", "--state", str(tmp_path / "memory"), *words])
        assert done.exit_code == 2
        assert what in done.stderr
        assert len(done.stderr.splitlines()) == 1
