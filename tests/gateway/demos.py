"""A running `situs demo`, as a user starts it: its own process, its own directory, free ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from gateway.demo.card import Card

SITUS: Final = [sys.executable, "-m", "gateway"]


def situs(*words: str, stdin: str | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [*SITUS, *words], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )


class RunningDemo:
    """Started and listening. `said` is all that it has printed on standard output so far."""

    def __init__(self, process: subprocess.Popen[str], state: Path) -> None:
        self.process: Final = process
        self.state: Final = state
        self._lines: Final[list[str]] = []
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert process.poll() is None, "the demo ended before it was ready: " + self.said
        self.card: Final = Card.read(state / "demo.json")
        # What else it says must go somewhere, or it would wait for a reader.
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def children(self) -> list[psutil.Process]:
        """The processes that the demo has started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine(self, region: str) -> psutil.Process:
        """The process that is a region's S3 server."""
        port = int(self.card.regions[region].endpoint.rpartition(":")[2])
        return next(child for child in self.children() if port in listening_ports(child))


def listening_ports(process: psutil.Process) -> set[int]:
    """The TCP ports that a process listens on."""
    return {
        connection.laddr.port
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


@contextmanager
def running_demo(state: Path, *options: str) -> Iterator[RunningDemo]:
    """Ends with SIGINT, as Ctrl-C does, unless the test has ended it already."""
    process = subprocess.Popen(
        [*SITUS, "demo", "--ephemeral", "--state", str(state), *options],
        stdout=subprocess.PIPE,
        stderr=(state.parent / f"{state.name}.err").open("w"),
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield RunningDemo(process, state)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
