"""No object is ever found outside its home, whatever happens in whatever order.

A Hypothesis state machine makes accounts, delivers, changes and moves them, and lets any of it fail or
die at any request, before or after the server did what it was asked. After each step every object of
every region lies under an account whose home that region is, or that is on its way to or from it; in
the end every acknowledged message is there exactly once, and opens, and what was never acknowledged is
nowhere but at home.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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

from policy.address import Address
from policy.geography import Region, RegionCode
from storage.control import s3_client
from storage.directory import Directory
from storage.directory_record import DirectoryKey
from storage.errors import AddressTaken, StorageError
from storage.holds import HoldRegister
from storage.homes import Homes
from storage.identity import MessageId, utc_now
from storage.layout import place_of
from storage.located import AccountStatus, Located
from storage.mailbox import append, message_key
from storage.moving import CLAIM, move_key
from storage.region import Ground, RegionSettings, RegionStore
from storage.relocation import MoveRefused, Relocation, Site
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, EngineKind, Engines, Settle, settings_on
from tests.faults import Fault, Moment, Request
from tests.holds.dying import Death, living
from tests.holds.ward import PSEUDONYMS, Ledger
from tests.storage.grounds import DIRECTORY_KEY, REGISTRAR, World, envelope, opened, world

REGIONS: Final = (IRELAND, GERMANY)
EXAMPLES: Final = int(os.environ.get("SITUS_FENCE_EXAMPLES", "6"))
STEPS: Final = 14
_T = TypeVar("_T")


@dataclass
class Acknowledged:
    """A delivery that somebody was told of."""

    message: MessageId
    content: bytes
    held: bool


@dataclass
class Mailbox:
    """An account that was made, and what it must hold."""

    address: Address
    home: Region
    status: AccountStatus = AccountStatus.ACTIVE
    held: bool = False
    moved: bool = False
    # A change that failed may have taken effect, or not: until somebody says it again, both are right.
    unsure: bool = False
    acknowledged: list[Acknowledged] = field(default_factory=list)
    attempted: set[bytes] = field(default_factory=set)


def _writes(request: Request) -> bool:
    return request.method in ("PUT", "DELETE")


class Fence(RuleBasedStateMachine):
    """One example, on buckets of its own."""

    settle: ClassVar[Settle]

    def __init__(self) -> None:
        super().__init__()
        self.mailboxes: list[Mailbox] = []
        self.numbers: Final = itertools.count()
        self.stack: Final = AsyncExitStack()
        self.runner: Final = asyncio.Runner()
        self.earth: Final = self.runner.run(self._open(type(self).settle))
        # Patience is what a failing request costs: what is to fail has little of it.
        self.hasty: Final = self.runner.run(self._hasty())
        self.ahead = timedelta()  # how far the processes' clocks have been put forward

    boxes = Bundle("boxes")

    async def _open(self, settle: Settle) -> World:
        return await self.stack.enter_async_context(world(settle, REGIONS, deadline=10))

    async def _hasty(self) -> Ground:
        places = [replace(place.settings, deadline_seconds=0.4) for place in self.earth.places.values()]
        return await self.stack.enter_async_context(await Ground.open(places, DEPLOYMENT))

    # What happens.

    @rule(target=boxes, home=st.sampled_from(REGIONS))
    def make(self, home: Region) -> Mailbox:
        box = Mailbox(self._address(), home)
        self.runner.run(self._create(self._directory(), box))
        self.mailboxes.append(box)
        return box

    @rule(box=boxes, sender=st.sampled_from(REGIONS))
    def deliver(self, box: Mailbox, sender: Region) -> None:
        told = self._run(self._deliver(self._directory(sender), box))
        assert told is None or box.unsure or box.status is not AccountStatus.ACTIVE

    @rule(box=boxes)
    def suspend(self, box: Mailbox) -> None:
        self.runner.run(self._set(self._directory(), box, AccountStatus.SUSPENDED))

    @rule(box=boxes)
    def resume(self, box: Mailbox) -> None:
        self.runner.run(self._set(self._directory(), box, AccountStatus.ACTIVE))

    @rule(box=boxes)
    def close(self, box: Mailbox) -> None:
        self.runner.run(self._set(self._directory(), box, AccountStatus.CLOSED))

    @rule(box=boxes)
    def rotate(self, box: Mailbox) -> None:
        self.runner.run(self._directory().rotate(box.address))

    @rule(box=boxes, held=st.booleans())
    def hold(self, box: Mailbox, held: bool) -> None:
        self.runner.run(self._hold(self._directory(), box, held))

    @rule(box=boxes, to=st.sampled_from(REGIONS))
    def move(self, box: Mailbox, to: Region) -> None:
        if box.home != to:
            self.runner.run(self._move(box, to, self.earth.ground))

    @rule(
        box=boxes,
        to=st.sampled_from(REGIONS),
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 25),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
        busy=st.booleans(),
    )
    def move_and_fail(
        self, box: Mailbox, to: Region, failing: Region, nth: int, moment: Moment, dies: bool, busy: bool
    ) -> None:
        """... with mail coming in meanwhile; when the first one's claim is over, somebody else ends it."""
        if box.home == to:
            return
        told = self._run(self._failing(self._move(box, to, self.hasty), failing, nth, moment, dies))
        if isinstance(told, BaseException):
            if busy:
                for sender in REGIONS:
                    self._run(self._deliver(self._directory(sender), box))
            self.ahead += CLAIM * 2
            self.runner.run(self._move(box, to, self.earth.ground))

    @rule()
    def mend(self) -> None:
        self.runner.run(self._directory().book.mend())

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
        box = Mailbox(self._address(), home)
        first = self._create(self._directory(ground=self.hasty), box)
        if isinstance(self._run(self._failing(first, failing, nth, moment, dies)), BaseException):
            retried = self._run(self._create(self._directory(minutes=2), box))
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
        first = self._deliver(self._directory(sender, ground=self.hasty), box)
        self._run(self._failing(first, box.home, 1, moment, dies))
        if retry:
            self._run(self._deliver(self._directory(sender), box))

    @rule(
        box=boxes,
        change=st.sampled_from(["suspend", "resume", "close", "rotate", "hold"]),
        failing=st.sampled_from(REGIONS),
        nth=st.integers(1, 5),
        moment=st.sampled_from(Moment),
        dies=st.booleans(),
    )
    def change_and_fail(
        self, box: Mailbox, change: str, failing: Region, nth: int, moment: Moment, dies: bool
    ) -> None:
        directory = self._directory(ground=self.hasty)
        match change:
            case "suspend":
                work = self._set(directory, box, AccountStatus.SUSPENDED)
            case "resume":
                work = self._set(directory, box, AccountStatus.ACTIVE)
            case "close":
                work = self._set(directory, box, AccountStatus.CLOSED)
            case "hold":
                work = self._hold(directory, box, not box.held)
            case _:
                work = self._rotate(directory, box)
        if isinstance(self._run(self._failing(work, failing, nth, moment, dies)), BaseException):
            box.unsure = True

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

    def _address(self) -> Address:
        return Address.parse(f"u{next(self.numbers)}@example.test")

    def _run(self, work: Awaitable[_T]) -> _T | StorageError:
        """What a caller is told: the result, or the error."""

        async def told() -> _T | StorageError:
            try:
                return await work
            except StorageError as error:
                return error

        return self.runner.run(told())

    def _directory(
        self, seen_from: Region = IRELAND, *, ground: Ground | None = None, minutes: int = 0
    ) -> Directory:
        """As a fresh process in a region has it; its clock may be ahead."""
        return Directory(
            ground or self.earth.ground,
            DIRECTORY_KEY,
            REGISTRAR,
            seen_from.code,
            clock=lambda: utc_now() + timedelta(minutes=minutes),
        )

    async def _create(self, directory: Directory, box: Mailbox) -> None:
        await directory.create(box.address, box.home.code)

    async def _set(self, directory: Directory, box: Mailbox, status: AccountStatus) -> None:
        if status is AccountStatus.CLOSED:
            await self.earth.close(box.address, directory)
        else:
            await (directory.resume if status is AccountStatus.ACTIVE else directory.suspend)(box.address)
        box.status, box.unsure = status, False

    async def _hold(self, directory: Directory, box: Mailbox, held: bool) -> None:
        await directory.set_legal_hold(box.address, held)
        box.held = held

    async def _rotate(self, directory: Directory, box: Mailbox) -> None:
        await directory.rotate(box.address)

    async def _deliver(self, directory: Directory, box: Mailbox) -> None:
        """As an ingress process does it."""
        content = f"message {next(self.numbers)} to {box.address}\r\n".encode()
        box.attempted.add(content)
        located = await directory.locate(box.address)
        message = await append(directory.ground.home(located), located, envelope(), content)
        box.acknowledged.append(Acknowledged(message, content, located.legal_hold))

    async def _move(self, box: Mailbox, to: Region, ground: Ground) -> None:
        """As a process does it that was started just now, if the move is not over already."""
        directory = self._directory(ground=ground)
        with ExitStack() as stack:
            sites = {}
            for store in ground.stores():
                versions = stack.enter_context(Versions(store))
                register = HoldRegister(Vault(store), versions, Ledger(), PSEUDONYMS, self._now)
                sites[store.region.code] = Site(store, register)

            async def site(code: RegionCode) -> Site:
                return sites[code]

            async def nothing_open(_: Located) -> bool:
                return False

            relocation = Relocation(directory, list(sites), site, nothing_open, settle=0)
            try:
                await relocation.move(box.address, to.code, "a test", "ada")
            except MoveRefused:
                # The first one got to the end, and only its last word was lost.
                assert (await directory.home_now(box.address)).home == to
        box.home, box.moved = to, True

    def _now(self) -> datetime:
        return utc_now() + self.ahead

    async def _failing(
        self, work: Coroutine[Any, Any, _T], region: Region, nth: int, moment: Moment, dies: bool
    ) -> _T | BaseException:
        """Let the work's nth write in a region, and all that follow there, fail; or let the worker die
        at it, after which nothing of his reaches any region."""
        if dies:
            return await self._dying(work, region, nth, moment)
        proxy = self.earth.place(region).proxy
        count = itertools.count(1)
        proxy.fail(
            Fault.RESET, moment, when=lambda request: _writes(request) and next(count) >= nth, times=1_000_000
        )
        try:
            return await work
        except StorageError as error:
            return error
        finally:
            proxy.heal()

    async def _dying(
        self, work: Coroutine[Any, Any, _T], region: Region, nth: int, moment: Moment
    ) -> _T | BaseException:
        before = asyncio.all_tasks()
        with living(self.earth.place(region).settings.bucket, nth, moment):
            try:
                return await work
            except Death as death:
                return death
            finally:
                left = {task for task in asyncio.all_tasks() - before if "FaultProxy" not in repr(task)}
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    async def _everything_at_home(self) -> None:
        registrar = self.earth.store(IRELAND).mail
        homes = await Homes.read(registrar, DirectoryKey(DIRECTORY_KEY))
        assert not homes.corrupt
        found = {
            region.code: [listed.key async for listed in self.earth.store(region).mail.list("")]
            for region in REGIONS
        }
        moving = {key for keys in found.values() for key in keys if key.startswith("moves/")}
        for code, keys in found.items():
            for key in keys:
                account = place_of(key).account
                if account is not None and homes(account) != code:
                    assert move_key(account) in moving, f"{key} in {code}, at home in {homes(account)}"

    async def _nothing_is_lost(self) -> None:
        book = self._directory().book
        assert await book.mend() == 0
        await self._everything_at_home()
        assert all(each.agrees and not each.copied for each in await book.sync())
        for box in self.mailboxes:
            located, *copies = [await self._directory(region).find(box.address) for region in REGIONS]
            assert all(copy == located for copy in copies)
            assert located.home == box.home
            assert box.unsure or located.status is box.status
            home = self.earth.ground.home(located)
            found = await opened(home, located)
            contents = [content for _, content in found.values()]
            assert len(contents) == len(set(contents))
            assert set(contents) <= box.attempted
            for each in box.acknowledged:
                key = message_key(located.account, each.message)
                assert found[key][1] == each.content
                if not box.moved:  # what a move does with locks is `tests/holds`' to say
                    assert await is_locked(home, key) is each.held


async def is_locked(home: RegionStore, key: str) -> bool:
    """Whether the bucket's own lock is on the object."""
    client = s3_client(home.settings)

    def ask() -> bool:
        head = client.head_object(Bucket=home.settings.bucket, Key=key)
        return head.get("ObjectLockLegalHoldStatus") == "ON"

    return await asyncio.to_thread(ask)


def test_no_object_is_ever_found_outside_its_home(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys")

    def settle(kind: EngineKind, region: Region) -> RegionSettings:
        return settings_on(engines.of(kind, region), region, keys)

    run_state_machine_as_test(
        type("FenceHere", (Fence,), {"settle": staticmethod(settle)}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            # No shrinking: it would run a failure, which takes seconds, hundreds of times.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
