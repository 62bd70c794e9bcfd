"""Where the CPU of a stored message goes: the engine's share, the object client's, and each step of ours.

Beside it the ceiling: what SeaweedFS takes from a client that does nothing but put the same sealed objects.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import uvloop

from gateway.demo.engines import Credentials, start_seaweedfs
from gateway.ingress import message, trace
from gateway.ingress.limits import Limits
from gateway.ingress.trace import Arrival
from storage.identity import AccountId, MessageIds
from storage.keys import PrivateKey, PublicKeys, Purpose
from storage.mailbox import message_key
from storage.objects import Bucket
from storage.provision import provision
from storage.sealing import Binding, seal_message
from storage.traffic import Envelope, describe, write_record
from tests.bench.ingress_process import RECIPIENT
from tests.bench.process_time import cpu_seconds
from tests.engines import DEPLOYMENT, IRELAND, settings_on

IN_FLIGHT = 50
PUTS = 2_000
TURNS = 1_000
SENT = b"From: a@client.example\r\nTo: b@example.ie\r\nSubject: x\r\n\r\n" + (b"X" * 78 + b"\r\n") * 128


def _step(work: Callable[[], object]) -> float:
    """Microseconds of CPU: the best of five rounds, since others run on the machine too."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(TURNS // 5):
            work()
        rounds.append((time.process_time() - began) / (TURNS // 5) * 1e6)
    return min(rounds)


def steps() -> None:
    """Prints what each step of a 10 KB message takes on its way from the wire to the put."""
    keys = [PrivateKey.generate(1, purpose).public for purpose in Purpose]
    public = PublicKeys(1, *keys)
    ids, account, now = MessageIds(), AccountId.new(), datetime.now(UTC)
    envelope = Envelope("a@client.example", RECIPIENT, "192.0.2.1", "mx", now, "LMTP", "0" * 64)
    arrival = Arrival("a@client.example", "mx", IPv4Address("192.0.2.1"), "LMTP", "0" * 14, now)
    name, limits = ids.issue(now), Limits()
    binding = Binding(IRELAND.code, message_key(account, name))
    record = write_record(describe(name, envelope, SENT))
    found = {
        "checked": _step(lambda: message.fault(SENT, limits)),
        "traced": _step(lambda: trace.header(arrival, "mx.example.ie")),
        "described": _step(lambda: write_record(describe(name, envelope, SENT))),
        "compressed and sealed twice": _step(lambda: seal_message(public, binding, record, SENT)),
    }
    print("of that, us of CPU for a message of 10 KB:", ", ".join(f"{k} {v:.0f}" for k, v in found.items()))


async def _bare_puts(bucket: Bucket) -> None:
    body, left = secrets.token_bytes(12_288), iter(range(PUTS))

    async def one_after_another() -> None:
        for _ in left:
            await bucket.put_if_absent(f"bare/{secrets.token_hex(16)}", body, fresh_key=True)

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))


async def _ceiling(state: Path) -> None:
    engine = await asyncio.to_thread(start_seaweedfs, Credentials.fresh(), state)
    try:
        settings = settings_on(engine.engine, IRELAND, state)
        await provision(settings, DEPLOYMENT)
        bucket = Bucket(settings.bucket, settings.access)
        await _bare_puts(bucket)
        theirs, ours, began = cpu_seconds(engine.engine.pid), time.process_time(), time.perf_counter()
        await _bare_puts(bucket)
        rate = PUTS / (time.perf_counter() - began)
        client = (time.process_time() - ours) / PUTS * 1_000
        server = (cpu_seconds(engine.engine.pid) - theirs) / PUTS * 1_000
        print(
            f"ceiling: bare puts of 12 KB, {IN_FLIGHT} in flight: {rate:6,.0f}/s "
            f"({client:.2f} CPU-s of the client and {server:.2f} of SeaweedFS per 1,000)"
        )
    finally:
        engine.stop()


def run() -> None:
    """Prints the ceiling, and the steps."""
    with tempfile.TemporaryDirectory() as state:
        uvloop.run(_ceiling(Path(state)))
    steps()
