"""For a minute, clients that do what comes into their heads on the same folders at once, and believe what
they are told: what Dovecot's `imaptest` looks for (`tests.imap.tracked` says what, one by one).

No rate is compared: the figure is how many commands were answered without telling anybody what cannot be
so. `python -m tests.bench.bench_imap_states [SECONDS] [SEED]` for another time, or the same choices again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from itertools import count, takewhile
from pathlib import Path

from tests.imap.imap_process import imap_process
from tests.imap.roaming import roam

SECONDS = 60
CLIENTS = 8


def run(seconds: int = SECONDS, seed: int | None = None) -> None:
    """Prints what was seen; raises Contradiction for what may not be."""
    seed = int(time.time()) if seed is None else seed
    print(f"seed {seed}", flush=True)  # before anything fails
    with tempfile.TemporaryDirectory() as state, imap_process(Path(state)) as server:
        until = time.monotonic() + seconds
        rounds = takewhile(lambda _: time.monotonic() < until, count())
        ground = asyncio.run(roam(server, CLIENTS, seed, rounds))
        faults = (Path(state) / "log").read_text().count('"fault"')
    uids = {name: ledger.highest_uid for name, ledger in ground.ledgers.items()}
    print(f"{ground.commands:,} commands of {CLIENTS} clients at once, UIDs up to {uids}, {faults} faults")
    assert not faults, "the server's log has faults of ours"


if __name__ == "__main__":
    run(*map(int, sys.argv[1:3]))
