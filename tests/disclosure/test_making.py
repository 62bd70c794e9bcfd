"""A package whose maker has died: gone on with by another, released once, and no part of it twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import pickle
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.disclosure.app import HOUSE
from gateway.disclosure.lifecycle import DisclosureId
from gateway.disclosure.making import ALIVE, Making, Overtaken, Place, Stage, Step
from gateway.disclosure.receipt import check_package
from gateway.disclosure.release import RELEASES
from gateway.disclosure.terms import Terms
from storage.audit.entry import Event
from storage.directory import Directory
from storage.errors import Corrupt, StorageError
from storage.provision import provision
from storage.region import Ground, RegionSettings
from storage.versions import Versions
from tests.disclosure.desk import IRELAND, NOW, Gateway, MovableClock, Package, gateway, noise, order
from tests.disclosure.dying_maker import Errand
from tests.engines import DEPLOYMENT, EngineKind, Engines, Settle, settings_on
from tests.faults import Fault, Moment, Request
from tests.policy import pki
from tests.storage.grounds import DIRECTORY_KEY, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
TERMS = Terms(part_size=64 * 1024, attempts_a_minute=1_000_000)
MESSAGES = 6
MAIL = [b"Subject: %d\r\n\r\n" % number + noise(25_000, number) + b"\r\n" for number in range(MESSAGES)]
# Days of the past, one for each disclosure: those of a gateway share aoife's mailbox.
DAYS = itertools.count(100, 30)


@pytest.fixture(scope="module", autouse=True)
def no_round_but_ours() -> Iterator[None]:
    """The background's own, half a minute after its last, might come in the middle of a test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gateway.disclosure.housekeeping._EVERY", 3600.0)
        yield


async def awaiting(desk: Gateway, monkeypatch: pytest.MonkeyPatch) -> str:
    """An approved disclosure of all the mail, whose package nobody has begun."""

    async def never(*_: object) -> None:
        return None

    start = NOW - timedelta(days=next(DAYS))
    for number, content in enumerate(MAIL):
        await desk.deliver(content, at=start + timedelta(minutes=number))
    span = {"start": start.isoformat(), "end": (start + timedelta(days=1)).isoformat()}
    presented = await desk.present(order(timespan=span))
    assert presented.status == 201, presented.body
    with monkeypatch.context() as patched:
        patched.setattr(Making, "take_up", never)
        approved = await desk.approve(presented.json["id"])
    assert approved.json["status"] == "AwaitingDisclosure"
    return str(presented.json["id"])


async def a_round(desk: Gateway) -> None:
    """What the background does every half minute, done now and waited for."""
    await desk.app[HOUSE].round(desk.chamber())
    await desk.app[RELEASES].idle()


async def interrupted(desk: Gateway, monkeypatch: pytest.MonkeyPatch) -> str:
    """A disclosure whose maker could not write his fourth step: he has said that he is not at it any more."""
    disclosure = await awaiting(desk, monkeypatch)
    desk.world.place(IRELAND).proxy.fail(
        Fault.NOWHERE, when=lambda r: r.method == "PUT" and r.key.endswith("steps/00003.json")
    )
    await a_round(desk)
    return disclosure


async def events(desk: Gateway, disclosure: str, event: Event) -> int:
    return sum(entry.event is event and entry.disclosure == disclosure for entry in await desk.log())


async def whole(desk: Gateway, disclosure: str, where: Path) -> Package:
    """The package, which must have all the mail once, be what its manifest says, and be all that there is."""
    state = await desk.ask("GET", f"/v1/disclosures/{disclosure}")
    assert state.json["status"] == "Disclosed"
    package = await desk.package(disclosure, pki.judge("IE"), where)
    received = where / "received"
    received.mkdir()
    (received / "manifest.json").write_text(json.dumps(package.manifest))
    for name, body in package.plain.items():
        (received / name).write_bytes(body)
    assert [check for check in check_package(received, desk.chamber().log.key) if not check.ok] == []
    assert [row["size"] for row in package.manifest["messages"]] == list(map(len, MAIL))
    assert package.manifest["counts"] == {"messages": MESSAGES, "traffic_records": MESSAGES, "errors": 0}
    assert package.plain["traffic-0001.csv"].count(b"\r\n") == MESSAGES + 1
    assert await events(desk, disclosure, Event.DISCLOSURE_RELEASED) == 1
    assert await events(desk, disclosure, Event.DISCLOSURE_COMPLETED) == 1
    folder = f"packages/{disclosure}/{package.manifest['audit']['index']}/"
    named = {f"{folder}{part['encrypted_sha256']}" for part in package.manifest["parts"]}
    with Versions(desk.world.store(IRELAND)) as versions:
        left = [version.key async for version in versions.list(f"packages/{disclosure}/")]
    assert sorted(left) == sorted([*named, f"{folder}manifest.json"])  # one version of each
    return package


