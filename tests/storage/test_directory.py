"""The directory: one owner for each address in all the world, and mail that finds its way home."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio

from policy.address import Address
from policy.geography import Region
from storage.accounts import Account, SubscriberRecord
from storage.address_book import AddressBook
from storage.directory_record import DirectoryKey, RemovedRecord
from storage.errors import (
    AccountClosed,
    AccountSuspended,
    AddressTaken,
    Corrupt,
    StorageError,
    Unavailable,
    UnknownAddress,
)
from storage.identity import utc_now
from storage.keyring import Keyholder, Keyring
from storage.located import AccountStatus
from storage.lookup import LOCATED_FOR, REMEMBERED, UNKNOWN_FOR, Lookup
from tests.engines import GERMANY, IRELAND, VIRGINIA, EngineKind, Engines, Settle, settings_on
from tests.faults import Fault, Moment, Request
from tests.storage.grounds import DIRECTORY_KEY, NOW, REGISTRAR, World, objects, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY: Final = DirectoryKey(DIRECTORY_KEY)
EVERYWHERE: Final = (IRELAND, GERMANY, VIRGINIA)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Three regions for the whole module, Ireland the registrar; each test has a domain of its own."""
    keys = tmp_path_factory.mktemp("keys")
    async with world(lambda kind, region: settings_on(engines.of(kind, region), region, keys)) as made:
        yield made


@pytest.fixture
def earth(shared: World) -> Iterator[World]:
    yield shared
    for place in shared.places.values():
        place.comes_back()
        place.proxy.requests.clear()
        place.proxy.failed.clear()
    shared.directory.forget()


@pytest.fixture
def domain() -> str:
    return f"{secrets.token_hex(6)}.test"


def at(local: str, domain: str) -> Address:
    return Address.parse(f"{local}@{domain}")


async def taker(directory: Lookup, address: Address) -> str:
    return str((await directory.locate(address)).account)


async def test_an_account_is_found_from_every_region(earth: World, domain: str) -> None:
    account = await earth.directory.create(at("aoife", domain), GERMANY.code)
    for region in EVERYWHERE:
        located = await earth.seen_from(region).locate(at("AOIFE", domain))
        assert (located.account, located.home) == (account.id, GERMANY)
    # Each process read the copy in its own region.
    assert await objects_at(earth, VIRGINIA, at("aoife", domain))


async def objects_at(earth: World, region: Region, address: Address) -> bool:
    name = f"directory/{KEY.of_address(address)}"
    return name in {listed.key async for listed in earth.store(region).mail.list("directory/")}


async def test_the_address_stands_in_the_clear_nowhere(earth: World, domain: str) -> None:
    """Addresses appear in the clear only inside sealed objects of the home region."""
    marked = at("very-telling-name", domain)
    await earth.directory.create(marked, IRELAND.code, password="p", display_name="Telling Display Name")
    await earth.directory.add_alias(at("telling-alias", domain), marked)
    await earth.directory.set_catch_all(domain, marked)
    for region in EVERYWHERE:
        for key, body in (await objects(earth.store(region))).items():
            for word in ("elling", domain.partition(".")[0]):
                assert word not in key
                assert word.encode() not in body, key
    assert (await earth.directory.show(marked)).address == marked


async def test_of_fifty_racers_in_all_regions_one_gets_the_address(
    settle: Settle, engine_kind: EngineKind, domain: str
) -> None:
    """Creating an address is unique across all regions under 50 racing creators."""
    async with world(settle, EVERYWHERE, engine_kind) as earth:
        await race(earth, at("wanted", domain))


