"""The log line of a session and the metrics: enough to answer a support call, and nobody's address."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from structlog.testing import LogCapture

from gateway.ingress.limits import ListenerSettings
from gateway.ingress.reception import Reception
from gateway.smtp import serve_smtp
from storage.errors import Unavailable
from tests.ingress.conftest import NOON, SMALL, House
from tests.ingress.posts import IRELAND, three_regions
from tests.ingress.test_smtp import DELIVER_TO_AOIFE
from tests.ingress.transcripts import Peer


@pytest.fixture
def lines() -> Iterator[LogCapture]:
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(**before)


async def test_a_session_is_one_line_that_leads_to_its_messages(smtp: House, lines: LogCapture) -> None:
    async with await smtp.peer() as peer:
        await peer.play(DELIVER_TO_AOIFE)
    (line,) = [entry for entry in lines.entries if entry["event"] == "session"]
    (copy,) = smtp.post.copies
    (message,) = line["messages"]
    assert message["stored"] == [str(copy.id)]
    assert message["delivery"].startswith(line["session"])
    assert f"id {message['delivery']};".encode() in copy.content
    assert line["ended"] == "221 2.0.0"
    assert (line["door"], line["part"], line["tls"], line["proxied"]) == ("smtp", 1, None, False)


async def test_no_line_and_no_metric_holds_an_address_a_subject_or_content(lines: LogCapture) -> None:
    registry = CollectorRegistry()
    post = three_regions()
    reception = Reception(post, "mx.example.ie", SMALL, clock=lambda: NOON, registry=registry)
    door = await serve_smtp(ListenerSettings(), reception)
    for fault in [None, Unavailable("down"), KeyError("aoife@example.ie")]:
        post.lookup_fails = None
        if fault is not None:
            post.down[IRELAND] = fault
        async with await Peer.connect(door.port) as peer:
            await peer.play(DELIVER_TO_AOIFE.partition("S: 250 2.6.0")[0])
            await peer.reply()
            post.lookup_fails = fault
            await peer.send(b"MAIL FROM:<Sender@client.example>\r\nRCPT TO:<aoife@example.ie>\r\nSecret\r\n")
            for _ in range(3):
                await peer.reply()
    await door.close()
    said = json.dumps(lines.entries, default=repr) + generate_latest(registry).decode()
    for marked in ["aoife", "client.example", "Sender", "127.0.0.1", "hello", "a dot", "Secret"]:
        assert marked not in said, marked


async def test_a_busy_connection_gets_a_line_for_every_hundred_messages(
    smtp: House, lines: LogCapture
) -> None:
    one = b"MAIL FROM:<>\r\nRCPT TO:<aoife@example.ie>\r\nBDAT 3 LAST\r\nx\r\n"
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *\nC: HELO c\nS: 250 *")
        for _ in range(150):
            await peer.send(one)
            assert [(await peer.reply())[:3] for _ in range(3)] == ["250"] * 3
        await peer.play("C: QUIT\nS: 221 *\n-- closed")
    sessions = [entry for entry in lines.entries if entry["event"] == "session"]
    assert [len(entry["messages"]) for entry in sessions] == [100, 50]
    assert [entry["ended"] for entry in sessions] == ["goes on", "221 2.0.0"]


async def test_metrics_tell_what_was_accepted_refused_and_put_off() -> None:
    registry = CollectorRegistry()
    post = three_regions()
    reception = Reception(post, "mx.example.ie", SMALL, registry=registry)
    door = await serve_smtp(ListenerSettings(), reception)
    async with await Peer.connect(door.port) as peer:
        await peer.play(DELIVER_TO_AOIFE)
    post.down[IRELAND] = Unavailable("down")
    async with await Peer.connect(door.port) as peer:
        await peer.play(DELIVER_TO_AOIFE.replace("S: 250 2.6.0 stored as *", "S: 451 4.3.2 *"))
    async with await Peer.connect(door.port) as peer:
        await peer.play("S: 220 *\nC: FOO\nS: 500 *")
        assert registry.get_sample_value("situs_ingress_sessions", {"door": "smtp"}) == 1
    await door.close()
    octets = len(b"Subject: hello\r\n\r\n.a dot, then text\r\n")
    for name, labels, value in [
        ("situs_ingress_messages_accepted_total", {"door": "smtp"}, 1),
        ("situs_ingress_message_bytes_total", {"door": "smtp"}, octets),
        ("situs_ingress_copies_stored_total", {"region": "eu-west-1"}, 1),
        ("situs_ingress_copies_deferred_total", {"region": "eu-west-1"}, 1),
        ("situs_ingress_refused_total", {"door": "smtp", "reason": "500 5.5.1"}, 1),
        ("situs_ingress_refused_total", {"door": "smtp", "reason": "451 4.3.2"}, 1),
        ("situs_ingress_store_seconds_count", {"region": "eu-west-1"}, 1),
        ("situs_ingress_sessions", {"door": "smtp"}, 0),
        ("situs_ingress_memory_bytes", {}, 0),
    ]:
        assert registry.get_sample_value(name, labels) == value, name
