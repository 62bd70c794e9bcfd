"""Failures to sign in are counted for all workers together."""

from __future__ import annotations

import stat
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.tally import Tally
from gateway.imap.throttle import FAILURES_AT_A_MAILBOX, FAILURES_OF_A_PEER, Throttle
from policy.address import Address

AOIFE: Final = Address("aoife", "example.ie")
BOUND: Final = 5_000
# Counts as often as it may, and says how often that was.
WORKER: Final = f"""
import sys
from pathlib import Path
from gateway.imap.tally import Tally
tally = Tally.shared(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(tally.count({{"a": {BOUND}, "b": 1 << 31}}, 7) for _ in range({BOUND})))
"""


def throttles(path: Path, count: int = 2) -> list[Throttle]:
    return [Throttle(Tally.shared(path), monotonic=lambda: 0.0) for _ in range(count)]


def test_workers_give_an_attacker_no_more_tries_than_one(tmp_path: Path) -> None:
    workers = throttles(tmp_path / "failures", 4)
    peers = (IPv4Address(number) for number in range(1, 1_000_000))
    tries = [worker.attempt(next(peers), AOIFE) for _ in range(FAILURES_AT_A_MAILBOX) for worker in workers]
    assert sum(tries) == FAILURES_AT_A_MAILBOX
    peer = IPv4Address("192.0.2.7")
    tries = [worker.attempt(peer, None) for _ in range(FAILURES_OF_A_PEER) for worker in workers]
    assert sum(tries) == FAILURES_OF_A_PEER


def test_an_owner_who_is_known_to_one_worker_is_known_to_all(tmp_path: Path) -> None:
    one, other = throttles(tmp_path / "failures")
    home = IPv4Address("198.51.100.1")
    assert one.attempt(home, AOIFE)
    one.succeeded(home, AOIFE)
    for number in range(1, FAILURES_AT_A_MAILBOX + 1):
        assert one.attempt(IPv4Address(number), AOIFE)
    assert not other.attempt(IPv4Address("203.0.113.1"), AOIFE)
    assert other.attempt(home, AOIFE)


def test_processes_that_count_at_once_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "failures"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # all of them at once, and not as each has started
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    counted = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(counted) == BOUND, counted
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.lists(st.text(max_size=3), max_size=60), st.lists(st.text(max_size=3), max_size=20))
def test_nothing_counts_for_less_than_it_should(counted: list[str], taken_back: list[str]) -> None:
    tally = Tally.own()
    for thing in counted:
        assert tally.count({thing: 1_000}, 0)
    for thing in taken_back:
        if thing in counted:
            counted.remove(thing)
            tally.take_back(thing)
    for thing in set(counted):
        assert not tally.count({thing: counted.count(thing)}, 0)


def test_a_refusal_counts_nothing_and_a_new_window_begins_at_nothing() -> None:
    tally = Tally.own()
    assert tally.count({"a": 1, "b": 5}, 0)
    assert not tally.count({"a": 1, "b": 2}, 0)
    assert tally.count({"b": 2}, 0)
    assert not tally.count({"b": 2}, 0)
    assert tally.count({"b": 1}, 1)
    tally.mark("b")
    assert tally.is_marked("b")
    assert not tally.is_marked("a")


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_what_is_counted_is_named_nowhere(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "failures"
    throttle = Throttle(Tally.shared(path) if shared else None)
    peer = IPv4Address("192.0.2.7")
    assert throttle.attempt(peer, AOIFE)
    throttle.succeeded(peer, AOIFE)
    assert sorted(one.name for one in tmp_path.iterdir()) == (["failures"] if shared else [])
    if shared:
        octets = path.read_bytes()
        assert not any(word in octets for word in (b"aoife", b"example", b"192.0.2", peer.packed))