async def race(earth: World, address: Address) -> None:
    racers = [earth.seen_from(EVERYWHERE[n % 3]) for n in range(50)]
    outcomes = await asyncio.gather(
        *(racer.create(address, EVERYWHERE[n % 3].code) for n, racer in enumerate(racers)),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    assert all(isinstance(outcome, AddressTaken) for outcome in outcomes if outcome is not winner)
    for region in EVERYWHERE:
        located = await earth.seen_from(region).locate(address)
        assert (located.account, located.home) == (winner.id, winner.home)
    # The losers have left nothing behind, in any region.
    left = set[str]().union(*[await accounts_at(earth, region) for region in EVERYWHERE])
    known = {account.id.value for region in EVERYWHERE async for account in earth.directory.list(region.code)}
    assert left == known


async def accounts_at(earth: World, region: Region) -> set[str]:
    return {listed.key.split("/")[1] async for listed in earth.store(region).mail.list("accounts/")}


async def test_an_address_is_not_made_twice(earth: World, domain: str) -> None:
    await earth.directory.create(at("once", domain), IRELAND.code)
    with pytest.raises(AddressTaken):
        await earth.directory.create(at("ONCE", domain), GERMANY.code)


async def test_mail_operators_find_what_they_expect(earth: World, domain: str) -> None:
    """`+tag`, aliases, a catch-all and postmaster, and their order of precedence."""
    directory = earth.directory
    aoife = str((await directory.create(at("aoife", domain), IRELAND.code)).id)
    boris = str((await directory.create(at("boris", domain), GERMANY.code)).id)
    plus = str((await directory.create(at("aoife+shop", domain), VIRGINIA.code)).id)
    await directory.add_alias(at("af", domain), at("aoife", domain))

    assert await taker(directory, at("aoife+lists", domain)) == aoife
    assert await taker(directory, at("aoife+lists+more", domain)) == aoife
    assert await taker(directory, at("aoife+shop", domain)) == plus  # somebody's very own address
    assert await taker(directory, at("af", domain)) == aoife
    assert await taker(directory, at("af+x", domain)) == aoife
    # RFC 5321 4.5.1: the first account has the duty until somebody takes it over.
    assert await taker(directory, at("PostMaster", domain)) == aoife
    with pytest.raises(UnknownAddress):
        await directory.locate(at("nobody", domain))

    await directory.set_catch_all(domain, at("boris", domain))
    assert await taker(directory, at("nobody", domain)) == boris
    assert await taker(directory, at("postmaster", domain)) == boris
    await directory.add_alias(at("postmaster", domain), at("aoife", domain))
    assert await taker(directory, at("postmaster", domain)) == aoife
    assert (await directory.show(at("boris", domain))).catch_alls == (domain,)

    await directory.set_catch_all(domain, None)
    with pytest.raises(UnknownAddress):
        await directory.locate(at("nobody", domain))
    assert (await directory.show(at("boris", domain))).catch_alls == ()


async def test_the_law_finds_owners_and_nobody_else(earth: World, domain: str) -> None:
    """An order against an address that nobody has must not open the mailbox of the catch-all."""
    directory = earth.directory
    aoife = await directory.create(at("aoife", domain), IRELAND.code)
    await directory.set_catch_all(domain, at("aoife", domain))
    await directory.add_alias(at("af", domain), at("aoife", domain))
    for address in (at("aoife", domain), at("aoife+x", domain), at("af", domain)):
        assert (await directory.find(address)).account == aoife.id
    for address in (at("nobody", domain), at("postmaster", domain), Address.parse("x@elsewhere.test")):
        with pytest.raises(UnknownAddress):
            await directory.find(address)
    await earth.close(at("aoife", domain))
    assert (await directory.find(at("aoife", domain))).status is AccountStatus.CLOSED


async def test_suspended_and_closed(earth: World, domain: str) -> None:
    directory, address = earth.directory, at("aoife", domain)
    await directory.create(address, IRELAND.code)
    await directory.add_alias(at("af", domain), address)
    assert (await directory.suspend(address)).status is AccountStatus.SUSPENDED
    for asked in (address, at("af", domain), at("aoife+x", domain)):
        with pytest.raises(AccountSuspended):
            await directory.locate(asked)
    await directory.resume(address)
    assert await directory.locate(address)
    await earth.close(address)
    with pytest.raises(AccountClosed):
        await earth.seen_from(VIRGINIA).locate(address)
    with pytest.raises(AddressTaken):
        await directory.create(address, GERMANY.code)
    # Nor does what was his now go to the catch-all.
    await directory.create(at("other", domain), IRELAND.code)
    await directory.set_catch_all(domain, at("other", domain))
    with pytest.raises(AccountClosed):
        await directory.locate(address)
    for unknown in (at("nobody", domain), at("af", domain)):
        with pytest.raises(UnknownAddress):
            await directory.suspend(unknown)


async def test_aliases_come_and_go(earth: World, domain: str) -> None:
    directory = earth.directory
    for name in ("aoife", "boris"):
        await directory.create(at(name, domain), IRELAND.code)
    added = await directory.add_alias(at("team", domain), at("aoife", domain))
    assert added.aliases == (at("team", domain),)
    assert await directory.add_alias(at("team", domain), at("aoife", domain)) == added  # done twice, done
    with pytest.raises(AddressTaken):
        await directory.add_alias(at("team", domain), at("boris", domain))
    with pytest.raises(AddressTaken):
        await directory.add_alias(at("boris", domain), at("aoife", domain))
    with pytest.raises(UnknownAddress):
        await directory.add_alias(at("x", domain), at("team", domain))  # never an alias of an alias
    with pytest.raises(AddressTaken):
        await directory.create(at("team", domain), IRELAND.code)
    assert (await directory.show(at("boris", domain))).aliases == ()

    assert (await directory.remove_alias(at("team", domain))).aliases == ()
    for region in EVERYWHERE:
        with pytest.raises(UnknownAddress):
            await earth.seen_from(region).locate(at("team", domain))
    with pytest.raises(UnknownAddress):
        await directory.remove_alias(at("team", domain))
    await directory.add_alias(at("team", domain), at("boris", domain))
    await directory.remove_alias(at("team", domain))
    await directory.create(at("team", domain), VIRGINIA.code)
    assert (await earth.seen_from(GERMANY).locate(at("team", domain))).home == VIRGINIA


async def test_racing_aliases(earth: World, domain: str) -> None:
    names = [f"u{n}" for n in range(6)]
    for name in names:
        await earth.directory.create(at(name, domain), IRELAND.code)
    outcomes = await asyncio.gather(
        *(earth.seen_from(IRELAND).add_alias(at("team", domain), at(name, domain)) for name in names),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    assert (await earth.directory.find(at("team", domain))).account == winner.id
    for name in names:
        account = await earth.directory.show(at(name, domain))
        assert account.aliases == ((at("team", domain),) if account.id == winner.id else ())


async def test_a_region_that_was_down_catches_up_by_itself(earth: World, domain: str) -> None:
    """A region that was down while an account was created, and then changed, catches up."""
    virginia = earth.place(VIRGINIA)
    virginia.goes_down()
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    await earth.directory.create(at("boris", domain), GERMANY.code)
    with pytest.raises(Unavailable):
        await earth.seen_from(VIRGINIA).locate(at("aoife", domain))  # 451, and no other region's answer
    assert await earth.directory.book.mend() > 0  # still down: the marks stay

    virginia.comes_back()
    # Asked for before any mending: the registrar answers, and the copy is made on the way.
    assert (await earth.seen_from(VIRGINIA).locate(at("aoife", domain))).home == IRELAND
    assert await objects_at(earth, VIRGINIA, at("aoife", domain))
    # Not asked for: mended.
    assert not await objects_at(earth, VIRGINIA, at("boris", domain))
    assert await earth.directory.book.mend() == 0
    assert await objects_at(earth, VIRGINIA, at("boris", domain))
    assert [listed async for listed in earth.store(IRELAND).mail.list("uncopied/")] == []


async def test_a_change_reaches_a_region_that_was_down(earth: World, domain: str) -> None:
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    earth.place(VIRGINIA).goes_down()
    await earth.directory.suspend(at("aoife", domain))
    earth.place(VIRGINIA).comes_back()
    assert (await earth.seen_from(VIRGINIA).find(at("aoife", domain))).status is AccountStatus.ACTIVE
    assert await earth.directory.book.mend() == 0
    assert (await earth.seen_from(VIRGINIA).find(at("aoife", domain))).status is AccountStatus.SUSPENDED


async def test_sync_compares_every_record(earth: World, domain: str) -> None:
    """`situs directory sync` believes no mark: it finds what is missing, old, damaged or strange."""
    directory = earth.directory
    names = ("missing", "old", "damaged", "fine")
    for name in names:
        await directory.create(at(name, domain), IRELAND.code)
    germany = earth.store(GERMANY).mail
    keys = {name: f"directory/{KEY.of_address(at(name, domain))}" for name in names}
    await directory.suspend(at("old", domain))
    earlier = KEY.read(KEY.of_address(at("old", domain)), (await germany.get(keys["old"])).body)
    older = KEY.write(KEY.of_address(at("old", domain)), earlier.model_copy(update={"serial": 1}))
    await germany.delete(keys["missing"])
    await germany.put(keys["old"], older)
    await germany.put(keys["damaged"], b"nonsense")
    stray = KEY.of_address(at("stray", domain))
    await germany.put(f"directory/{stray}", KEY.write(stray, RemovedRecord()))

    found = {result.region: result for result in await directory.book.sync()}
    assert found[GERMANY.code].copied == 3
    assert found[GERMANY.code].strays == [stray]
    assert not found[GERMANY.code].agrees
    assert (found[VIRGINIA.code].copied, found[VIRGINIA.code].agrees) == (0, True)
    registrar = earth.store(IRELAND).mail
    for key in keys.values():
        assert (await germany.get(key)).body == (await registrar.get(key)).body
    await germany.delete(f"directory/{stray}")
    assert all(result.agrees and not result.copied for result in await directory.book.sync())


async def test_sync_says_which_region_it_could_not_compare(earth: World, domain: str) -> None:
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    earth.place(VIRGINIA).goes_down()
    found = {result.region: result for result in await earth.directory.book.sync()}
    assert found[GERMANY.code].agrees
    assert found[VIRGINIA.code].failure is not None


async def test_a_region_that_is_down_is_never_taken_for_an_answer(earth: World, domain: str) -> None:
    """That an address is unknown is only said when the registrar has said so."""
    await earth.directory.create(at("aoife", domain), GERMANY.code)
    earth.place(IRELAND).goes_down()
    with pytest.raises(Unavailable):
        await earth.seen_from(GERMANY).locate(at("nobody", domain))
    # Whoever has a copy in this region is found none the less.
    assert (await earth.seen_from(GERMANY).locate(at("aoife", domain))).home == GERMANY
    with pytest.raises(Unavailable):
        await earth.directory.create(at("new", domain), GERMANY.code)


async def test_a_bucket_abroad_cannot_redirect_mail(earth: World, domain: str) -> None:
    """The record is authenticated together with its name."""
    aoife, mallory = at("aoife", domain), at("mallory", domain)
    await earth.directory.create(aoife, IRELAND.code)
    await earth.directory.create(mallory, VIRGINIA.code)
    abroad = earth.store(VIRGINIA).mail
    key = f"directory/{KEY.of_address(aoife)}"
    genuine = (await abroad.get(key)).body
    document = json.loads(genuine)
    document["record"]["home"] = "us-east-1"
    forged = KEY.of_address(aoife)
    stranger = DirectoryKey(bytes(32))
    for body in (
        json.dumps(document).encode(),
        (await abroad.get(f"directory/{KEY.of_address(mallory)}")).body,
        stranger.write(forged, KEY.read(forged, genuine)),
        genuine[:-1],
        b"",
        b"[]",
        b'{"record": null, "mac": null}',
        b"[" * 100_000,
    ):
        await abroad.put(key, body)
        with pytest.raises(Corrupt, match=key):
            await earth.seen_from(VIRGINIA).locate(aoife)
    assert (await earth.seen_from(GERMANY).locate(aoife)).home == IRELAND


async def test_names_tell_nothing_without_the_key(domain: str) -> None:
    address = at("aoife", domain)
    assert KEY.of_address(address) != DirectoryKey(bytes(32)).of_address(address)
    assert KEY.of_address(at("aoife", domain)) != KEY.of_domain(domain)
    with pytest.raises(ValueError, match="32 octets"):
        DirectoryKey(b"short")


def _is(method: str, part: str, *, from_the: int = 1) -> Callable[[Request], bool]:
    """Requests of that kind, from the first (or second ...) on."""
    seen = 0

    def matches(request: Request) -> bool:
        nonlocal seen
        seen += request.method == method and part in request.key
        return request.method == method and part in request.key and seen >= from_the

    return matches


# Every write of `create`, in its order: where it goes, and what it is.
STEPS: Final = {
    "reservation": (IRELAND, "PUT", "directory/", 1),
    "keyring": (GERMANY, "PUT", "/keys.json", 1),
    "subscriber": (GERMANY, "PUT", "/account.json", 1),
    "mark": (IRELAND, "PUT", "uncopied/", 1),
    "record": (IRELAND, "PUT", "directory/", 2),
    "copy": (VIRGINIA, "PUT", "directory/", 1),
    "unmark": (IRELAND, "DELETE", "uncopied/", 1),
}


@pytest.mark.parametrize("moment", list(Moment), ids=str)
@pytest.mark.parametrize("step", list(STEPS))
async def test_a_creation_that_failed_anywhere_can_be_completed(
    earth: World, domain: str, step: str, moment: Moment
) -> None:
    """Step x fault: one write fails for good, before or after it took effect; then somebody tries again."""
    address = at("aoife", domain)
    region, method, part, nth = STEPS[step]
    earth.place(region).proxy.fail(
        Fault.NOWHERE, moment, when=_is(method, part, from_the=nth), times=1_000_000
    )
    outcomes: list[str] = []
    for name, when in (("first", NOW), ("second", NOW + timedelta(minutes=2))):
        directory = earth.at(when)
        try:
            await directory.create(address, GERMANY.code, display_name=name)
            outcomes.append("made")
        except (AddressTaken, Unavailable) as error:
            outcomes.append(type(error).__name__)
        earth.place(region).comes_back()

    # A record that was written and not confirmed is there: the second try finds the address taken.
    confirmed = {"copy", "unmark"}
    written = step == "record" and moment is Moment.AFTER
    assert outcomes == (
        ["made", "AddressTaken"]
        if step in confirmed
        else ["Unavailable", "AddressTaken" if written else "made"]
    )
    await earth.directory.book.mend()
    for seen_from in EVERYWHERE:
        located = await earth.seen_from(seen_from).locate(address)
        home = earth.ground.home(located)
        keyring = await Keyring.load(home.mail, home.keys, Keyholder(GERMANY.code, located.account))
        assert keyring.public == located.keys  # what mail is sealed to can be opened
    name = (await earth.directory.show(address)).display_name
    assert name == ("first" if outcomes[1] == "AddressTaken" else "second")
    assert [listed async for listed in earth.store(IRELAND).mail.list("uncopied/")] == []


@pytest.mark.parametrize("step", ["keyring", "subscriber", "mark", "record"])
async def test_a_creator_that_died_holds_the_address_for_a_minute(
    earth: World, domain: str, step: str
) -> None:
    """Crash, not failure: nobody is there to let the address go. It is completed at the same home, as
    the same account, so that no account is left that no record names."""
    address = at("aoife", domain)
    region, method, part, nth = STEPS[step]
    earth.place(region).proxy.fail(Fault.STALL, when=_is(method, part, from_the=nth), times=1_000_000)
    dying = asyncio.create_task(earth.directory.create(address, GERMANY.code))
    while not earth.place(region).proxy.failed or dying.done():
        await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.wait({dying})
    earth.place(region).comes_back()
    before = await accounts_at(earth, GERMANY)

    with pytest.raises(UnknownAddress):
        await earth.directory.locate(address)
    with pytest.raises(AddressTaken, match="at this moment"):
        await earth.directory.create(address, GERMANY.code)
    later = earth.at(utc_now() + timedelta(minutes=2))
    with pytest.raises(AddressTaken, match="begun for eu-central-1"):
        await later.create(address, VIRGINIA.code)
    account = await later.create(address, GERMANY.code, display_name="completed")
    assert (await earth.directory.show(address)).display_name == "completed"
    if step != "keyring":
        assert str(account.id) in before
    assert await accounts_at(earth, GERMANY) == before | {str(account.id)}


class Ticking:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_answers_are_remembered_for_a_while(earth: World, domain: str) -> None:
    clock = Ticking()
    lookup = Lookup(earth.ground, DIRECTORY_KEY, REGISTRAR, VIRGINIA.code, monotonic=clock)
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    requests = earth.place(VIRGINIA).proxy.requests

    async def reads(address: Address) -> int:
        before = len(requests)
        with contextlib.suppress(StorageError):
            await lookup.locate(address)
        return len(requests) - before

    assert await reads(at("aoife", domain)) == 1
    assert await reads(at("aoife", domain)) == 0
    await earth.directory.suspend(at("aoife", domain))
    clock.now += LOCATED_FOR - 0.1
    assert await lookup.locate(at("aoife", domain))  # the price of remembering: half a minute
    clock.now += 0.2
    with pytest.raises(AccountSuspended):
        await lookup.locate(at("aoife", domain))

    assert await reads(at("nobody", domain)) > 0
    assert await reads(at("nobody", domain)) == 0
    await earth.directory.create(at("nobody", domain), IRELAND.code)
    clock.now += UNKNOWN_FOR + 0.1
    assert await lookup.locate(at("nobody", domain))
    lookup.forget()
    assert await reads(at("nobody", domain)) == 1


async def test_what_is_known_without_asking_is_a_mailbox_that_takes_mail(earth: World, domain: str) -> None:
    clock = Ticking()
    lookup = Lookup(earth.ground, DIRECTORY_KEY, REGISTRAR, VIRGINIA.code, monotonic=clock)
    aoife, boris, nobody = (at(name, domain) for name in ("aoife", "boris", "nobody"))
    await earth.directory.create(aoife, IRELAND.code)
    await earth.directory.create(boris, IRELAND.code)
    await earth.directory.suspend(boris)
    requests = earth.place(VIRGINIA).proxy.requests
    assert lookup.remembered(aoife) is None
    for address in (boris, nobody):
        with pytest.raises(StorageError):
            await lookup.locate(address)
        assert lookup.remembered(address) is None  # `locate` says why
    located, before = await lookup.locate(aoife), len(requests)
    clock.now += LOCATED_FOR - 0.1
    assert lookup.remembered(aoife) == located
    clock.now += 0.2
    assert lookup.remembered(aoife) is None
    assert len(requests) == before


async def test_memory_is_bounded(earth: World, domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.lookup.REMEMBERED", 3)
    assert REMEMBERED > 3
    lookup = earth.seen_from(IRELAND)
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    await lookup.locate(at("aoife", domain))
    for n in range(2):
        with pytest.raises(UnknownAddress):
            await lookup.locate(at(f"nobody{n}", domain))
    requests = earth.place(IRELAND).proxy.requests
    await lookup.locate(at("aoife", domain))  # used again: it outlives the other two
    for n in range(2, 4):
        with pytest.raises(UnknownAddress):
            await lookup.locate(at(f"nobody{n}", domain))
    before = len(requests)
    await lookup.locate(at("aoife", domain))
    assert len(requests) == before
    with pytest.raises(UnknownAddress):
        await lookup.locate(at("nobody0", domain))
    assert len(requests) > before


async def test_the_owner_is_known_by_a_password(earth: World, domain: str) -> None:
    await earth.directory.create(at("aoife", domain), IRELAND.code, password="correct horse")
    await earth.directory.create(at("boris", domain), IRELAND.code)
    for name, password, expected in (
        ("aoife", "correct horse", True),
        ("aoife", "correct hors", False),
        ("boris", "", False),
    ):
        located = await earth.directory.locate(at(name, domain))
        subscriber = await SubscriberRecord(earth.ground.home(located), located.account).read()
        assert await subscriber.has_password(password) is expected
        assert "argon2" not in repr(subscriber)


async def test_a_book_is_one_deployments(earth: World, domain: str) -> None:
    await earth.directory.create(at("aoife", domain), IRELAND.code)
    other = AddressBook(earth.ground, DirectoryKey(bytes(32)), REGISTRAR, REGISTRAR)
    assert await other.read(other.key.of_address(at("aoife", domain))) is None
