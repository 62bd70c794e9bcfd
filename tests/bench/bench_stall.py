"""Deliveries over SMTP to one region, alone, and while as many senders wait for another one that stalls.

A demo on SeaweedFS; the German server is stopped as a process (SIGSTOP), so that its connections hang. Rounds
of both kinds take turns; each is compared with its own neighbour, and the medians are printed.

Target (issue 3, line 8): a stalled region slows deliveries to the others by no more than 10%.
"""

from __future__ import annotations

import itertools
import smtplib
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from gateway.demo.card import Card
from gateway.demo.scenes import GERMANY, IRELAND
from tests.gateway.demos import RunningDemo, running_demo

SENDERS: Final = 4  # at once, to each of the two regions
MAILS: Final = 400  # to Ireland in a round
ROUNDS: Final = 5
SLOWER: Final = 0.10
MAIL: Final = b"Subject: pace\r\n\r\n" + b"x" * 70 + b"\r\n"


def run() -> None:
    """Prints both rates and what the stalled region takes off the other one's."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_demo(Path(folder) / "state", "--engine", "seaweedfs") as demo,
    ):
        _pace(demo.card)
        rounds = [_round(demo) for _ in range(ROUNDS)]
    alone, beside = (median(rates) for rates in zip(*rounds, strict=True))
    slower = 1 - median(beside / alone for alone, beside in rounds)
    verdict = "met" if slower <= SLOWER else "MISSED"
    print(f"{'to Ireland alone (baseline)':<36} {alone:8.0f}/s")
    print(f"{'while Germany stalls':<36} {beside:8.0f}/s")
    print(f"{'beside a stalled region':<36} {slower:8.1%} slower   target {SLOWER:.0%}: {verdict}")


def _round(demo: RunningDemo) -> tuple[float, float]:
    alone = _pace(demo.card)
    with _stalled(demo):
        return alone, _pace(demo.card)


@contextmanager
def _stalled(demo: RunningDemo) -> Iterator[None]:
    """Germany's server stands still, and senders to it wait; each 451 is followed by another try."""
    engine, over = demo.engine(GERMANY), threading.Event()
    waiting = [threading.Thread(target=_keep_trying, args=(demo.card, over)) for _ in range(SENDERS)]
    engine.suspend()
    try:
        for sender in waiting:
            sender.start()
        yield
    finally:
        over.set()
        engine.resume()
        for sender in waiting:
            sender.join()


def _keep_trying(card: Card, over: threading.Event) -> None:
    with _client(card) as client:
        while not over.is_set():
            _send(client, card.home(GERMANY).address)


def _pace(card: Card) -> float:
    """How many a second are acknowledged by Ireland."""
    numbers = itertools.count()

    def sender() -> None:
        with _client(card) as client:
            while next(numbers) < MAILS:
                assert _send(client, card.home(IRELAND).address) == 250

    senders = [threading.Thread(target=sender) for _ in range(SENDERS)]
    started = time.perf_counter()
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    return MAILS / (time.perf_counter() - started)


def _client(card: Card) -> smtplib.SMTP:
    host, port = card.smtp.split(":")
    client = smtplib.SMTP(host, int(port), timeout=120)
    client.ehlo("bench.example")
    return client


def _send(client: smtplib.SMTP, recipient: str) -> int:
    client.mail("bench@elsewhere.example")
    code, _ = client.rcpt(recipient)
    if code == 250:
        code, _ = client.data(MAIL)
    client.rset()
    return code


if __name__ == "__main__":
    run()
