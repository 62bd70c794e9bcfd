"""Nothing that a peer can send shows it a traceback, hangs a session, or crosses into another."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import LogCapture

from gateway.ingress import commands
from gateway.ingress.commands import Refused
from policy.address import Address
from tests.ingress.conftest import SMALL, OpenDoor
from tests.ingress.fuzz import fuzz

DEEP = replace(SMALL, errors=1_000_000, connections_per_minute=1_000_000)


@pytest.fixture
def faults() -> Iterator[LogCapture]:
    """The log, to see that no session ended by a fault of ours."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(
        processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    yield capture
    structlog.configure(**before)


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
async def test_random_sessions(open_door: OpenDoor, faults: LogCapture, lmtp: bool) -> None:
    house = await open_door(lmtp=lmtp, limits=DEEP)
    findings = await fuzz(house.door, house.post, commands=5_000, seed=4)
    assert not faults.entries
    assert findings.commands >= 5_000
    # The peers got everywhere: messages stored and refused, recipients unknown, commands of all kinds wrong.
    assert {"250", "354", "500", "501", "503", "550", "554"} <= set(findings.codes)
    assert findings.stored > 100
    assert house.reception.memory.in_flight == 0


LINE = st.one_of(
    st.binary(max_size=100).filter(lambda line: b"\r" not in line and b"\n" not in line),
    st.from_regex(
        re.compile(rb"(?:MAIL FROM:|RCPT TO:|EHLO |HELO |VRFY |NOOP |BDAT |DATA)[ -~]{0,80}"), fullmatch=True
    ),
)


@given(line=LINE)
@settings(max_examples=2_000, deadline=None)
def test_every_line_is_a_command_or_a_refusal(line: bytes) -> None:
    """And an address that a command gives is one that RFC 5321's grammar gives back the same."""
    try:
        verb, argument = commands.split(line)
        match verb:
            case "MAIL":
                mail = commands.mail(argument)
                assert mail.sender == "" or Address.parse(mail.sender)
                assert f"<{mail.sender}>" in argument or f":{mail.sender}>" in argument
            case "RCPT":
                rcpt = commands.rcpt(argument, smtputf8=True)
                assert f"{rcpt.mailbox}>" in argument
                assert rcpt.address is None or Address.parse(str(rcpt.address)) == rcpt.address
            case "EHLO" | "HELO":
                assert re.fullmatch(r"[A-Za-z0-9:.\[\]_-]+", commands.hello(argument))
            case "BDAT":
                commands.bdat(argument)
    except Refused as refused:
        assert refused.reply.code in (500, 501, 553, 555)