async def steps(desk: Gateway, disclosure: str) -> list[Step]:
    listed = [each.key async for each in desk.chamber().vault.list(f"packages/{disclosure}/")]
    return [
        Step.from_bytes(key, (await desk.chamber().vault.get(key)).body) for key in listed if "/steps/" in key
    ]


@pytest.mark.parametrize("written", [False, True], ids=["before-it-is-written", "after-it-is-written"])
async def test_a_killed_process_leaves_what_the_next_one_goes_on_behind(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """kill -9 on SeaweedFS, in the middle of the content."""
    settings = settings_on(engines.of(EngineKind.SEAWEEDFS, IRELAND), IRELAND, tmp_path)
    async with on_that_engine(settings) as desk:
        disclosure = await awaiting(desk, monkeypatch)
        errand, irish = tmp_path / "errand", pki.realm("IE").lists(pki.judge("IE"))
        dies_at = Errand.of(settings, TERMS, desk.clock(), irish, step=3, written=written)
        errand.write_bytes(pickle.dumps(dies_at))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.disclosure.dying_maker", str(errand)
        )
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
        before = await steps(desk, disclosure)
        assert len(before) == (4 if written else 3)
        assert before[-1].following.stage is Stage.CONTENT

        await a_round(desk)  # its maker might be alive still: nobody goes on with it
        assert len(await steps(desk, disclosure)) == len(before)
        desk.clock.advance(seconds=ALIVE.total_seconds())
        await a_round(desk)

        package = await whole(desk, disclosure, tmp_path)
        assert package.manifest["parts"][: sum(len(step.parts) for step in before)] == [
            part.model_dump() for step in before for part in step.parts
        ]


@contextlib.asynccontextmanager
async def on_that_engine(settings: RegionSettings) -> AsyncIterator[Gateway]:
    @contextlib.asynccontextmanager
    async def standing() -> AsyncIterator[World]:
        await provision(settings, DEPLOYMENT)
        async with await Ground.open([settings], DEPLOYMENT) as ground:
            yield World(ground, Directory(ground, DIRECTORY_KEY, IRELAND.code, IRELAND.code), {})

    async with gateway(
        lambda _kind, _region: settings, regions=(IRELAND,), terms=TERMS, deadline=10.0, standing=standing
    ) as desk:
        yield desk


def puts(part_of_key: str, nth: int = 1) -> Callable[[Request], bool]:
    """The nth put of a key with that in it."""
    seen = itertools.count(1)
    return lambda r: r.method == "PUT" and part_of_key in r.key and next(seen) == nth


