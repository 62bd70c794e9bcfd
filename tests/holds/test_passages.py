"""A walk along the fence while a mailbox moves: its copies are named as moving, and nothing else is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from storage.directory_record import DirectoryKey
from storage.fence import FenceWalk, Walk
from storage.homes import HomeOf, Homes
from storage.identity import AccountId
from storage.mailbox import message_key
from storage.moving import Phase
from storage.passages import Passages
from storage.settings import RegionSettings
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, Settle
from tests.faults import Moment
from tests.holds.dying import Death, living
from tests.holds.movers import Border, border
from tests.holds.test_relocation import LONGER_THAN_ANY_CLAIM
from tests.storage.grounds import DIRECTORY_KEY


@pytest.fixture
async def it(settle: Settle) -> AsyncIterator[Border]:
    async with border(settle) as made:
        await made.deliver(3)
        yield made


async def walked(it: Border, settings: RegionSettings, known: list[RegionSettings] | None = None) -> Walk:
    async def homes() -> HomeOf:
        return await Homes.read(it.ireland.store.mail, DirectoryKey(DIRECTORY_KEY))

    moves = Passages([site.store.settings for site in it.sites.values()] if known is None else known)
    return await FenceWalk(settings, DEPLOYMENT).run(await homes(), homes, moves)


async def die(it: Border, bucket: str, write: int) -> None:
    with living(bucket, write, Moment.AFTER) as life, suppress(Death):
        await it.move()
    assert life.dead
    it.now += LONGER_THAN_ANY_CLAIM
    it.world.directory.forget()


async def test_copies_in_the_new_home_are_moving_until_the_move_ends(it: Border) -> None:
    await die(it, it.germany.store.mail.name, 3)
    old, new = it.ireland.store.settings, it.germany.store.settings
    walk = await walked(it, new)
    assert (walk.stray_count, walk.at_home) == (0, True)
    (passage,) = walk.moving
    assert (passage.move.account, passage.move.goes_to, passage.move.phase) == (
        it.account,
        GERMANY.code,
        Phase.COPYING,
    )
    assert passage.versions == 3
    assert (await walked(it, old)).moving == [], "what is at home is not moving"

    await it.move()
    for settings in (old, new):
        walk = await walked(it, settings)
        assert (walk.moving, walk.at_home) == ([], True)


async def test_leftovers_in_the_old_home_are_moving_too(it: Border) -> None:
    with living(it.ireland.store.mail.name) as life:
        await it.move()
    await it.move(IRELAND.code)
    # The last write takes the record away, the ones before it what was left.
    await die(it, it.ireland.store.mail.name, life.writes - 4)
    assert (await it.home()) is it.germany
    walk = await walked(it, it.ireland.store.settings)
    assert walk.at_home
    assert [one.move.phase for one in walk.moving] == [Phase.FLIPPED]


async def test_without_its_record_or_the_key_to_it_a_copy_is_a_stray(it: Border) -> None:
    await die(it, it.germany.store.mail.name, 3)
    new = it.germany.store.settings
    blind = [replace(site.store.settings, key_service=None) for site in it.sites.values()]
    assert (await walked(it, new, blind)).stray_count == 3
    # Another account's copies are not explained by this one's move.
    other = await it.with_another(it.address.parse("brian@example.ie"))
    (message,) = await other.deliver(1)
    await it.germany.store.mail.put(message_key(other.account, message), b"x")
    walk = await walked(it, new)
    assert [AccountId.parse(one.key.split("/")[1]) for one in walk.strays] == [other.account]
    assert len(walk.moving) == 1
