"""The one reader for the law: what the permit carries, from where it was decided, and no octet more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from policy.order import DataCategory
from storage.disclosure_reader import DisclosureReader, NotPermitted, StoredMessage, Unreadable
from storage.errors import Corrupt, UnknownAddress
from storage.keyring import Keyholder
from storage.keyservice import KeyFile
from storage.mailbox import append
from storage.sealing import TRAFFIC_READ
from storage.traffic import TrafficRecord
from tests.engines import GERMANY, IRELAND, Engines, settings_on
from tests.faults import Fault, Request
from tests.policy.pki import NOW
from tests.storage.grounds import AOIFE, BORIS, World, envelope, objects, world
from tests.storage.permits import recorded

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL: Final = frozenset(DataCategory)
TRAFFIC: Final = frozenset({DataCategory.TRAFFIC})
CONTENT: Final = frozenset({DataCategory.CONTENT})
SUBSCRIBER: Final = frozenset({DataCategory.SUBSCRIBER})

# Minutes before NOW, and what came then.
MAILS: Final = {
    50: b"From: a@x\r\nSubject: fifty\r\n\r\nfifty\r\n",
    40: b"From: b@x\r\nSubject: forty\r\n\r\n" + b"long " * 20_000,
    30: b"From: c@x\r\nTo: " + b", ".join(b"u%d@example.org" % n for n in range(900)) + b"\r\n\r\nthirty\r\n",
    20: bytes(range(1, 256)),
    10: b"From: e@x\r\n\r\nten\r\n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    keys = tmp_path_factory.mktemp("keys")
    async with world(
        lambda kind, region: settings_on(engines.of(kind, region), region, keys), (IRELAND, GERMANY)
    ) as made:
        await made.directory.create(AOIFE, IRELAND.code, display_name="Aoife")
        await made.directory.create(BORIS, IRELAND.code)
        for address, mark in ((AOIFE, b""), (BORIS, b"boris's own\r\n")):
            located = await made.directory.locate(address)
            home = made.ground.home(located)
            for minutes, content in MAILS.items():
                if minutes == 20 and address == AOIFE:  # rotated in between: two generations to open
                    await made.directory.rotate(AOIFE)
                    located = await made.directory.locate(address)
                when = NOW - timedelta(minutes=minutes)
                await append(home, located, envelope(str(address), when), content + mark)
        yield made


@pytest.fixture
def earth(shared: World) -> Iterator[World]:
    for place in shared.places.values():
        place.proxy.requests.clear()
    yield shared
    for place in shared.places.values():
        place.comes_back()


def reads(earth: World) -> list[tuple[str, str, str | None]]:
    """Every object read in Ireland: its kind, its key, and which range of it."""
    return [
        (request.key.split("/")[0], request.key, request.range)
        for request in earth.place(IRELAND).proxy.requests
        if request.method == "GET" and request.key
    ]


async def messages(reader: DisclosureReader) -> list[StoredMessage]:
    found = [each async for each in reader.messages()]
    assert not [each for each in found if isinstance(each, Unreadable)]
    return [each for each in found if isinstance(each, StoredMessage)]


async def test_content_is_the_timespans_messages_octet_for_octet(earth: World) -> None:
    permit = await recorded(
        AOIFE, IRELAND, ALL, start=NOW - timedelta(minutes=40), end=NOW - timedelta(minutes=10)
    )
    found = await messages(await DisclosureReader.open(earth.directory, permit))
    assert [each.content for each in found] == [MAILS[40], MAILS[30], MAILS[20]]
    assert [NOW - each.received_at for each in found] == [timedelta(minutes=n) for n in (40, 30, 20)]


async def test_traffic_fetches_and_opens_only_the_traffic_frame(
    earth: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown by the requests that the server saw, and by what the key service was asked for."""
    asked: list[str] = []
    unwrap = KeyFile.unwrap

    async def listening(self: KeyFile, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        asked.append(context["purpose"])
        return await unwrap(self, wrapped, context)

    monkeypatch.setattr(KeyFile, "unwrap", listening)
    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, TRAFFIC))
    found = [each async for each in reader.traffic() if isinstance(each, TrafficRecord)]
    assert [each.size for each in found] == [len(content) for content in MAILS.values()]
    assert [each.from_ for each in found] == ["a@x", "b@x", "c@x", None, "e@x"]

    # As sets: a request that was slow to be answered may have been sent a second time.
    spans = {(key, span) for kind, key, span in reads(earth) if kind == "mail"}
    first = f"bytes=0-{TRAFFIC_READ - 1}"
    assert len([key for key, span in spans if span == first]) == len(MAILS)
    # The mail to 900 people has a longer traffic frame: the rest of it is one more range.
    (rest,) = (span for _, span in spans if span != first)
    assert rest is not None
    assert "=0-" not in rest
    assert asked == ["traffic", "traffic"]  # once for each generation; never the content key


async def test_the_ranges_end_where_the_content_frames_begin(earth: World) -> None:
    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, TRAFFIC))
    assert [each async for each in reader.traffic()]
    ends: dict[str, int] = {}
    for request in earth.place(IRELAND).proxy.requests:
        if request.key.startswith("mail/") and request.range:
            ends[request.key] = int(request.range.rpartition("-")[2]) + 1
    for key, body in (await objects(earth.store(IRELAND))).items():
        if key in ends:
            assert ends[key] == 21 + int.from_bytes(body[9:13], "big")
    assert len(ends) == len(MAILS)


async def test_content_leaves_the_traffic_frame_closed(earth: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> bytes:
        raise AssertionError("the traffic frame was opened")

    monkeypatch.setattr("storage.disclosure_reader.open_traffic", never)
    for categories in (CONTENT, ALL):
        reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, categories))
        assert [each.content for each in await messages(reader)] == list(MAILS.values())


