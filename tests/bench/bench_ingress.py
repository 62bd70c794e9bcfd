"""Messages a second through the doors, with the same `smtp-source` load on ours and on other people's.

Taking in (nothing is kept): our SMTP door over a post that keeps nothing, against Postfix's `smtp-sink`,
the limit of what this load can measure, and against aiosmtpd as it comes.
Storing (every message durable before it is acknowledged): our LMTP door over a region on SeaweedFS,
against Dovecot's LMTP into a maildir with fsync, and against Postfix before that Dovecot, counted by what
is in the mailboxes. Durable as each of them understands it: Dovecot syncs each message to the disk, SeaweedFS
keeps it through its own crash and not through the machine's, unless it is told to (or has replicas).
Last comes the ceiling: bare puts of the same objects, and where the CPU of a stored message goes.

Targets (issue 4, line 10): taking in 0.4 x smtp-sink; storing 1.5 x Dovecot and 3 x Postfix -> Dovecot;
0.6 CPU-seconds of our process for 1,000 messages of 10 KB.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import ingress_cost
from tests.bench.ingress_peers import dovecot
from tests.bench.ingress_process import RECIPIENT
from tests.bench.process_time import cpu_seconds
from tests.ingress.postfix import Postfix, free_port

CONNECTIONS = 50


@dataclass(frozen=True)
class Load:
    """What smtp-source sends: so many messages of so many octets, a connection for each or one for many."""

    octets: int
    messages: int
    reuse: bool

    def __str__(self) -> str:
        return f"{self.octets // 1024:4} KB, {'reused' if self.reuse else '   new'} connections"


LOADS = [
    Load(10_240, 3_000, False),
    Load(10_240, 3_000, True),
    Load(20_480, 3_000, True),
    Load(204_800, 400, True),
]


def send(port: int, load: Load, *, lmtp: bool) -> float:
    """Seconds until the last message was acknowledged."""
    options = ["-L"] * lmtp + ["-d"] * load.reuse
    began = time.perf_counter()
    subprocess.run(
        ["smtp-source", *options, "-s", str(CONNECTIONS), "-m", str(load.messages), "-l", str(load.octets),
         "-f", "sender@client.example", "-t", RECIPIENT, f"127.0.0.1:{port}"],
        check=True,
    )  # fmt: skip
    return time.perf_counter() - began


@contextmanager
def server(*arguments: str) -> Iterator[tuple[int, int]]:
    """One of `ingress_process`: its port and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.ingress_process", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        process.wait(60)


@contextmanager
def smtp_sink() -> Iterator[int]:
    """Postfix's own sink for tests: it reads, answers and forgets, in C."""
    port = free_port()
    process = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1000"])
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def taking_in() -> None:
    """Prints a line for each load."""
    with smtp_sink() as sink, server("stub") as (ours, pid), server("aiosmtpd") as (stock, _):
        for load in LOADS:
            limit = load.messages / send(sink, load, lmtp=False)
            before = cpu_seconds(pid)
            rate = load.messages / send(ours, load, lmtp=False)
            cpu = (cpu_seconds(pid) - before) / load.messages * 1_000
            other = load.messages / send(stock, load, lmtp=False)
            print(
                f"taking in, {load}: smtp-sink {limit:6,.0f}/s (baseline), ours {rate:6,.0f}/s "
                f"({rate / limit:.2f} x, {cpu:.2f} CPU-s per 1,000), "
                f"aiosmtpd {other:6,.0f}/s ({other / limit:.2f} x)",
                flush=True,
            )


def storing() -> None:
    """Prints a line for each load."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, pid = stack.enter_context(server("durable", str(state)))
        maildir = stack.enter_context(dovecot())
        for load in LOADS:
            before = cpu_seconds(pid)
            rate = load.messages / send(ours, load, lmtp=True)
            cpu = (cpu_seconds(pid) - before) / load.messages * 1_000
            theirs = load.messages / send(maildir.port, load, lmtp=True)
            queued = asyncio.run(behind_postfix(load, maildir.port, maildir.delivered))
            print(
                f"storing, {load}: Dovecot LMTP {theirs:6,.0f}/s (baseline), "
                f"Postfix -> Dovecot {queued:6,.0f}/s, ours {rate:6,.0f}/s "
                f"({rate / theirs:.2f} x and {rate / queued:.2f} x, {cpu:.2f} CPU-s per 1,000)",
                flush=True,
            )


async def behind_postfix(load: Load, lmtp_port: int, delivered: Callable[[], int]) -> float:
    """Messages a second until the last one is in its mailbox."""
    settings = {
        "smtpd_recipient_restrictions": "reject_unauth_destination",
        "smtpd_client_message_rate_limit": "0",
    }
    async with Postfix(f"situs:inet:127.0.0.1:{lmtp_port}", **settings) as postfix:
        already, began = delivered(), time.perf_counter()
        await asyncio.to_thread(send, postfix.port, load, lmtp=False)
        async with asyncio.timeout(300):
            while delivered() < already + load.messages:
                await asyncio.sleep(0.05)
        return load.messages / (time.perf_counter() - began)


def run() -> None:
    """Says what it could not compare with, where a peer is missing."""
    if shutil.which("smtp-source") is None:
        print("smtp-source (Debian's package postfix) is not on this machine: nothing to measure with")
        return
    taking_in()
    if shutil.which("dovecot") is None or os.geteuid() != 0:
        print("Dovecot (dovecot-lmtpd) is not on this machine, or this is not root: storing is not compared")
        return
    storing()
    ingress_cost.run()
