"""A region whose server answers nothing, and does not say so: its mail is put off, the others' is not.

The server is stopped as a process (SIGSTOP): the kernel still takes connections, and nothing comes back.
`tests/bench/bench_stall.py` measures what the others' deliveries cost meanwhile.
"""

from __future__ import annotations

import imaplib
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.demo.card import Card
from gateway.demo.scenes import GERMANY, IRELAND
from tests.gateway.demos import running_demo

PATIENCE = 30.0  # seconds, issue 3, line 8


def deliver(card: Card, region: str, words: str) -> tuple[int, float]:
    """The last reply code, and how long the recipient and the message took together."""
    host, port = card.smtp.split(":")
    with smtplib.SMTP(host, int(port), timeout=120) as client:
        client.ehlo("elsewhere.example")
        began = time.monotonic()
        client.mail("sender@elsewhere.example")
        code, _ = client.rcpt(card.home(region).address)
        if code == 250:
            head = f"Message-ID: <{words}@elsewhere.example>\r\nSubject: {words}\r\n"
            code, _ = client.data(f"{head}\r\n{words}\r\n".encode())
        return code, time.monotonic() - began


def found(card: Card, region: str, words: str) -> list[bytes]:
    """What the owner's search finds."""
    host, port = card.imap.split(":")
    account = card.home(region)
    with imaplib.IMAP4(host, int(port)) as client:
        client.login(account.address, account.password)
        client.select("INBOX", readonly=True)
        (numbers,) = client.search(None, "SUBJECT", words)[1]
        assert isinstance(numbers, bytes)
    return numbers.split()


def test_a_region_that_stalls_puts_off_its_own_mail_in_time_and_no_other(tmp_path: Path) -> None:
    with running_demo(tmp_path / "state") as demo, ThreadPoolExecutor(4) as senders:
        card = demo.card
        assert deliver(card, GERMANY, "before")[0] == 250
        engine = demo.engine(GERMANY)
        engine.suspend()
        try:
            stalled = [senders.submit(deliver, card, GERMANY, f"stalled{number}") for number in range(4)]
            assert [deliver(card, IRELAND, f"beside{number}")[0] for number in range(10)] == [250] * 10
            replies = [each.result() for each in stalled]
        finally:
            engine.resume()
        assert [code for code, _ in replies] == [451] * 4
        assert max(took for _, took in replies) < PATIENCE
        # Whatever the server makes of what it has been sent: sent again, each is there once.
        for number in range(4):
            assert deliver(card, GERMANY, f"stalled{number}")[0] == 250
            assert len(found(card, GERMANY, f"stalled{number}")) == 1
        assert len(found(card, IRELAND, "beside")) == 10
