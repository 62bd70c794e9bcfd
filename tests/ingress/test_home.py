"""From an SMTP client to a sealed object in the one right bucket, on real S3 servers."""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.demo.engines import RunningEngine
from gateway.ingress.door import Door
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.post import RegionalPost
from gateway.smtp import serve_smtp
from policy.address import Address
from storage.directory import Directory
from storage.identity import MessageId
from storage.keyring import Keyholder, Keyring
from storage.keys import Purpose
from storage.mailbox import message_key
from storage.region import Ground
from storage.sealing import Binding, open_content, open_traffic, read_message_header
from storage.traffic import TrafficRecord, read_record
from tests.corpus import Mail, corpus
from tests.engines import (
    DEPLOYMENT,
    GERMANY,
    IRELAND,
    VIRGINIA,
    EngineKind,
    Engines,
    Settle,
    provisioned,
    settings_on,
)
from tests.ingress.posts import without_trace

# The doors' own behaviour is tested on both event loops elsewhere.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

HOMES = {"aoife@example.ie": IRELAND, "bernd@example.de": GERMANY, "carol@example.com": VIRGINIA}


@dataclass
class Country:
    """Three provisioned regions with an account in each, and an SMTP door in front of them."""

    ground: Ground
    directory: Directory
    door: Door

    async def objects(self) -> dict[str, list[str]]:
        """Every mail object, by region."""
        return {
            str(store.region.code): [listed.key async for listed in store.mail.list("mail/")]
            for store in self.ground.stores()
        }

    async def open(self, address: str, message: MessageId) -> tuple[TrafficRecord, bytes]:
        """The traffic record and the content, as the home region's key service opens them."""
        located = await self.directory.find(Address.parse(address))
        store = self.ground.home(located)
        key = message_key(located.account, message)
        sealed = (await store.mail.get(key)).body
        binding = Binding(store.region.code, key)
        generation = read_message_header(binding, sealed).generation
        keyring = await Keyring.load(store.mail, store.keys, Keyholder(store.region.code, located.account))
        traffic = await keyring.private(Purpose.TRAFFIC, generation, opens=key)
        content = await keyring.private(Purpose.CONTENT, generation, opens=key)
        record = read_record(key, message, open_traffic(traffic, binding, sealed))
        return record, open_content(content, binding, sealed)


@pytest.fixture
async def virginia(tmp_path: Path) -> AsyncIterator[RunningEngine]:
    """An S3 server of the test's own, which may die."""
    engine = await asyncio.to_thread(Engines.start, EngineKind.MOTO, tmp_path)
    yield engine
    engine.kill()


@pytest.fixture
async def country(settle: Settle, virginia: RunningEngine, tmp_path: Path) -> AsyncIterator[Country]:
    async with AsyncExitStack() as stack:
        settings = [settle(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)]
        settings.append(settings_on(virginia.engine, VIRGINIA, tmp_path))
        for each in settings:
            await provisioned(each)
        ground = await stack.enter_async_context(await Ground.open(settings, DEPLOYMENT))
        directory = Directory(ground, b"k" * 32, IRELAND.code, IRELAND.code)
        for address, home in HOMES.items():
            await directory.create(Address.parse(address), home.code)
        limits = Limits(store_timeout=3.0)
        reception = Reception(RegionalPost(directory), "mx.example.ie", limits)
        door = await serve_smtp(ListenerSettings(), reception)
        stack.push_async_callback(door.close)
        yield Country(ground, directory, door)


def send(port: int, mail: Mail, *recipients: str) -> list[MessageId]:
    """Sends with Python's own client, as `sendmail` does after making CRLF: octet for octet."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=60) as client:
        client.ehlo()
        options = ["SMTPUTF8"] if mail.smtputf8 else []
        if mail.smtputf8:
            client.command_encoding = "utf-8"
        assert client.mail(mail.sender, options)[0] == 250
        for recipient in recipients:
            assert client.rcpt(recipient)[0] == 250
        code, text = client.data(mail.content)
    assert code == 250, text
    return [MessageId.parse(line.split()[-1].decode()) for line in text.splitlines()]


async def test_the_corpus_comes_home_octet_for_octet(country: Country) -> None:
    """Each mail is one object of the home region's bucket, and nothing is anywhere else."""
    located = await country.directory.find(Address.parse("aoife@example.ie"))
    expected: dict[MessageId, Mail] = {}
    for mail in corpus():
        if mail.content:  # smtplib makes an empty line of an empty message
            (message,) = await asyncio.to_thread(send, country.door.port, mail, "aoife@example.ie")
            expected[message] = mail
    assert await country.objects() == {
        "eu-west-1": [message_key(located.account, message) for message in sorted(expected)],
        "eu-central-1": [],
        "us-east-1": [],
    }
    for message, mail in expected.items():
        record, content = await country.open("aoife@example.ie", message)
        assert without_trace(content) == mail.content, mail.name
        assert (record.sender, record.recipient) == (mail.sender, "aoife@example.ie")
        assert record.size == len(content)
        assert record.sent_sha256 == hashlib.sha256(mail.content).hexdigest()


async def test_one_message_to_three_regions_is_one_object_in_each(country: Country) -> None:
    mail = Mail("three", b"Subject: three\r\n\r\nhello\r\n")
    messages = await asyncio.to_thread(send, country.door.port, mail, *HOMES)
    objects = await country.objects()
    for (address, home), message in zip(HOMES.items(), messages, strict=True):
        located = await country.directory.find(Address.parse(address))
        assert objects[str(home.code)] == [message_key(located.account, message)]
        _, content = await country.open(address, message)
        assert without_trace(content) == mail.content
        # A copy tells nobody who else got one.
        assert not any(other.encode() in content for other in HOMES)


@pytest.mark.parametrize("written", ["postmaster", "PostMaster", "postmaster@EXAMPLE.ie"])
async def test_mail_for_a_postmaster_comes_to_who_has_that_duty(country: Country, written: str) -> None:
    """RFC 5321 4.5.1. The server is mx.example.ie, and has mailboxes in example.ie."""
    mail = Mail("postmaster", b"Subject: abuse\r\n\r\nhello\r\n")
    (message,) = await asyncio.to_thread(send, country.door.port, mail, written)
    record, content = await country.open("aoife@example.ie", message)
    assert without_trace(content) == mail.content
    assert record.recipient.lower() == "postmaster@example.ie"


async def test_a_region_that_is_down_puts_off_its_own_mail_and_no_other(
    country: Country, virginia: RunningEngine
) -> None:
    for address in HOMES:
        await country.directory.locate(Address.parse(address))  # as when mail came a moment ago
    virginia.kill()
    mail = Mail("down", b"Subject: down\r\n\r\nhello\r\n")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await asyncio.to_thread(deliver, country.door.port, mail, "carol@example.com")
    assert refused.value.smtp_code == 451
    assert isinstance(refused.value.smtp_error, bytes)
    assert refused.value.smtp_error.startswith(b"4.3.2 ")
    await asyncio.to_thread(send, country.door.port, mail, "aoife@example.ie", "bernd@example.de")
    for home in (IRELAND, GERMANY):
        store = next(store for store in country.ground.stores() if store.region == home)
        assert len([listed async for listed in store.mail.list("mail/")]) == 1


def deliver(port: int, mail: Mail, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=60) as client:
        client.sendmail(mail.sender, [recipient], mail.content)
