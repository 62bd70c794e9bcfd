"""A running `situs serve`, as an operator starts it: its own process, on the regions of a demo."""

from __future__ import annotations

import json
import re
import smtplib
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from gateway.demo.card import Card
from tests.gateway.demos import SITUS


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RunningServer:
    def __init__(
        self, process: subprocess.Popen[str], smtp: int, imap: int, gateway: int, unix: Path
    ) -> None:
        self.process, self.smtp, self.imap, self.gateway, self.unix = process, smtp, imap, gateway, unix
        self.figures_at = gateway
        self._lines: Queue[dict[str, Any]] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            # A command that cannot go on says so in a line for people.
            self._lines.put(json.loads(line) if line.startswith("{") else {"event": line.strip()})

    def hear(self, event: str) -> dict[str, Any]:
        """The next log line of that event."""
        while (line := self._lines.get(timeout=120))["event"] != event:
            pass
        return line

    def workers(self) -> set[psutil.Process]:
        return set(psutil.Process(self.process.pid).children())

    def figure(self, name: str, **labels: str) -> float:
        """What `/metrics` says at `figures_at`, over a connection of its own: whichever worker has it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.figures_at}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return sum(
            each.value for each in samples if each.name == name and labels.items() <= each.labels.items()
        )

    def send(self, card: Card) -> None:
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=30) as client:
            client.sendmail("a@b.example", [card.accounts[0].address], b"Subject: x\r\n\r\nx\r\n")


@contextmanager
def serving(
    card: Card, directory: Path, *options: str, more: str = "", gateway_has: str = ""
) -> Iterator[RunningServer]:
    """`situs serve` on the demo's regions, on free ports.

    `more` is further sections of its configuration, `gateway_has` further lines of the gateway's.
    """
    smtp, lmtp, imap, gateway = free_port(), free_port(), free_port(), free_port()
    unix = directory / "lmtp.sock"
    config = Path(card.config).read_text()
    for door, address in (("smtp", smtp), ("lmtp", lmtp), ("imap", imap)):
        config = re.sub(rf"(\[{door}\]\nlisten = )\[.*\]", rf'\1["127.0.0.1:{address}"]', config)
    config = config.replace("[lmtp]", f'[lmtp]\nunix = "{unix}"')
    config = re.sub(r'(\[gateway\]\nlisten = )".*"', rf'\1"127.0.0.1:{gateway}"\n{gateway_has}', config)
    path = Path(card.config).with_name(f"{directory.name}.toml")
    path.write_text(config + more)
    process = subprocess.Popen(
        [*SITUS, "serve", "--config", str(path), *options], stderr=subprocess.PIPE, text=True
    )
    try:
        yield RunningServer(process, smtp, imap, gateway, unix)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(45)
