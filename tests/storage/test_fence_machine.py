"""No object is ever found outside its home, whatever happens in whatever order.

A Hypothesis state machine makes accounts, delivers, changes, holds and moves them, and lets any of it
fail or die at any request, before or after the server did what it was asked. After each step every version
of every object of every region lies under an account whose home that region is, or that is on its way to or
from it; what is under hold is neither closed nor moved; in the end every acknowledged message is there
exactly once, opens, and is locked if it is held, and what was never acknowledged is nowhere but at home.

SITUS_FENCE_EXAMPLES=200 runs it for long; without, it runs the same few examples everywhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from policy.geography import Region
from storage.control import s3_client
from storage.directory_record import DirectoryKey
from storage.errors import AddressTaken, StorageError
from storage.holds import Held
from storage.homes import Homes
from storage.layout import place_of
from storage.located import AccountStatus
from storage.mailbox import message_key
from storage.moving import CLAIM, move_key
from storage.region import RegionSettings, RegionStore
from tests.engines import GERMANY, IRELAND, EngineKind, Engines, Settle, settings_on
from tests.faults import Moment
from tests.storage.fence_deeds import Deeds, Mailbox, told
from tests.storage.grounds import DIRECTORY_KEY, opened

REGIONS: Final = (IRELAND, GERMANY)
EXAMPLES: Final = int(os.environ.get("SITUS_FENCE_EXAMPLES", "0"))
STEPS: Final = 14
_T = TypeVar("_T")


class Fence(RuleBasedStateMachine):
    """One example, on buckets of its own."""

    settle: ClassVar[Settle]

    def __init__(self) -> None:
        super().__init__()
        self.mailboxes: list[Mailbox] = []
        self.stack: Final = AsyncExitStack()
        self.runner: Final = asyncio.Runner()
        self.deeds: Final = self.runner.run(self._open(type(self).settle))

    boxes = Bundle("boxes")

    async def _open(self, settle: Settle) -> Deeds:
        return await self.stack.enter_async_context(Deeds.open(settle, REGIONS))

    # What happens.

    @rule(target=boxes, home=st.sampled_from(REGIONS))
    def make(self, home: Region) -> Mailbox:
        box = self.deeds.new_mailbox(home)
        self.runner.run(self.deeds.create(self.deeds.directory(), box))
        self.mailboxes.append(box)
        return box

    @rule(box=boxes, sender=st.sampled_from(REGIONS))
    def deliver(self, box: Mailbox, sender: Region) -> None:
        refused = self._told(self.deeds.deliver(self.deeds.directory(sender), box))
        assert refused is None or box.unsure or box.status is not AccountStatus.ACTIVE

    @rule(box=boxes)
    def suspend(self, box: Mailbox) -> None:
        self.runner.run(self.deeds.set_status(self.deeds.directory(), box, AccountStatus.SUSPENDED))

    @rule(box=boxes)
    def resume(self, box: Mailbox) -> None:
        self.runner.run(self.deeds.set_status(self.deeds.directory(), box, AccountStatus.ACTIVE))

    @rule(box=boxes)
    def close(self, box: Mailbox) -> None:
        closing = self.deeds.set_status(self.deeds.directory(), box, AccountStatus.CLOSED)
        self._refused_if_held(box, self._told(closing))

    @rule(box=boxes)
    def rotate(self, box: Mailbox) -> None:
        self.runner.run(self.deeds.rotate(self.deeds.directory(), box))

    @rule(box=boxes, sender=st.sampled_from(REGIONS))
    def hold(self, box: Mailbox, sender: Region) -> None:
        """... and mail comes in under it."""
        self.runner.run(self.deeds.place(box, self.deeds.earth.ground))
        self._told(self.deeds.deliver(self.deeds.directory(sender), box))

    @rule(box=boxes)
    def release(self, box: Mailbox) -> None:
        if box.held:
            self.runner.run(self.deeds.release(box, self.deeds.earth.ground))

    @rule(box=boxes, to=st.sampled_from(REGIONS))
    def move(self, box: Mailbox, to: Region) -> None:
        if box.home != to:
            self._refused_if_held(box, self._told(self.deeds.move(box, to, self.deeds.earth.ground)))

    @rule(
        box=boxes,
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 4) | st.integers(1, 25),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
        meanwhile=st.sampled_from(["mail", "hold"]),
    )
    def move_and_fail(
        self, box: Mailbox, failing: Region, nth: int, moment: Moment, dies: bool, meanwhile: str
    ) -> None:
        """... and when the first one's claim is over, somebody else ends it, or gives it up for a hold."""
        (to,) = set(REGIONS) - {box.home}
        first = self.deeds.move(box, to, self.deeds.hasty)
        ended = self.runner.run(self.deeds.failing(first, failing, nth, moment, dies))
        if isinstance(ended, Held):
            self._refused_if_held(box, ended)
        elif isinstance(ended, BaseException):
            self.every_object_is_at_home()
            if meanwhile == "mail":
                for sender in REGIONS:
                    self._told(self.deeds.deliver(self.deeds.directory(sender), box))
            self.deeds.ahead += CLAIM * 2
            self.runner.run(self.deeds.find_home(box))
            if meanwhile == "hold":
                self.runner.run(self.deeds.place(box, self.deeds.earth.ground))
                self.every_object_is_at_home()
            came_past_the_flip = box.home == to
            refused = self._told(self.deeds.move(box, to, self.deeds.earth.ground))
            if not came_past_the_flip:
                self._refused_if_held(box, refused)

    @rule()
    def mend(self) -> None:
        self.runner.run(self.deeds.directory().book.mend())

    @rule(
        target=boxes,
        home=st.sampled_from(REGIONS),
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 9),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
    )
    def make_and_fail(self, home: Region, failing: Region, nth: int, moment: Moment, dies: bool) -> Mailbox:
        """... at the nth request that writes, and try again: somebody else, two minutes later."""
        box = self.deeds.new_mailbox(home)
        first = self.deeds.create(self.deeds.directory(ground=self.deeds.hasty), box)
        if isinstance(self.runner.run(self.deeds.failing(first, failing, nth, moment, dies)), BaseException):
            self.every_object_is_at_home()
            retried = self._told(self.deeds.create(self.deeds.directory(minutes=2), box))
            # Taken: the first one's record was written, and only its confirmation was lost.
            assert retried is None or isinstance(retried, AddressTaken)
        self.mailboxes.append(box)
        return box

    @rule(
        box=boxes,
        sender=st.sampled_from(REGIONS),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
        retry=st.booleans(),
    )
    def deliver_and_fail(self, box: Mailbox, sender: Region, moment: Moment, dies: bool, retry: bool) -> None:
        first = self.deeds.deliver(self.deeds.directory(sender, ground=self.deeds.hasty), box)
        self.runner.run(self.deeds.failing(first, box.home, 1, moment, dies))
        if retry:
            self._told(self.deeds.deliver(self.deeds.directory(sender), box))

    @rule(
        box=boxes,
        change=st.sampled_from(["suspend", "resume", "close", "rotate"]),
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 5),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
    )
    def change_and_fail(
        self, box: Mailbox, change: str, failing: Region, nth: int, moment: Moment, dies: bool
    ) -> None:
        directory = self.deeds.directory(ground=self.deeds.hasty)
        match change:
            case "suspend":
                work = self.deeds.set_status(directory, box, AccountStatus.SUSPENDED)
            case "resume":
                work = self.deeds.set_status(directory, box, AccountStatus.ACTIVE)
            case "close":
                work = self.deeds.set_status(directory, box, AccountStatus.CLOSED)
            case _:
                work = self.deeds.rotate(directory, box)
        ended = self.runner.run(self.deeds.failing(work, failing, nth, moment, dies))
        if isinstance(ended, Held):
            self._refused_if_held(box, ended)
        elif isinstance(ended, BaseException):
            box.unsure = True

    @rule(
        box=boxes,
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 8),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
        again=st.booleans(),
    )
    def hold_or_release_and_fail(
        self, box: Mailbox, failing: Region, nth: int, moment: Moment, dies: bool, again: bool
    ) -> None:
        """... after which nobody may know whether it is held, until somebody says it again."""
        deed = self.deeds.release if box.held else self.deeds.place
        self.runner.run(self.deeds.failing(deed(box, self.deeds.hasty), failing, nth, moment, dies))
        if again:
            self.runner.run(self.deeds.place(box, self.deeds.earth.ground))

    # What must hold.

    @invariant()
    def every_object_is_at_home(self) -> None:
        self.runner.run(self._everything_at_home())

    def teardown(self) -> None:
        try:
            self.runner.run(self._nothing_is_lost())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    # How.

    def _told(self, work: Coroutine[Any, Any, _T]) -> _T | StorageError:
        return self.runner.run(told(work))

    def _refused_if_held(self, box: Mailbox, refused: object) -> None:
        """A closure or a move is refused under hold, and for no other reason."""
        if refused is None:
            assert box.held is not True, f"{box.address} is held"
        else:
            assert isinstance(refused, Held), refused
            assert box.held is not False, f"{box.address} is not held"

    async def _everything_at_home(self) -> None:
        registrar = self.deeds.earth.store(IRELAND).mail
        homes = await Homes.read(registrar, DirectoryKey(DIRECTORY_KEY))
        assert not homes.corrupt
        found = {region.code: await everything(self.deeds.earth.store(region)) for region in REGIONS}
        moving = {key for keys in found.values() for key in keys if key.startswith("moves/")}
        for code, keys in found.items():
            for key in keys:
                account = place_of(key).account
                if account is not None and homes(account) != code:
                    assert move_key(account) in moving, f"{key} in {code}, at home in {homes(account)}"

    async def _nothing_is_lost(self) -> None:
        book = self.deeds.directory().book
        assert await book.mend() == 0
        await self._what_came_in_under_hold_is_locked()
        await self.deeds.keep()
        await self._everything_at_home()
        assert all(each.agrees and not each.copied for each in await book.sync())
        for box in self.mailboxes:
            located, *copies = [await self.deeds.directory(region).find(box.address) for region in REGIONS]
            assert all(copy == located for copy in copies)
            assert located.home == box.home
            assert box.unsure or located.status is box.status
            assert box.held is None or located.legal_hold is box.held
            home = self.deeds.earth.ground.home(located)
            found = await opened(home, located)
            contents = [content for _, content in found.values()]
            assert len(contents) == len(set(contents))
            assert set(contents) <= box.attempted
            for each in box.acknowledged:
                key = message_key(located.account, each.message)
                assert found[key][1] == each.content
                locked = await is_locked(home, key)
                # Held now: locked. Never held: not. (What a move and the end of a hold do with locks is
                # `tests/holds`' to say.)
                if box.held:
                    assert locked
                if box.hold is None:
                    assert not locked

    async def _what_came_in_under_hold_is_locked(self) -> None:
        """As it was put, before any pass behind the hold has seen it."""
        for box in self.mailboxes:
            if not box.moved:
                located = await self.deeds.directory().find(box.address)
                for each in box.acknowledged:
                    key = message_key(located.account, each.message)
                    assert not each.locked or await is_locked(self.deeds.earth.ground.home(located), key)


