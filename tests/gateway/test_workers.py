"""`situs serve --workers N`: N processes on the same ports, each replaced when it dies."""

from __future__ import annotations

import json
import re
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import psutil
import pytest

from gateway.demo.card import Card
from tests.gateway.demos import SITUS, RunningDemo, running_demo, situs


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """Its own doors are not used: it gives the regions that the workers serve."""
    with running_demo(tmp_path_factory.mktemp("workers") / "state") as running:
        yield running


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RunningServer:
    def __init__(self, process: subprocess.Popen[str], smtp: int, gateway: int, unix: Path) -> None:
        self.process, self.smtp, self.gateway, self.unix = process, smtp, gateway, unix
        self._lines: Queue[dict[str, Any]] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(json.loads(line))

    def hear(self, event: str) -> dict[str, Any]:
        """The next log line of that event."""
        while (line := self._lines.get(timeout=60))["event"] != event:
            pass
        return line

    def workers(self) -> set[psutil.Process]:
        return set(psutil.Process(self.process.pid).children())

    def send(self, card: Card) -> None:
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=30) as client:
            client.sendmail("a@b.example", [card.accounts[0].address], b"Subject: x\r\n\r\nx\r\n")


@contextmanager
def serving(card: Card, directory: Path, *options: str) -> Iterator[RunningServer]:
    smtp, lmtp, gateway, unix = free_port(), free_port(), free_port(), directory / "lmtp.sock"
    config = Path(card.config).read_text()
    for door, address in (("smtp", smtp), ("lmtp", lmtp)):
        config = re.sub(rf"(\[{door}\]\nlisten = )\[.*\]", rf'\1["127.0.0.1:{address}"]', config)
    config = config.replace("[lmtp]", f'[lmtp]\nunix = "{unix}"')
    config = re.sub(r'(\[gateway\]\nlisten = )".*"', rf'\1"127.0.0.1:{gateway}"', config)
    path = Path(card.config).with_name(f"{directory.name}.toml")
    path.write_text(config)
    process = subprocess.Popen(
        [*SITUS, "serve", "--config", str(path), *options], stderr=subprocess.PIPE, text=True
    )
    try:
        yield RunningServer(process, smtp, gateway, unix)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(45)


def test_workers_share_the_ports_and_a_dead_one_is_replaced(demo: RunningDemo, tmp_path: Path) -> None:
    with serving(demo.card, tmp_path, "--workers", "2") as server:
        for _ in range(2):
            server.hear("worker serves")
        before = server.workers()
        assert len(before) == 2
        server.send(demo.card)
        victim = next(iter(before))
        victim.kill()
        server.hear("worker ended, another follows")
        server.hear("worker serves")
        after = server.workers()
        assert len(after) == 2
        assert victim not in after
        server.send(demo.card)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.unix))
            assert client.recv(100).startswith(b"220 ")
        server.process.terminate()
        assert server.process.wait(45) == 0
        assert not [worker for worker in after if worker.is_running()]
        assert not server.unix.exists()


def test_ready_is_told_to_systemd_when_all_workers_serve(
    demo: RunningDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(demo.card, tmp_path, "--workers", "2") as server:
            assert systemd.recv(100) == b"READY=1"
            server.send(demo.card)
            server.process.terminate()
            assert systemd.recv(100) == b"STOPPING=1"


def test_a_configuration_that_no_worker_can_use_ends_the_parent_with_2(
    demo: RunningDemo, tmp_path: Path
) -> None:
    card = demo.card
    bad = Path(card.config).with_name("bad.toml")
    bad.write_text(
        re.sub(
            r"127\.0\.0\.1:0", lambda _: f"127.0.0.1:{free_port()}", Path(card.config).read_text()
        ).replace(card.regions["eu-west-1"].bucket, "no-such-bucket")
    )
    ended = situs("serve", "--config", str(bad), "--workers", "2")
    assert ended.returncode == 2
    assert "no-such-bucket" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ports_that_cannot_be_shared_are_refused(demo: RunningDemo) -> None:
    ended = situs("serve", "--config", demo.card.config, "--workers", "2")
    assert ended.returncode == 2
    assert "none may be 0" in ended.stderr
