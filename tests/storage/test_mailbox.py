"""A message comes home: one sealed object, in one bucket of one region, octet for octet."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest
import pytest_asyncio

from policy.order import Timespan
from storage.errors import AccountClosed, AccountSuspended, FenceBroken, Unavailable
from storage.identity import AccountId, KeyRange, MessageId
from storage.located import AccountStatus, Located
from storage.mailbox import append, message_key
from storage.traffic import read_record
from tests.engines import GERMANY, IRELAND, Engines, settings_on
from tests.faults import Fault, Moment
from tests.storage.corpus import corpus
from tests.storage.grounds import AOIFE, NOW, World, envelope, objects, opened, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

CORPUS: Final = dict(corpus())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    keys = tmp_path_factory.mktemp("keys")
    regions = (IRELAND, GERMANY)
    async with world(
        lambda kind, region: settings_on(engines.of(kind, region), region, keys), regions
    ) as made:
        await made.directory.create(AOIFE, IRELAND.code)
        yield made


@pytest.fixture
def earth(shared: World) -> Iterator[World]:
    yield shared
    for place in shared.places.values():
        place.comes_back()
        place.proxy.requests.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def aoife(earth: World) -> Located:
    """Aoife's mailbox under an account of this test's own."""
    return replace(await earth.directory.find(AOIFE), account=AccountId.new())


async def deliver(earth: World, located: Located, content: bytes, when: datetime = NOW) -> MessageId:
    return await append(earth.ground.home(located), located, envelope(received_at=when), content)


@pytest.mark.parametrize("name", list(CORPUS))
async def test_every_mail_comes_back_as_it_came(earth: World, name: str) -> None:
    located = await earth.directory.find(AOIFE)
    message = await deliver(earth, located, CORPUS[name])
    home = earth.ground.home(located)
    key = message_key(located.account, message)
    traffic, content = (await opened(home, located))[key]
    assert content == CORPUS[name]
    record = read_record(key, message, traffic)
    assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert record.received_at == NOW
    # The trial's key is not used again: the next mail of the corpus need not be opened with it.
    await home.mail.delete(key)


async def test_one_object_at_home_and_nothing_anywhere_else(earth: World, aoife: Located) -> None:
    before = {region: await objects(earth.store(region)) for region in (IRELAND, GERMANY)}
    message = await deliver(earth, aoife, b"Subject: marked words\r\n\r\nmarked words\r\n")
    after = {region: await objects(earth.store(region)) for region in (IRELAND, GERMANY)}
    assert after[GERMANY] == before[GERMANY]
    assert set(after[IRELAND]) - set(before[IRELAND]) == {f"mail/{aoife.account}/{message}"}
    assert not any(b"marked" in body or b"example" in body for body in after[IRELAND].values())
    writes = earth.place(IRELAND).proxy.writes()
    assert [request.key for request in writes] == [f"mail/{aoife.account}/{message}"]
    assert not earth.place(GERMANY).proxy.writes()


async def test_a_put_that_took_effect_unanswered_is_one_message(earth: World, aoife: Located) -> None:
    """A 412 after an own retried write is one's own write, and is known without reading it back."""
    proxy = earth.place(IRELAND).proxy
    proxy.fail(Fault.RESET, Moment.AFTER, when=lambda request: request.method == "PUT")
    message = await deliver(earth, aoife, b"once\r\n")
    found = [listed.key async for listed in earth.store(IRELAND).mail.list(f"mail/{aoife.account}/")]
    assert found == [f"mail/{aoife.account}/{message}"]
    assert [request.method for request in proxy.requests if str(message) in request.path] == ["PUT", "PUT"]


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.RESET, Fault.STALL], ids=str)
async def test_a_region_that_fails_is_a_failure_now_and_no_other_region(
    earth: World, aoife: Located, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earth.store(IRELAND).mail, "deadline", 0.5)  # none of its answers would be good
    earth.place(IRELAND).proxy.fail(fault, when=lambda request: request.method == "PUT", times=1_000_000)
    with pytest.raises(Unavailable):
        await deliver(earth, aoife, b"x\r\n")
    assert not earth.place(GERMANY).proxy.writes()


async def test_another_regions_store_takes_nothing(earth: World, aoife: Located) -> None:
    with pytest.raises(FenceBroken, match="at home in eu-west-1"):
        await append(earth.store(GERMANY), aoife, envelope(), b"x\r\n")
    assert not earth.place(GERMANY).proxy.requests


@pytest.mark.parametrize(
    ("status", "error"),
    [(AccountStatus.SUSPENDED, AccountSuspended), (AccountStatus.CLOSED, AccountClosed)],
)
async def test_an_account_that_takes_no_mail_gets_none(
    earth: World, aoife: Located, status: AccountStatus, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await deliver(earth, replace(aoife, status=status), b"x\r\n")
    assert not earth.place(IRELAND).proxy.writes()


async def test_a_timespan_is_a_range_of_keys(earth: World, aoife: Located) -> None:
    """Half open: received at the start is in, received at the end is out, to the millisecond."""
    offsets = (-1, 0, 1, 999, 1000, 1001)
    made = {ms: await deliver(earth, aoife, b"x\r\n", NOW + timedelta(milliseconds=ms)) for ms in offsets}
    wanted = KeyRange.of(Timespan(NOW, NOW + timedelta(seconds=1)))
    assert [ms for ms, message in made.items() if message in wanted] == [0, 1, 999]
    prefix = f"mail/{aoife.account}/"
    listed = [
        each.key.removeprefix(prefix)
        async for each in earth.store(IRELAND).mail.list(prefix, start_after=prefix + wanted.after)
        if each.key < prefix + wanted.before
    ]
    assert listed == [made[ms].value for ms in (0, 1, 999)]