async def everything(store: RegionStore) -> set[str]:
    """The key of every version and marker in a region's mail bucket, as its own server lists them."""
    pages = s3_client(store.settings).get_paginator("list_object_versions")

    def listed() -> set[str]:
        return {
            one["Key"]
            for page in pages.paginate(Bucket=store.settings.bucket)
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        }

    return await asyncio.to_thread(listed)


async def is_locked(home: RegionStore, key: str) -> bool:
    """Whether the bucket's own lock is on the object."""
    client = s3_client(home.settings)

    def ask() -> bool:
        head = client.head_object(Bucket=home.settings.bucket, Key=key)
        return head.get("ObjectLockLegalHoldStatus") == "ON"

    return await asyncio.to_thread(ask)


@pytest.mark.timeout(600 if EXAMPLES == 0 else 100_000)
def test_no_object_is_ever_found_outside_its_home(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys")

    def settle(kind: EngineKind, region: Region) -> RegionSettings:
        return settings_on(engines.of(kind, region), region, keys)

    run_state_machine_as_test(
        type("FenceHere", (Fence,), {"settle": staticmethod(settle)}),
        settings=settings(
            max_examples=EXAMPLES or 8,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=EXAMPLES == 0,
            database=None,
            # No shrinking: it would run a failure, which takes seconds, hundreds of times.
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
