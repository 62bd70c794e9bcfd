"""`situs audit` as a stranger uses it: a directory or a URL, a key, and nothing of ours."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.audit import audit
from storage.audit.log import AuditLog
from storage.audit.note import KeyKind, Signer, with_signatures
from storage.audit.view import Proof
from tests.audit.logs import NOW, REGION, SIGNER, entry
from tests.audit.suspicious import SuspiciousBucket

SIZE = 300
KEY = str(SIGNER.key)
WITNESS = Signer("witness.example/court", b"\x09" * 32, KeyKind.COSIGNATURE)


async def _log() -> tuple[dict[str, bytes], bytes, Proof]:
    """What is served, the checkpoint of its first half, and a proof."""
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await asyncio.gather(*(log.append(entry(n)) for n in range(SIZE // 2)))
        half = await log.published(SIZE // 2)
        await asyncio.gather(*(log.append(entry(n)) for n in range(SIZE // 2, SIZE)))
        await log.published(SIZE)
        proof = await log.prove(7)
    return (
        {k.removeprefix("log/"): v for k, v in bucket.objects().items() if k.startswith("log/")},
        half,
        proof,
    )


@pytest.fixture
def served(tmp_path: Path) -> Path:
    objects, half, proof = asyncio.run(_log())
    for path, body in objects.items():
        (tmp_path / "log" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / path).write_bytes(body)
    (tmp_path / "half").write_bytes(half)
    (tmp_path / "entry.tlog-proof").write_text(proof.text())
    (tmp_path / "key").write_text(f"{KEY}\n")
    return tmp_path


def _situs(*words: str | Path) -> Result:
    return CliRunner().invoke(audit, [str(word) for word in words])


def _change_entry(directory: Path, number: int) -> None:
    path = directory / "log/tile/entries/000"
    path.write_bytes(path.read_bytes().replace(entry(number).id.encode(), entry(number + 10**6).id.encode()))


def test_a_directory_verifies_against_an_earlier_checkpoint(served: Path) -> None:
    words = ("verify", "--dir", served / "log", "--key", served / "key")
    done = _situs(*words, "--checkpoint", served / "half", "--save", served / "kept")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert f"{SIZE} entries" in done.stdout
    assert (served / "kept").read_bytes() == (served / "log/checkpoint").read_bytes()


def test_an_entry_that_was_changed_is_named_and_nothing_is_kept(served: Path) -> None:
    _change_entry(served, 42)
    words = ("verify", "--dir", served / "log", "--key", KEY, "--json")
    done = _situs(*words, "--save", served / "kept")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert not told["ok"]
    assert [(f["code"], f["where"]) for f in told["logs"][0]["faults"]] == [("entry-changed", "entry 42")]
    assert not (served / "kept").exists()


def test_a_witness_that_must_have_cosigned(served: Path) -> None:
    words = ("verify", "--dir", served / "log", "--key", KEY, "--witness", str(WITNESS.key))
    done = _situs(*words)
    assert (done.exit_code, "witness: checkpoint" in done.stderr) == (1, True)
    path = served / "log/checkpoint"
    text = path.read_text().split("\n\n")[0] + "\n"
    path.write_bytes(with_signatures(path.read_bytes(), [WITNESS.sign(text, NOW)]))
    done = _situs(*words)
    assert (done.exit_code, WITNESS.name in done.stdout) == (0, True)


@pytest.fixture
def url(served: Path) -> Iterator[str]:
    """The log behind a web server that is not ours."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served / "log")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_verifies_and_is_refused(served: Path, url: str) -> None:
    done = _situs("verify", "--url", url, "--key", KEY)
    assert (done.exit_code, f"{SIZE} entries" in done.stdout) == (0, True), done.output
    _change_entry(served, 3)
    done = _situs("verify", "--url", url, "--key", KEY)
    assert (done.exit_code, "entry-changed: entry 3:" in done.stderr) == (1, True)


def test_a_proof_is_checked_offline_and_shows_its_entry(served: Path) -> None:
    path = served / "entry.tlog-proof"
    done = _situs("check", path, "--key", KEY)
    assert (done.exit_code, json.loads(done.stdout)["id"]) == (0, entry(7).id)
    whole = path.read_text()
    for index in (
        "index 8",
        "index 07",
        "index +7",
        "index 7_",
        "index \N{ARABIC-INDIC DIGIT SEVEN}",
        "index -1",
    ):
        path.write_text(whole.replace("index 7", index), "utf-8")
        done = _situs("check", path, "--key", KEY)
        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--dir", "nowhere", "--key", KEY], "--dir: nowhere: no log here"),
        (["--dir", "nowhere"], "--key: "),
        (["--dir", "nowhere", "--url", "http://x", "--key", KEY], "one of them"),
        (["--url", "ftp://x", "--key", KEY], "--url: "),
        (["--url", "http://x", "--key", "nonsense"], "--key: "),
        (["--dir", "nowhere", "--key", KEY, "--checkpoint", "none"], "none: "),
        (["--dir", "", "--url", "http://x", "--key", KEY], "one of them"),
        (["--url", "", "--key", KEY], "--url: ''"),
        (["--url", "http://", "--key", KEY], "--url: 'http://'"),
        (["--url", "http://[::1", "--key", KEY], "--url: "),
        (["--url", "http://x:99999/", "--key", KEY], "--url: "),
        (["--url", "http://x/?region=y", "--key", KEY], "without a query"),
        (["--dir", "log", "--key", ""], "--key: ''"),
        (["--dir", "log", "--key", "no-such-file"], "--key: 'no-such-file' is no verifier key"),
        (["--dir", "log", "--key", f"{KEY}x"], "--key: "),
        (["--dir", "log", "--key", KEY, "--checkpoint", "key"], "--checkpoint: key: a note is"),
        (["--dir", "log", "--key", KEY, "--save", "nowhere/kept"], "--save: nowhere/kept: "),
        (["--dir", "log", "--key", KEY, "--quorum", "1"], "--quorum: "),
        (["--dir", "log", "--key", KEY, "--witness", KEY], "--witness: "),
        (["--dir", "log", "--key", KEY, "--witness", "nonsense"], "--witness: "),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    served: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], what: str
) -> None:
    monkeypatch.chdir(served)
    done = _situs("verify", *words)
    assert done.exit_code == 2, done.exception
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1
