"""The owners' door as it is run: `situs serve`, several processes on the same regions."""

from __future__ import annotations

import imaplib
import re
import smtplib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import uuid4

import pytest

from gateway.imap.throttle import FAILURES_AT_A_MAILBOX, WINDOW
from tests.gateway.demos import RunningDemo, running_demo
from tests.gateway.servers import RunningServer, serving

POLL_SECONDS: Final = 15.0  # the default


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("processes") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def server(demo: RunningDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A second process on the demo's regions."""
    with serving(demo.card, tmp_path_factory.mktemp("server")) as running:
        running.hear("serving")
        yield running


class Waiting:
    """A client that idles in the Irish inbox."""

    def __init__(self, demo: RunningDemo, port: int) -> None:
        owner = demo.card.home("eu-west-1")
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._lines = self._socket.makefile("rb")
        self._hear("* OK")
        for tag, line in (("a", f"LOGIN {owner.address} {owner.password}"), ("b", "SELECT INBOX")):
            self.say(f"{tag} {line}")
            self._hear(f"{tag} OK")
        self.say("c IDLE")
        self._hear("+ ")

    def say(self, line: str) -> None:
        self._socket.sendall(f"{line}\r\n".encode())

    def _hear(self, beginning: str) -> str:
        while not (line := self._lines.readline().decode()).startswith(beginning):
            assert line, "the server has closed"
        return line

    def told_of_mail(self) -> float:
        """Waits for EXISTS; when it came."""
        while not re.match(r"\* \d+ EXISTS", self._hear("* ")):
            pass
        return time.monotonic()

    def close(self) -> None:
        self._socket.close()


def deliver(demo: RunningDemo, smtp: str) -> float:
    """A message unlike any other (else it would be one that was sent twice); when it was acknowledged."""
    host, port = smtp.split(":")
    with smtplib.SMTP(host, int(port), timeout=30) as client:
        text = f"Subject: {uuid4()}\r\n\r\nx\r\n"
        client.sendmail("a@b.example", [demo.card.home("eu-west-1").address], text)
    return time.monotonic()


@pytest.fixture
def waiting(demo: RunningDemo) -> Iterator[Waiting]:
    client = Waiting(demo, int(demo.card.imap.rpartition(":")[2]))
    yield client
    client.close()


def test_idle_tells_within_two_seconds_of_what_the_same_process_took_in(
    demo: RunningDemo, waiting: Waiting
) -> None:
    acknowledged = deliver(demo, demo.card.smtp)
    assert waiting.told_of_mail() - acknowledged < 2.0


def test_idle_tells_within_the_poll_interval_of_what_another_process_took_in(
    demo: RunningDemo, server: RunningServer, waiting: Waiting
) -> None:
    acknowledged = deliver(demo, f"127.0.0.1:{server.smtp}")
    assert waiting.told_of_mail() - acknowledged < POLL_SECONDS + 2.0


def test_clients_on_two_processes_lose_no_flag(demo: RunningDemo, server: RunningServer) -> None:
    """Each client sets keywords of its own on the same messages, at the same time."""
    owner = demo.card.home("eu-west-1")
    for _ in range(3):
        deliver(demo, demo.card.smtp)
    ports = [int(demo.card.imap.rpartition(":")[2]), server.imap] * 2

    def mark(number: int) -> None:
        with imaplib.IMAP4("127.0.0.1", ports[number]) as box:
            box.login(owner.address, owner.password)
            box.select()
            for keyword in range(5):
                kind, _ = box.uid("STORE", "1:*", "+FLAGS.SILENT", f"(k{number}.{keyword})")
                assert kind == "OK"

    with ThreadPoolExecutor(len(ports)) as pool:
        list(pool.map(mark, range(len(ports))))
    with imaplib.IMAP4("127.0.0.1", ports[0]) as box:
        box.login(owner.address, owner.password)
        box.select(readonly=True)
        _, found = box.fetch("1:*", "(FLAGS)")
    expected = {f"k{number}.{keyword}" for number in range(len(ports)) for keyword in range(5)}
    assert len(found) >= 3
    for line in found:
        assert isinstance(line, bytes)
        assert expected <= set(re.findall(r"k\d\.\d", line.decode()))


def test_workers_count_failures_to_sign_in_together(
    demo: RunningDemo, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An attacker who tries a password at a time, each over a connection of its own, comes to any of them."""

    def answered(port: int, address: str) -> str:
        with imaplib.IMAP4("127.0.0.1", port, timeout=120) as box:
            try:
                box.login(address, "wrong")
            except imaplib.IMAP4.error as refused:
                return str(refused).partition("[")[2].partition("]")[0]
        raise AssertionError("that is nobody's password")

    owner = demo.card.home("eu-west-1").address
    tries = FAILURES_AT_A_MAILBOX + 10
    with (
        serving(demo.card, tmp_path_factory.mktemp("counting"), "--workers", "2") as running,
        ThreadPoolExecutor(tries) as pool,
    ):
        for _ in range(2):
            running.hear("worker serves")
        # A window of ten minutes may end meanwhile: then it is tried once more, at the beginning of one.
        for address in (owner, f"{owner.partition('@')[0]}+x@{owner.partition('@')[2]}"):
            began = time.monotonic() // WINDOW
            answers = list(pool.map(answered, [running.imap] * tries, [address] * tries))
            if time.monotonic() // WINDOW == began:
                break
    assert answers.count("AUTHENTICATIONFAILED") == FAILURES_AT_A_MAILBOX, answers
    assert answers.count("LIMIT") == 10, answers
