"""The door itself: TLS in both ways, who may come in and how many, and what the log says of them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from gateway.imap import session
from gateway.ingress.limits import ListenerSettings
from tests.imap.conftest import SMALL, House, OpenHouse
from tests.imap.test_reader import HELLO
from tests.imap.transcripts import Client
from tests.ingress.certificates import client_context, write_certificate

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def lines() -> Iterator[LogCapture]:
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(**before)


async def after_starttls(house: House, proxy: str = "") -> Client:
    client = await house.client()
    await client.play(
        f"""
        {proxy}
        S: * OK [CAPABILITY IMAP4rev1 STARTTLS ...
        C: a1 STARTTLS
        S: a1 OK begin TLS now
        """
    )
    await client.writer.start_tls(client_context())
    return client


async def test_starttls_is_offered_until_it_is_used(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    client = await after_starttls(house)
    await client.play(
        """
        C: a2 CAPABILITY
        S: * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR ...
        S: a2 OK that is all
        C: a3 STARTTLS
        S: a3 BAD TLS is on already (RFC 3501 6.2.1)
        C: a4 LOGIN aoife@example.ie secret
        S: a4 OK ...
        """
    )


async def test_a_password_is_not_taken_in_the_clear_from_afar(open_house: OpenHouse, tmp_path: Path) -> None:
    """RFC 3501 6.2.3; the peer is who the PROXY header names."""
    certificate = write_certificate(tmp_path)
    house = await open_house(settings=ListenerSettings(certificate=certificate, proxy_from=LOOPBACK))
    header = "C: PROXY TCP4 192.0.2.7 192.0.2.1 40000 143"
    client = await house.client()
    await client.play(
        f"""
        {header}
        S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED ...
        C: a1 LOGIN aoife@example.ie secret
        S: a1 NO [PRIVACYREQUIRED] sign in under TLS alone: STARTTLS comes first
        C: a2 AUTHENTICATE PLAIN
        S: a2 NO [PRIVACYREQUIRED] ...
        """
    )
    client = await after_starttls(house, header)
    await client.play(
        """
        C: a2 LOGIN aoife@example.ie secret
        S: a2 OK ...
        """
    )


async def test_what_is_sent_behind_starttls_in_the_clear_ends_the_session(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    """CVE-2011-0411: a command put behind STARTTLS by somebody on the path is never obeyed under TLS."""
    house = await open_house(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    client = await house.client()
    await client.play(
        """
        S: ...
        C: a1 STARTTLS
        C: a2 LOGIN aoife@example.ie secret
        S: * BYE STARTTLS must be the last command in the clear (RFC 3501 6.2.1)
        -- closed
        """
    )


async def test_no_certificate_is_no_starttls(house: House) -> None:
    await (await house.client()).play(
        """
        S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN ...
        C: a1 STARTTLS
        S: a1 BAD STARTTLS is not offered
        """
    )


async def test_tls_from_the_first_octet_and_a_certificate_that_is_renewed(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    house = await open_house(settings=ListenerSettings(certificate=certificate, implicit_tls=True))
    seen = set()
    for _ in range(2):
        client = await house.client()
        await client.writer.start_tls(client_context())
        await client.play(
            """
            S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN ...
            C: a1 LOGIN aoife@example.ie secret
            S: a1 OK ...
            C: a2 SELECT INBOX
            """
        )
        tls: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
        seen.add(tls.getpeercert(binary_form=True))
        write_certificate(tmp_path)
    assert len(seen) == 2


async def test_an_idle_under_tls_hears_and_ends(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    client = await after_starttls(house)
    await client.command("a2", "LOGIN aoife@example.ie secret")
    await client.command("a3", "SELECT INBOX")
    await client.play(
        """
        C: a4 IDLE
        S: + idling
        """
    )
    house.inbox.deliver(HELLO)
    house.ring()
    await client.play(
        """
        S: * 1 EXISTS
        S: * 1 RECENT
        C: DONE
        S: a4 OK done
        """
    )


async def test_too_many_from_one_address_and_too_many_in_all(open_house: OpenHouse) -> None:
    house = await open_house(limits=replace(SMALL, connections_per_address=2))
    await (await house.client()).play("S: * OK ...")
    await (await house.client()).play("S: * OK ...")
    await (await house.client()).play(
        """
        S: * BYE [UNAVAILABLE] too many connections from your address, try again later
        -- closed
        """
    )
    house = await open_house(limits=replace(SMALL, connections=1))
    await (await house.client()).play("S: * OK ...")
    await (await house.client()).play(
        """
        S: * BYE [UNAVAILABLE] too many connections, try again later
        -- closed
        """
    )


async def test_who_may_not_connect_is_told_so(open_house: OpenHouse) -> None:
    house = await open_house(settings=ListenerSettings(connect_from=(ip_network("192.0.2.0/24"),)))
    await (await house.client()).play(
        """
        S: * BYE this door is not for you
        -- closed
        """
    )


async def test_who_says_nothing_is_logged_out(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    assert session.AUTOLOGOUT >= 1_800, "RFC 3501 5.4"
    house = await open_house(limits=replace(SMALL, command_timeout=0.2))
    await (await house.client()).play(
        """
        S: * OK ...
        S: * BYE nothing was said for too long (RFC 3501 5.4)
        -- closed
        """
    )
    monkeypatch.setattr(session, "AUTOLOGOUT", 0.2)
    await (await house.resident()).play(
        """
        S: * BYE nothing was said for too long (RFC 3501 5.4)
        -- closed
        """
    )


async def test_a_fault_of_ours_is_no_traceback_and_no_end(house: House, lines: LogCapture) -> None:
    client = await house.reader()

    async def broken(*, claims: bool) -> None:
        raise KeyError("aoife@example.ie")

    house.inbox.refresh = broken  # type: ignore[assignment,method-assign]
    await client.play(
        """
        C: a1 NOOP
        S: a1 NO [SERVERBUG] a fault of ours, try again later
        C: a2 CAPABILITY
        S: ...
        S: a2 OK that is all
        """
    )
    (fault,) = [entry for entry in lines.entries if entry["event"] == "fault"]
    assert fault["error"].startswith("KeyError at ")
    assert "aoife" not in json.dumps(lines.entries)


async def test_a_session_is_one_line_without_a_name_or_a_word_of_mail(
    house: House, lines: LogCapture
) -> None:
    house.inbox.deliver(HELLO)
    client = await house.reader()
    await client.command("a1", 'SEARCH SUBJECT "hello"')
    await client.command("a2", "FETCH 1 BODY[]")
    await client.command("a3", "CREATE Private")
    await client.command("a4", "LOGOUT")
    await client.closed()
    (line,) = [entry for entry in lines.entries if entry["event"] == "session"]
    assert line["commands"] == {"LOGIN": 1, "SELECT": 1, "SEARCH": 1, "FETCH": 1, "CREATE": 1}
    assert (line["home"], line["ended"], line["errors"]) == ("eu-west-1", "until next time", 0)
    said = json.dumps(lines.entries)
    for word in ("aoife", "secret", "hello", "Ireland", "Private", "127.0.0.1"):
        assert word not in said
