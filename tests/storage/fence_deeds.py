"""What the fence's state machine does to mailboxes: each deed by a process that was started just now.

The deeds know what their makers were told, and keep it in `Mailbox`; what must hold is in
`test_fence_machine`.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from policy.address import Address
from policy.geography import Region, RegionCode
from policy.hold import DELAY_HOLD, HoldId, MailboxScope
from storage.directory import Directory
from storage.errors import NotFound, StorageError
from storage.holds import Held, HoldRegister, Terms
from storage.identity import MessageId, utc_now
from storage.keeping import HoldKeeper
from storage.located import AccountStatus, Located
from storage.mailbox import append
from storage.placing import place_on_address, scoped
from storage.region import Ground
from storage.relocation import MoveRefused, Relocation, Site
from tests.engines import DEPLOYMENT, IRELAND, Settle
from tests.faults import Fault, Moment, Request
from tests.holds.dying import dying
from tests.holds.people import LITIGATION, cleared
from tests.holds.ward import sites_of
from tests.storage.grounds import DIRECTORY_KEY, REGISTRAR, World, envelope, world

_T = TypeVar("_T")


@dataclass
class Acknowledged:
    """A delivery that somebody was told of."""

    message: MessageId
    content: bytes
    locked: bool


@dataclass
class Mailbox:
    """An account that was made, and what it must hold."""

    address: Address
    home: Region
    status: AccountStatus = AccountStatus.ACTIVE
    moved: bool = False
    # A change that failed may have taken effect, or not: until somebody says it again, both are right.
    unsure: bool = False
    # The latest hold on it, and whether that keeps it; None where whoever knows is dead.
    hold: HoldId | None = None
    held: bool | None = False
    acknowledged: list[Acknowledged] = field(default_factory=list)
    attempted: set[bytes] = field(default_factory=set)


class Deeds:
    """Two regions, and everybody who does something there."""

    def __init__(self, earth: World, hasty: Ground) -> None:
        self.earth: Final = earth
        # Patience is what a failing request costs: what is to fail has little of it.
        self.hasty: Final = hasty
        self.ahead = timedelta()  # how far the processes' clocks have been put forward
        self._numbers: Final = itertools.count()

    @classmethod
    @asynccontextmanager
    async def open(cls, settle: Settle, regions: tuple[Region, ...]) -> AsyncIterator[Deeds]:
        async with world(settle, regions, deadline=10) as earth:
            places = [replace(place.settings, deadline_seconds=0.4) for place in earth.places.values()]
            async with await Ground.open(places, DEPLOYMENT) as hasty:
                yield cls(earth, hasty)

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def directory(
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

    def new_mailbox(self, home: Region) -> Mailbox:
        return Mailbox(Address.parse(f"u{next(self._numbers)}@example.test"), home)

    async def create(self, directory: Directory, box: Mailbox) -> None:
        await directory.create(box.address, box.home.code)

    async def deliver(self, directory: Directory, box: Mailbox) -> None:
        """As an ingress process does it."""
        content = f"message {next(self._numbers)} to {box.address}\r\n".encode()
        box.attempted.add(content)
        located = await directory.locate(box.address)
        message = await append(directory.ground.home(located), located, envelope(), content)
        box.acknowledged.append(Acknowledged(message, content, located.legal_hold))

    async def set_status(self, directory: Directory, box: Mailbox, status: AccountStatus) -> None:
        """Raises Held for a closure under hold."""
        match status:
            case AccountStatus.CLOSED:
                await self.earth.close(box.address, directory, self.now)
            case AccountStatus.ACTIVE:
                await directory.resume(box.address)
            case AccountStatus.SUSPENDED:
                await directory.suspend(box.address)
        box.status, box.unsure = status, False

    async def rotate(self, directory: Directory, box: Mailbox) -> None:
        await directory.rotate(box.address)

    async def place(self, box: Mailbox, ground: Ground) -> None:
        """A custodian's hold, in the register, and then the pass behind it. What somebody else began is
        completed under its reference."""
        with sites_of(ground, self.now) as sites:
            directory = self.directory(ground=ground)
            if box.hold is None or await self._has_ended(box, sites[box.home.code].register):
                box.hold = HoldId(secrets.token_hex(16))
            box.held = None
            hold = await place_on_address(
                directory,
                box.address,
                scoped(Terms(MailboxScope("", box.address), LITIGATION)),
                lambda code: sites[code].register,
                lambda code: cleared("nora", region=code),
                reference=box.hold,
            )
            box.held = True  # told so: from here on, whatever becomes of the bucket's own lock
            site = sites[hold.region]
            await HoldKeeper(site.store, site.register, directory).keep_one(hold)

    async def release(self, box: Mailbox, ground: Ground) -> None:
        """Two custodians let it go; what one began is completed. Then the grace period passes."""
        assert box.hold is not None
        with sites_of(ground, self.now) as sites:
            site = sites[box.home.code]
            register, code = site.register, site.store.region.code
            box.held = None
            hold = await register.get(box.hold)
            if hold.release is None:
                if hold.proposal is None:
                    await register.propose_end(box.hold, cleared("nora", region=code), "settled")
                hold = await register.confirm_end(box.hold, cleared("liam", region=code))
            self.ahead += DELAY_HOLD
            box.held = False
            directory = self.directory(ground=ground)
            await HoldKeeper(site.store, site.register, directory).keep_one(hold)

    async def keep(self) -> None:
        """The pass behind the holds, in every region, when all that was told has been noticed."""
        self.ahead += timedelta(minutes=2)
        with sites_of(self.earth.ground, self.now) as sites:
            for site in sites.values():
                await HoldKeeper(site.store, site.register, self.directory()).keep()

    async def _has_ended(self, box: Mailbox, register: HoldRegister) -> bool:
        assert box.hold is not None
        try:
            return (await register.get(box.hold)).release is not None
        except NotFound:
            return False

    async def move(self, box: Mailbox, to: Region, ground: Ground) -> None:
        """If the move is not over already. Raises Held, and then the mailbox has not moved."""
        directory = self.directory(ground=ground)
        with sites_of(ground, self.now) as sites:

            async def site(code: RegionCode) -> Site:
                return sites[code]

            async def nothing_open(_: Located) -> bool:
                return False

            relocation = Relocation(directory, list(sites), site, nothing_open, settle=0)
            try:
                await relocation.move(box.address, to.code, "a test", "ada")
            except Held:
                assert (await directory.home_now(box.address)).home == box.home
                raise
            except MoveRefused:
                # The first one got to the end, and only its last word was lost.
                assert (await directory.home_now(box.address)).home == to
        box.home, box.moved = to, True

    async def find_home(self, box: Mailbox) -> None:
        """A mover that died may have come past the flip, or not."""
        home = (await self.directory().home_now(box.address)).home
        box.moved |= home != box.home
        box.home = home

    async def failing(
        self, work: Coroutine[Any, Any, _T], region: Region, nth: int, moment: Moment, dies: bool
    ) -> _T | BaseException:
        """Let the work's nth write in a region, and all that follow there, fail; or let the worker die
        at it, after which nothing of his reaches any region."""
        place = self.earth.place(region)
        count = itertools.count(1)
        if not dies:
            place.proxy.fail(
                Fault.RESET,
                moment,
                when=lambda request: _writes(request) and next(count) >= nth,
                times=1_000_000,
            )
        try:
            return await (dying(work, place.settings.bucket, nth, moment) if dies else work)
        except StorageError as error:
            return error
        finally:
            place.proxy.heal()


def _writes(request: Request) -> bool:
    return request.method in ("PUT", "DELETE")


async def told(work: Coroutine[Any, Any, _T]) -> _T | StorageError:
    """What a caller is told: the result, or the error."""
    try:
        return await work
    except StorageError as error:
        return error
