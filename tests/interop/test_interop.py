"""Our log under Go's eyes: golang.org/x/mod/sumdb, an implementation that is not ours.

Needs `go` and Debian's `golang-golang-x-mod-dev` (see `tests.peers`).
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from storage.audit.log import AuditLog
from storage.audit.reader import TreeReader
from storage.audit.source import DirectorySource, SourceTiles
from storage.audit.tiles import TileName
from storage.audit.verify import verify
from tests.audit.logs import REGION, SIGNER, entry
from tests.audit.suspicious import SuspiciousBucket
from tests.peers import leave_out, require

SIZE = 70_000  # three levels of tiles, all of them partial at the right edge
GOPATH = Path("/usr/share/gocode")
SUMDB = GOPATH / "src/golang.org/x/mod/sumdb/tlog"
PROGRAM = Path(__file__).with_name("main.go")


@pytest.fixture(scope="session")
def interop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    require("go")
    if not SUMDB.is_dir():
        leave_out(f"{SUMDB} is not there: apt-get install golang-golang-x-mod-dev")
    target = tmp_path_factory.mktemp("interop") / "interop"
    environment = os.environ | {
        "GOPATH": str(GOPATH),
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOCACHE": str(target.parent / "cache"),
    }
    subprocess.run(["go", "vet", str(PROGRAM)], check=True, env=environment)
    subprocess.run(["go", "build", "-o", str(target), str(PROGRAM)], check=True, env=environment)
    return target


async def _grow(directory: Path) -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=60) as log:
        for start in range(0, SIZE, 10_000):
            await asyncio.gather(*(log.append(entry(n)) for n in range(start, start + 10_000)))
    for key, body in bucket.objects().items():
        if key.startswith("log/"):
            path = directory / key.removeprefix("log/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)


async def _proofs(directory: Path) -> list[str]:
    """Inclusion and consistency proofs at random places, and at the places where trees are odd."""
    chance = random.Random(70_000)
    tiles = SourceTiles(DirectorySource(directory))
    tree = TreeReader(tiles, SIZE)
    indexes = [0, 1, 255, 256, 65_535, 65_536, SIZE - 1, *(chance.randrange(SIZE) for _ in range(200))]
    olds = [
        1,
        2,
        255,
        256,
        257,
        65_536,
        65_537,
        SIZE - 1,
        SIZE,
        *(chance.randrange(1, SIZE) for _ in range(100)),
    ]
    lines = []
    for index in indexes:
        lines.append(_line("record", index, SIZE, await tree.inclusion_proof(index)))
    for old in olds:
        lines.append(_line("tree", old, SIZE, await tree.consistency_proof(old)))
        # And inside an earlier tree, whose partial tiles are gone into full ones.
        earlier = TreeReader(_FullTilesOnly(tiles, directory), old)
        index = chance.randrange(old)
        lines.append(_line("record", index, old, await earlier.inclusion_proof(index)))
    return lines


class _FullTilesOnly:
    """The newest tile at a place, cut to the width asked for: what a pruned log still serves."""

    def __init__(self, tiles: SourceTiles, directory: Path) -> None:
        self._tiles = tiles
        self._directory = directory

    async def tile(self, name: TileName) -> bytes:
        if (self._directory / name.path).is_file():
            return await self._tiles.tile(name)
        for width in range(name.width + 1, 257):
            longer = TileName(name.level, name.n, width)
            if (self._directory / longer.path).is_file():
                return (await self._tiles.tile(longer))[: name.width * 32]
        raise AssertionError(name)


def _line(kind: str, first: int, size: int, proof: tuple[bytes, ...]) -> str:
    return " ".join([kind, str(first), str(size), *(base64.b64encode(h).decode() for h in proof)])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A log of 70,000 entries as it is served, and proofs out of it."""
    directory = tmp_path_factory.mktemp("served")
    asyncio.run(_grow(directory))
    proofs = directory.parent / f"{directory.name}.proofs"
    proofs.write_text("\n".join(asyncio.run(_proofs(directory))) + "\n")
    return directory, proofs


def _check(program: Path, directory: Path, proofs: Path, key: str = str(SIGNER.key)) -> tuple[int, str]:
    done = subprocess.run(
        [program, directory, key, proofs], capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout


@pytest.mark.xdist_group("interop")
def test_go_verifies_our_log_and_our_proofs(interop: Path, served: tuple[Path, Path]) -> None:
    status, output = _check(interop, *served)
    assert (status, output) == (0, "70000 entries, 277 tiles, 425 proofs: verified\n")


TAMPERED = ["tile/entries/100", "tile/0/100", "tile/1/000", "tile/2/000.p/1", "checkpoint"]


@pytest.mark.xdist_group("interop")
@pytest.mark.parametrize("path", TAMPERED)
def test_go_and_we_both_refuse_a_tampered_log(
    interop: Path, served: tuple[Path, Path], tmp_path: Path, path: str
) -> None:
    directory = tmp_path / "log"
    shutil.copytree(served[0], directory, copy_function=os.link)
    body = bytearray((directory / path).read_bytes())
    body[len(body) // 2] ^= 1
    (directory / path).unlink()
    (directory / path).write_bytes(body)
    status, output = _check(interop, directory, served[1])
    assert status == 1
    assert output.startswith("FAIL:")
    assert not asyncio.run(verify(DirectorySource(directory), SIGNER.key)).ok


@pytest.mark.xdist_group("interop")
def test_go_refuses_a_proof_that_is_not_one(interop: Path, served: tuple[Path, Path], tmp_path: Path) -> None:
    lines = served[1].read_text().splitlines()
    for line in (lines[10], next(line for line in lines if line.startswith("tree 257 "))):
        words = line.split()
        words[-1] = base64.b64encode(bytes(32)).decode()
        (tmp_path / "proofs").write_text(" ".join(words) + "\n")
        status, output = _check(interop, served[0], tmp_path / "proofs")
        assert (status, output[:5]) == (1, "FAIL:")
