"""What a FETCH of everything holds in memory while its client takes its time: no more than for a little."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.imap.imap_process import OWNER, PASSWORD, ImapProcess, imap_process

MESSAGES: Final = 240
OCTETS: Final = 500_000
FEW: Final = 40
# 8 MB of messages that wait for their turn (`storage.folder`), as much again while they are opened, what
# the object client and the allocator keep, and the socket's own. All of the mail is 120 MB.
BOUND: Final = 40 * 1024 * 1024

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="a process's peak is read from Linux's /proc"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapProcess]:
    with imap_process(tmp_path_factory.mktemp("memory"), MESSAGES, OCTETS) as running:
        yield running


def memory(pid: int, field: str) -> int:
    """Octets: `VmRSS` now, `VmHWM` at the most since `forget_the_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def forget_the_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Slow:
    """A client on a thin line: it takes little at a time, and waits before it takes more."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", port))
        self._socket.recv(4_096)
        self.ask(f'LOGIN {OWNER} "{PASSWORD}"')
        self.ask("SELECT INBOX")

    def ask(self, command: str, pause: float = 0.0) -> int:
        """Octets of the answer, which ends in OK."""
        self._socket.sendall(f"tag {command}\r\n".encode())
        octets, last = 0, b""
        while b"tag OK" not in last:
            some = self._socket.recv(65_536)
            assert some, "the server has closed"
            octets, last = octets + len(some), last[-100:] + some
            time.sleep(pause)  # the pace of the line: no verdict rests on it
        return octets

    def close(self) -> None:
        self._socket.close()


def test_a_slow_reader_of_everything_costs_no_more_than_one_of_a_little(server: ImapProcess) -> None:
    client = Slow(server.port)
    client.ask("FETCH 1:5 (BODY.PEEK[])")  # what is loaded once is loaded
    before = memory(server.pid, "VmRSS")
    grown = []
    for count in (FEW, MESSAGES):
        forget_the_peak(server.pid)
        assert client.ask(f"FETCH 1:{count} (BODY.PEEK[])", pause=0.002) > count * OCTETS * 0.99
        grown.append(memory(server.pid, "VmHWM") - before)
    client.close()
    assert max(grown) < BOUND, grown
