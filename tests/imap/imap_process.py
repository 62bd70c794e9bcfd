"""An owners' door to be used by programs that are not ours, in a process of its own:
`python -m tests.imap.imap_process STATE MESSAGES OCTETS`.

A region on SeaweedFS, which is started beside it with its data in STATE; one owner, with so many messages
of so many octets in the inbox. Prints its port, and runs until its standard input closes. For a line of a
number it takes in so many small messages more, as a delivery does, and prints that they are durable; for
any other it gets all the messages from the region, opens none, and prints how many seconds that took.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import uvloop
from prometheus_client import CollectorRegistry

from gateway.bell import Bells
from gateway.demo.engines import Credentials, start_seaweedfs
from gateway.garbage import look_less_often
from gateway.imap.commons import Commons
from gateway.imap.metrics import ImapMetrics
from gateway.imap.signing_in import SignIn
from gateway.ingress.admission import Admission
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.memory import Memory
from gateway.ingress.wire import MESSAGE_BLOCK
from gateway.logs import configure_logs
from gateway.owners_door import serve_imap
from policy.address import Address
from policy.geography import RegionCode
from storage.directory import Directory
from storage.holds import HoldRegister
from storage.identity import utc_now
from storage.in_order import as_stream, in_order
from storage.located import Located
from storage.mailbox import append
from storage.provision import provision
from storage.region import Ground, RegionStore
from storage.sealing import LONGEST_SEALED
from storage.traffic import Envelope
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import DEPLOYMENT, IRELAND, settings_on
from tests.holds.ward import PSEUDONYMS, Ledger
from tests.imap.tracked import message

OWNER: Final = "aoife@example.ie"
PASSWORD: Final = "correct horse battery"
LIMITS: Final = Limits(
    connections=2_000, connections_per_address=2_000, connections_per_minute=1_000_000, commands=1_000_000
)
_AT_ONCE: Final = 32


def mail(number: int, octets: int) -> bytes:
    """A message of about so many octets, unlike every other; CRLF line ends."""
    header = (
        f"Received: from client.example by mx.example.ie with ESMTP; Tue, 24 Nov 2026 10:00:00 +0000\r\n"
        f"From: Brian <brian@example.ie>\r\nTo: Aoife <aoife@example.ie>\r\n"
        f"Subject: Message {number} of many\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@client.example>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    line = f"Line of message {number}, which has many like it, as long as lines of mail are.\r\n"
    lines = max(1, (octets - len(header)) // len(line))
    return (header + line * lines).encode("ascii")


class ImapProcess:
    """It is listening: `port` on 127.0.0.1, `pid` is its own."""

    def __init__(self, port: int, pid: int, said: IO[bytes], told: IO[bytes]) -> None:
        self.port: Final = port
        self.pid: Final = pid
        self._said: Final = said
        self._told: Final = told

    def bare_gets(self) -> float:
        """Seconds for the messages' octets alone, as they lie in the region."""
        return float(self._ask(b"get"))

    def deliver(self, messages: int) -> None:
        """So many more (`tests.imap.tracked.message`), each with a token of its own."""
        assert self._ask(b"%d" % messages) == b"delivered\n"

    def _ask(self, line: bytes) -> bytes:
        self._told.write(line + b"\n")
        self._told.flush()
        return self._said.readline()


@contextmanager
def imap_process(state: Path, messages: int = 0, octets: int = 2_000) -> Iterator[ImapProcess]:
    """What it logs is in `STATE/log`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.imap.imap_process", str(state), str(messages), str(octets)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"it did not start: {(state / 'log').read_text()[-2_000:]}"
        yield ImapProcess(int(line), process.pid, process.stdout, process.stdin)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


async def _serve(state: Path, messages: int, octets: int) -> None:
    engine = await asyncio.to_thread(start_seaweedfs, Credentials.fresh(), state)
    try:
        settings = settings_on(engine.engine, IRELAND, state)
        await provision(settings, DEPLOYMENT)
        async with await Ground.open([settings], DEPLOYMENT) as ground:
            directory = Directory(ground, b"k" * 32, IRELAND.code, IRELAND.code)
            owner = Address.parse(OWNER)
            await directory.create(owner, IRELAND.code, password=PASSWORD)
            located = await directory.find(owner)
            home = ground.home(located)
            await _deliver(home, located, messages, octets)
            with Versions(home) as versions:
                register = HoldRegister(Vault(home), versions, Ledger(), PSEUDONYMS, utc_now)
                await _open(directory, register, home, located)
    finally:
        engine.stop()


async def _open(directory: Directory, register: HoldRegister, home: RegionStore, located: Located) -> None:
    async def its_register(_: RegionCode) -> HoldRegister:
        return register

    commons = Commons(
        hostname="imap.example.ie",
        sign_in=SignIn(directory, frozenset({IRELAND.code}), {}, its_register, utc_now),
        bells=Bells(),
        limits=LIMITS,
        memory=Memory(LIMITS),
        landing=memoryview(bytearray(MESSAGE_BLOCK)),
        admission=Admission(LIMITS),
        metrics=ImapMetrics(CollectorRegistry()),
        poll_seconds=10.0,
    )
    door = await serve_imap(ListenerSettings(), commons)
    print(door.port, flush=True)
    delivered = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        if not line.strip().isdigit():
            print(await _bare_gets(home, located), flush=True)
            continue
        for _ in range(int(line)):
            delivered += 1
            await append(home, located, _envelope(), message(b"d%d" % delivered, delivered % 30 + 1))
        commons.bells.ring(located.account)
        print("delivered", flush=True)
    await door.close()


async def _bare_gets(home: RegionStore, located: Located) -> float:
    began = time.perf_counter()
    keys = [listed.key async for listed in home.mail.list(f"mail/{located.account}/")]

    async def get(key: str) -> bytes:
        return await home.mail.get_range(key, 0, LONGEST_SEALED)  # as a folder's contents are got

    async for _ in in_order(as_stream(keys), get, _AT_ONCE):
        pass
    return time.perf_counter() - began


async def _deliver(home: RegionStore, located: Located, messages: int, octets: int) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def deliver(number: int) -> None:
        async with turns:
            await append(home, located, _envelope(), mail(number, octets))

    async with asyncio.TaskGroup() as deliveries:
        for number in range(messages):
            deliveries.create_task(deliver(number))


def _envelope() -> Envelope:
    return Envelope("brian@example.ie", OWNER, "192.0.2.1", "client", datetime.now(UTC), "ESMTP")


def main(state: str, messages: str, octets: str) -> None:
    place = Path(state)
    # Logging and memory as in production: JSON lines on standard error.
    with (place / "log").open("w") as log, redirect_stderr(log):
        configure_logs(json=True)
        look_less_often()
        uvloop.run(_serve(place, int(messages), int(octets)))


if __name__ == "__main__":
    main(*sys.argv[1:])
