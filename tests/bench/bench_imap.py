"""What an owner's client waits for: envelopes, structures and bodies, from our door over a region on
SeaweedFS, and from Debian's Dovecot over a Maildir, with the same messages, the same client and commands.

A client signs in and opens the mailbox before the clock starts; the best of some rounds counts, each in a
new session, which therefore begins with nothing in memory (what the two systems keep is theirs: Dovecot its
index and the kernel's cache, SeaweedFS the same cache).

Targets (issue 9, line 8): 500 envelopes at 0.5 x of Dovecot's rate, 5,000 bodies of 20 KB at 0.25 x. What no
server on SeaweedFS can pass is printed beside the second: as many bare GETs of the same objects, as many at
once, by the same object client, with nothing opened or told.
Memory per idle session is what our process grows by, with a mailbox of 5,000 open in each of them.

`python -m tests.bench.bench_imap [MESSAGES]` for less of it than 5,000.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil

from tests.bench.imap_peer import dovecot
from tests.bench.process_time import cpu_seconds
from tests.imap.imap_process import OWNER, PASSWORD, imap_process, mail

MESSAGES, OCTETS = 5_000, 20_000
ENVELOPES = 500
IDLE = 25
ROUNDS = 3
SHORT_ROUNDS = 12  # of what takes some hundredths of a second, and a busy machine disturbs most of them


@final
class Reader:
    """A client that asks and counts what comes, and parses nothing: the server is what is measured."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.recv(65_536)
        self.ask(f'LOGIN {OWNER} "{PASSWORD}"')
        self.ask("SELECT INBOX")

    def ask(self, command: str) -> int:
        """Octets of the whole answer. Raises RuntimeError where it is not OK."""
        self._socket.sendall(f"tag {command}\r\n".encode("ascii"))
        octets, last = 0, b""
        while True:
            more = self._socket.recv(1 << 20)
            octets, last = octets + len(more), (last + more)[-1_000:]
            ending = last.rfind(b"\r\ntag ")
            if ending >= 0 and last.endswith(b"\r\n"):
                break
            if last.startswith(b"tag ") and last.endswith(b"\r\n"):
                break
            if not more:
                raise RuntimeError(f"{command}: the server has closed")
        if b"tag OK" not in last[max(ending, 0) :]:
            raise RuntimeError(f"{command}: {last[-200:]!r}")
        return octets

    def idle(self) -> None:
        self._socket.sendall(b"tag IDLE\r\n")
        self._socket.recv(65_536)

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Best:
    """The quickest of some rounds, and the CPU that the server's process took for it."""

    seconds: float
    cpu: float


def fetch(port: int, command: str, rounds_of_it: int, pid: int | None = None) -> Best:
    rounds = []
    for _ in range(rounds_of_it):
        reader = Reader(port)
        before, began = cpu_seconds(pid) if pid else 0.0, time.perf_counter()
        reader.ask(command)
        seconds = time.perf_counter() - began
        rounds.append(Best(seconds, cpu_seconds(pid) - before if pid else 0.0))
        reader.close()
    # The CPU is that of all rounds: its clock is too coarse for one of them.
    return Best(min(one.seconds for one in rounds), sum(one.cpu for one in rounds) / rounds_of_it)


@dataclass(frozen=True)
class Compared:
    """Messages a second: ours, and Dovecot's where it is there."""

    ours: float
    theirs: float | None


def compare(
    name: str, count: int, command: str, rounds: int, ours: int, pid: int, theirs: int | None
) -> Compared:
    here = fetch(ours, command, rounds, pid)
    told = f"{name}: ours {count / here.seconds:7,.0f}/s, {here.cpu / count * 1_000:.3f} CPU-s per 1,000"
    rate = None
    if theirs is not None:
        rate = count / fetch(theirs, command, rounds).seconds
        told += f"; Dovecot on a Maildir {rate:7,.0f}/s (baseline); {count / here.seconds / rate:.2f} x"
    print(told, flush=True)
    return Compared(count / here.seconds, rate)


def ceiling(bare: float, bodies: Compared) -> None:
    """What the engine alone allows, beside what was reached and what was asked for."""
    told = f"bare GETs of the same objects: {bare:7,.0f}/s; ours are {bodies.ours / bare:.2f} x of that"
    if bodies.theirs is not None:
        told += (
            f", and the most that could be is {bare / bodies.theirs:.2f} x Dovecot"
            f" (target 0.25 x: {bodies.theirs / 4:,.0f}/s)"
        )
    print(told, flush=True)


def idle_memory(port: int, pid: int, messages: int) -> None:
    """Every session has the mailbox open, and waits."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    readers = []
    for _ in range(IDLE):
        readers.append(Reader(port))
        readers[-1].idle()
    grown = process.memory_info().rss - before
    print(
        f"{IDLE} idle sessions: {grown / IDLE / 1024:,.0f} KB each, with {messages:,} messages open",
        flush=True,
    )
    for reader in readers:
        reader.close()


def run(messages: int = MESSAGES) -> None:
    """Says what it could not compare with, where Dovecot is missing."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(imap_process(state, messages, OCTETS))
        theirs = None
        if shutil.which("dovecot") is None or os.geteuid() != 0:
            print(
                "Dovecot (dovecot-imapd) is not on this machine, or this is not root: nothing to compare with"
            )
        else:
            theirs = stack.enter_context(dovecot(OWNER, messages, lambda number: mail(number, OCTETS)))
            Reader(theirs).close()
        Reader(ours.port).close()  # what came in is taken into the folder, as Dovecot's scan was
        few = min(ENVELOPES, messages)
        newest = f"FETCH {messages - few + 1}:{messages} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
        compare(f"{few} envelopes", few, newest, SHORT_ROUNDS, ours.port, ours.pid, theirs)
        structures = f"FETCH {messages - few + 1}:{messages} (UID BODYSTRUCTURE)"
        compare(f"{few} structures", few, structures, SHORT_ROUNDS, ours.port, ours.pid, theirs)
        name, everything = f"{messages:,} bodies of {OCTETS // 1_000} KB", "FETCH 1:* (BODY.PEEK[])"
        bodies = compare(name, messages, everything, ROUNDS, ours.port, ours.pid, theirs)
        ceiling(messages / min(ours.bare_gets() for _ in range(ROUNDS)), bodies)
        idle_memory(ours.port, ours.pid, messages)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:2]))