@pytest.mark.parametrize("moment", list(Moment), ids=str)
@pytest.mark.parametrize(
    ("key", "nth"),
    [
        ("making.json", 1),
        ("lock", 1),  # the release's commit
        ("making.json", 2),  # where it says which entry that is
        ("steps/00000", 1),
        ("steps/00003", 1),
        ("manifest.json", 1),
        ("lock", 2),  # the completion's commit
        ("disclosures/", 1),
    ],
    ids=lambda value: str(value).strip("/").replace("/", "-"),
)
async def test_wherever_its_maker_dies_it_is_released_once_and_whole(
    patient: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, nth: int, moment: Moment
) -> None:
    """Dead before a write has taken effect, or after it: from then on nothing of his reaches the region."""
    disclosure = await awaiting(patient, monkeypatch)
    proxy, death = patient.world.place(IRELAND).proxy, puts(key, nth)
    dead = False

    def dies(request: Request) -> bool:
        nonlocal dead
        dead = dead or death(request)
        return dead

    proxy.fail(Fault.NOWHERE, moment, when=dies)
    proxy.fail(Fault.NOWHERE, when=lambda _: dead, times=1_000_000)
    with contextlib.suppress(StorageError):
        await a_round(patient)
    assert dead
    proxy.heal()
    patient.clock.advance(seconds=ALIVE.total_seconds())
    await a_round(patient)
    await whole(patient, disclosure, tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway of this module's own: its region dies now and then."""
    keys = tmp_path_factory.mktemp("keys")
    settle: Settle = lambda kind, region: settings_on(engines.of(kind, region), region, keys)  # noqa: E731
    async with gateway(settle, regions=(IRELAND,), terms=TERMS) as desk:
        yield desk


async def test_what_was_read_is_not_read_again(
    patient: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = patient
    disclosure = await interrupted(desk, monkeypatch)
    proxy = desk.world.place(IRELAND).proxy
    (*_, content) = await steps(desk, disclosure)
    done = [json.loads(row)["message_id"] for row in content.messages]
    assert len(done) == 2
    proxy.requests.clear()
    await a_round(desk)
    read = [
        r.key.rpartition("/")[2] for r in proxy.requests if r.method == "GET" and r.key.startswith("mail/")
    ]
    assert len(set(read)) == MESSAGES - len(done)
    assert not set(read) & set(done)
    await whole(desk, disclosure, tmp_path)


async def test_what_is_released_on_other_terms_is_another_release(
    patient: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of another decision are none of this package: nothing of them is handed over."""
    desk = patient
    disclosure = await interrupted(desk, monkeypatch)
    before = {part.encrypted_sha256 for step in await steps(desk, disclosure) for part in step.parts}
    monkeypatch.setattr("gateway.disclosure.package.software", lambda: "situs of tomorrow")
    await a_round(desk)
    assert await events(desk, disclosure, Event.DISCLOSURE_RELEASED) == 2
    package = await desk.package(disclosure, pki.judge("IE"), tmp_path)
    assert len(package.manifest["messages"]) == MESSAGES
    assert package.manifest["custody"]["software"] == "situs of tomorrow"
    assert not before & {part["encrypted_sha256"] for part in package.manifest["parts"]}


async def test_of_two_makers_one_is_at_it_and_a_sleeper_does_not_wake_into_it(desk: Gateway) -> None:
    vault, clock, disclosure = desk.chamber().vault, MovableClock(NOW), DisclosureId.new(NOW)
    step = Step((), (), (), 0, Place(Stage.TRAFFIC))
    first = await Making.take_up(vault, disclosure, "terms", 7, clock)
    assert first is not None
    assert (first.is_fresh, first.since, first.release) == (True, 7, None)
    await first.entrust(9)
    assert await Making.take_up(vault, disclosure, "terms", 7, clock) is None
    clock.advance(seconds=ALIVE.total_seconds())
    racers = await asyncio.gather(*(Making.take_up(vault, disclosure, "terms", 7, clock) for _ in range(5)))
    (second,) = (racer for racer in racers if racer is not None)
    assert (second.is_fresh, second.release) == (False, 9)
    await second.record(0, step)
    with pytest.raises(Overtaken):
        await first.record(0, step)
    with pytest.raises(Overtaken):
        await first.entrust(10)
    with pytest.raises(Overtaken):
        await first.record(1, step)
    assert await second.steps() == [step]
    async with second.alive():
        assert await Making.take_up(vault, disclosure, "terms", 7, clock) is None
    third = await Making.take_up(vault, disclosure, "other terms", 7, clock)  # it was left: at once
    assert third is not None
    assert (third.is_fresh, third.since, third.release) == (True, 10, None)


async def test_a_maker_says_that_it_is_alive(desk: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.disclosure.making._BEAT", 0.01)
    vault, clock, disclosure = desk.chamber().vault, MovableClock(NOW), DisclosureId.new(NOW)
    making = await Making.take_up(vault, disclosure, "terms", 0, clock)
    assert making is not None
    key = f"packages/{disclosure}/making.json"
    async with making.alive():
        clock.advance(seconds=ALIVE.total_seconds())
        while json.loads((await vault.get(key)).body)["at"] != clock.now.isoformat():
            await asyncio.sleep(0.01)
        assert await Making.take_up(vault, disclosure, "terms", 0, clock) is None


@pytest.mark.parametrize("document", [b"", b"{}", b'{"version": 1}', b"[]"], ids=repr)
async def test_a_document_that_is_no_step_is_corrupt(desk: Gateway, document: bytes) -> None:
    with pytest.raises(Corrupt, match="not a step"):
        Step.from_bytes("packages/x", document)
    disclosure = DisclosureId.new(NOW)
    await desk.chamber().vault.put_if_absent(f"packages/{disclosure}/making.json", document)
    with pytest.raises(Corrupt, match="not the making"):
        await Making.take_up(desk.chamber().vault, disclosure, "terms", 0, MovableClock(NOW))