async def test_a_category_that_the_permit_does_not_carry(earth: World) -> None:
    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, SUBSCRIBER))
    earth.place(IRELAND).proxy.requests.clear()
    for refused in (reader.traffic(), reader.messages()):
        with pytest.raises(NotPermitted):
            await anext(refused)
    with pytest.raises(NotPermitted):
        await reader.identification()
    assert reads(earth) == []
    told = await reader.subscriber()
    assert (told["address"], told["display_name"], told["home"]) == (str(AOIFE), "Aoife", "eu-west-1")

    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, TRAFFIC))
    with pytest.raises(NotPermitted):
        await reader.subscriber()
    with pytest.raises(NotPermitted):
        await anext(reader.messages())


async def test_identification_tells_whose_it_is_and_not_who_he_is(earth: World) -> None:
    permit = await recorded(AOIFE, IRELAND, frozenset({DataCategory.IDENTIFICATION}))
    told = await (await DisclosureReader.open(earth.directory, permit)).identification()
    assert told["address"] == str(AOIFE)
    assert "display_name" not in told


async def test_nothing_but_a_recorded_permit_opens_a_mailbox(earth: World) -> None:
    permit = await recorded(AOIFE, IRELAND, ALL)
    located = await earth.directory.find(AOIFE)
    pretenders: list[Any] = [permit.approved, permit.permit, permit.permit.verified, None, object()]
    for pretender in pretenders:
        with pytest.raises(TypeError):
            await DisclosureReader.open(earth.directory, pretender)
    with pytest.raises(TypeError):
        DisclosureReader(earth.ground.home(located), located, permit, mint=object())
    assert not [each for each in reads(earth) if each[0] in ("mail", "accounts")]


async def test_another_mans_mailbox_is_not_in_it(earth: World) -> None:
    reader = await DisclosureReader.open(earth.directory, await recorded(BORIS, IRELAND, ALL))
    assert all(each.content.endswith(b"boris's own\r\n") for each in await messages(reader))


async def test_a_permit_for_another_region_opens_nothing(earth: World) -> None:
    """Decided under German law, while the mailbox is in Ireland: it moved, or somebody erred."""
    with pytest.raises(NotPermitted, match="eu-central-1"):
        await DisclosureReader.open(earth.directory, await recorded(AOIFE, GERMANY, ALL))
    assert "mail" not in {kind for kind, *_ in reads(earth)}


async def test_a_closed_account_is_still_disclosed(earth: World) -> None:
    await earth.close(AOIFE)
    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, ALL))
    assert len(await messages(reader)) == len(MAILS)
    assert (await reader.subscriber())["status"] == "closed"
    await earth.directory.resume(AOIFE)


async def test_an_address_that_nobody_has(earth: World) -> None:
    nobody = type(AOIFE).parse("nobody@example.ie")
    with pytest.raises(UnknownAddress):
        await DisclosureReader.open(earth.directory, await recorded(nobody, IRELAND, ALL))


async def test_what_cannot_be_opened_is_listed_and_the_rest_is_read(earth: World) -> None:
    """An authority must not take what it was given for all that there is."""
    located = await earth.directory.find(AOIFE)
    home = earth.ground.home(located)
    keys = [each.key async for each in home.mail.list(f"mail/{located.account}/")]
    bodies = {key: (await home.mail.get(key)).body for key in keys}
    strange = f"mail/{located.account}/" + keys[4].rpartition("/")[2][:12] + "-not-a-uuid"
    await home.mail.put(keys[0], bodies[keys[0]][:-1])
    await home.mail.put(keys[1], bodies[keys[0]])
    await home.mail.put(strange, b"")
    try:
        reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, ALL))
        for stream in (reader.messages(), reader.traffic()):
            found = [each async for each in stream]
            bad = [each for each in found if isinstance(each, Unreadable)]
            assert {each.key for each in bad} == {keys[0], keys[1], strange}
            assert all(each.rule for each in bad)
            assert len(found) - len(bad) == 3
    finally:
        await home.mail.delete(strange)
        for key in keys[:2]:
            await home.mail.put(key, bodies[key])


async def test_a_keyring_that_is_lost_is_an_error_and_no_list(earth: World) -> None:
    located = await earth.directory.find(BORIS)
    home = earth.ground.home(located)
    key = Keyholder(IRELAND.code, located.account).key
    body = (await home.mail.get(key)).body
    await home.mail.put(key, b"{}")
    try:
        reader = await DisclosureReader.open(earth.directory, await recorded(BORIS, IRELAND, ALL))
        with pytest.raises(Corrupt, match=key):
            await anext(reader.messages())
    finally:
        await home.mail.put(key, body)


def in_flight() -> set[str]:
    return {repr(task.get_coro()) for task in asyncio.all_tasks() if "in_order" in repr(task.get_coro())}


async def test_a_reader_that_is_left_leaves_nothing_running(earth: World) -> None:
    account = (await earth.directory.find(AOIFE)).account
    first = await anext(earth.store(IRELAND).mail.list(f"mail/{account}/"))

    def not_the_first(request: Request) -> bool:
        return request.key.startswith("mail/") and request.key != first.key

    earth.place(IRELAND).proxy.fail(Fault.STALL, when=not_the_first, times=10)
    reader = await DisclosureReader.open(earth.directory, await recorded(AOIFE, IRELAND, ALL))
    stream = reader.messages()
    assert isinstance(await anext(stream), StoredMessage)
    assert in_flight()
    await stream.aclose()
    assert not in_flight()
