"""The records of a region's log stay readable there when the mailbox has moved away, until it is erased:
then nowhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.geography import RegionCode
from policy.hold import DELAY_HOLD, HoldId, MatterScope
from storage.audit.entry import Event
from storage.audit.records import Erased, RecordRoom
from storage.erasure import Certificate, Erasure
from storage.errors import StorageError, Unavailable
from storage.fence import FenceWalk, StrayKind, Walk
from storage.holds import Held, HoldRegister, Terms
from storage.homes import HomeOf
from storage.keyring import Keyholder
from storage.moving import CLAIM, Moving, Phase
from storage.record_keys import leave_record_keys, record_keys_key, where_it_lived
from storage.relocation import BeingErased, Report, Site
from tests.audit.logs import SIGNER
from tests.engines import DEPLOYMENT, Settle
from tests.holds.movers import REASON, Border, border
from tests.holds.people import AOIFE, DE, IE, LIAM, LITIGATION, NORA

LONGER_THAN_ANY_CLAIM = CLAIM + timedelta(seconds=1)


@pytest.fixture
async def it(settle: Settle) -> AsyncIterator[Border]:
    async with border(settle) as made:
        yield made


async def erase(it: Border, down: Mapping[RegionCode, int] | None = None) -> Certificate:
    """As `situs account erase`. `down`: a region, and from which time on that it is asked for it is away."""
    asked: dict[RegionCode, int] = {}

    async def register_of(code: RegionCode) -> HoldRegister:
        asked[code] = asked.get(code, 0) + 1
        if down is not None and asked[code] >= down.get(code, 99):
            raise Unavailable(f"{code} is away")
        return it.sites[code].register

    home = await it.home()
    erasure = Erasure(home.store, home.register, SIGNER, register_of, settle=0)
    return await erasure.erase(it.account, "ada")


async def tell(it: Border, what: str) -> tuple[Site, str]:
    """A record about the mailbox, where it is at home now."""
    located = await it.world.directory.find(AOIFE)
    site = it.sites[located.home.code]
    room = RecordRoom(site.store, site.register.vault)
    return site, await room.keep({"order": what}, (located.account, located.keys))


async def read(site: Site, digest: str) -> object:
    return (await RecordRoom(site.store, site.register.vault).open(digest)).get("order")


async def kept(it: Border, site: Site) -> list[str]:
    """Every version of whatever is kept of where an account has lived."""
    return [
        one.key
        for folder in ("recordkeys/", "lived/")
        async for one in site.register.versions.list(folder)
        if str(it.account) in one.key
    ]


async def dies_after(it: Border, messages: int) -> None:
    """A move whose process ends when it has copied so many messages."""

    def dies(report: Report) -> None:
        if report.phase is Phase.COPYING and report.messages == messages:
            raise StorageError("the process is gone")

    with pytest.raises(StorageError, match="gone"):
        await it.relocation().move(AOIFE, DE, REASON, "ada", dies)


async def walk(it: Border, site: Site) -> Walk:
    async def homes_again() -> HomeOf:
        raise AssertionError("nobody is suspected of being elsewhere")

    home = (await it.home()).store.region.code
    return await FenceWalk(site.store.settings, DEPLOYMENT).run(lambda _: home, homes_again)


async def test_what_happened_where_it_lived_stays_readable_there(it: Border) -> None:
    """Also after it has come back, has had new keys, and has left again."""
    told = [await tell(it, "in Ireland")]
    for number, to in enumerate((DE, IE, DE, IE)):
        await it.move(to)
        it.world.directory.forget()
        told.append(await tell(it, f"after move {number}"))
        assert [await read(site, digest) for site, digest in told] == [
            "in Ireland",
            *(f"after move {n}" for n in range(number + 1)),
        ]
    assert await where_it_lived(it.ireland.register.vault, it.account) == (DE,)
    assert await kept(it, it.germany) == [record_keys_key(it.account)] * 2, "of two stays"


async def test_the_record_of_a_move_opens_in_both_regions_and_is_about_the_account(it: Border) -> None:
    await it.move()
    for site in (it.ireland, it.germany):
        entries = it.ledgers[site.store.region.code].entries
        (entry,) = (one for one in entries if one.event is Event.ACCOUNT_MOVED)
        assert entry.record is not None
        record = await RecordRoom(site.store, site.register.vault).open(entry.record)
        assert record["reason"] == REASON
        sealed = (await site.register.vault.get(f"records/{entry.record.removeprefix('sha256:')}.json")).body
        assert REASON.encode() not in sealed, "the region's own key does not open it"


async def test_erased_it_is_readable_nowhere_and_nothing_of_it_is_kept(it: Border) -> None:
    told = [await tell(it, "in Ireland")]
    await it.move()
    it.world.directory.forget()
    told.append(await tell(it, "in Germany"))
    await it.world.close(AOIFE)
    certificate = await erase(it)
    for site, digest in told:
        with pytest.raises(Erased):
            await read(site, digest)
        assert await kept(it, site) == []
    assert "record keys destroyed in eu-west-1: 1 versions\n" in certificate.text
    assert it.ledgers[IE].events()[-1] is Event.ACCOUNT_ERASED, "the other region's log is told, too"
    assert await erase(it) == certificate, "run again, it gives the certificate"


async def test_erased_where_it_has_come_back_to(it: Border) -> None:
    told = [await tell(it, "first")]
    for to in (DE, IE):
        await it.move(to)
        it.world.directory.forget()
        told.append(await tell(it, str(to)))
    await it.world.close(AOIFE)
    await erase(it)
    for site, digest in told:
        with pytest.raises(Erased):
            await read(site, digest)
        assert await kept(it, site) == []


@pytest.mark.parametrize("away_from", [1, 2], ids=["from-the-first", "once-begun"])
async def test_an_erasure_ends_only_where_every_region_that_has_keys_of_it_answers(
    it: Border, away_from: int
) -> None:
    site, digest = await tell(it, "in Ireland")
    await it.move()
    await it.world.close(AOIFE)
    with pytest.raises(Unavailable, match="away"):
        await erase(it, {IE: away_from})
    assert await it.germany.register.versions.of(Keyholder(DE, it.account).key), "nothing is destroyed"
    assert Event.ACCOUNT_ERASED not in it.ledgers[DE].events()
    await erase(it)
    with pytest.raises(Erased):
        await read(site, digest)


async def test_a_matters_hold_where_it_has_lived_keeps_it_from_being_erased(it: Border) -> None:
    matter = MatterScope("Byrne", frozenset({str(it.account)}))
    placed = await it.ireland.register.place(Terms(matter, LITIGATION), NORA)
    await it.ireland.register.propose_end(placed.id, NORA, "settled")
    await it.ireland.register.confirm_end(placed.id, LIAM)
    it.now += DELAY_HOLD
    await it.move()
    held = replace(placed, id=HoldId("f" * 32))
    await it.ireland.register.adopt(held)  # seen by no move any more
    await it.world.close(AOIFE)
    with pytest.raises(Held) as refused:
        await erase(it)
    assert refused.value.holds == (held.id,)


async def test_what_is_on_its_way_is_not_erased_before_it_has_arrived(it: Border) -> None:
    """Erased in the middle, its copies would lie in the other region for ever."""
    await it.deliver(3)
    await it.world.close(AOIFE)
    await dies_after(it, 2)
    with pytest.raises(Moving):
        await erase(it)
    it.now += LONGER_THAN_ANY_CLAIM
    await it.move()
    await erase(it)
    assert await it.left(it.ireland) == await it.left(it.germany) == []


async def test_what_is_being_erased_does_not_move_and_a_move_that_meets_an_erasure_gives_up(
    it: Border,
) -> None:
    await it.deliver(3)
    await it.world.close(AOIFE)
    await dies_after(it, 2)
    # An erasure that had asked for moves before there was one, and asks again after this.
    begun = {"begun": it.now.isoformat(), "addresses": [str(AOIFE)], "keys_destroyed": None}
    counts = {"key_versions": 0, "messages": 0, "versions": 0, "octets": 0, "digest": ""}
    note = json.dumps({**begun, **counts}).encode()
    await it.ireland.register.vault.put_if_absent(f"erasures/{it.account}.json", note)
    with pytest.raises(Moving):
        await erase(it)
    it.now += LONGER_THAN_ANY_CLAIM
    with pytest.raises(BeingErased):
        await it.move()
    assert await it.left(it.germany) == []
    assert await kept(it, it.germany) == []
    await erase(it)
    assert await it.left(it.ireland) == []
    with pytest.raises(BeingErased):
        await it.move()


async def test_the_fence_knows_the_keys_that_stay_and_whose_service_wrapped_them(it: Border) -> None:
    await it.move()
    found = await walk(it, it.ireland)
    assert (found.stray_count, found.keyrings) == (0, 2), "the region's own, and what stays of the account's"
    await leave_record_keys(it.germany.store, it.account)
    abroad = (await it.germany.store.mail.get(record_keys_key(it.account))).body
    for body, kind in ((abroad, StrayKind.FOREIGN_KEY), (b"{}", StrayKind.UNREADABLE_KEYRING)):
        await it.ireland.store.mail.put(record_keys_key(it.account), body)
        assert [one.kind for one in (await walk(it, it.ireland)).strays] == [kind]
    await it.ireland.store.mail.put("recordkeys/nobody.json", b"{}")
    assert StrayKind.NO_PLACE in {one.kind for one in (await walk(it, it.ireland)).strays}
