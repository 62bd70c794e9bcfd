"""A copy of the directory that is behind must never send mail to a home that a mailbox has left."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from policy.geography import RegionCode
from storage.errors import AccountSuspended, Unavailable
from storage.holds import HoldRegister
from storage.located import Located
from storage.mailbox import append
from storage.moving import CLAIM
from storage.relocation import Relocation, Site
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import GERMANY, IRELAND, VIRGINIA, Settle
from tests.holds.ward import PSEUDONYMS, Ledger
from tests.storage.grounds import AOIFE, NOW, World, envelope, world


async def move(earth: World, *, later: int = 0) -> None:
    """Aoife's mailbox from Ireland to Germany; `later` claims of a move have run out."""
    with ExitStack() as stack:
        sites = {}
        for region in (IRELAND, GERMANY):
            store = earth.store(region)
            versions = stack.enter_context(Versions(store))
            register = HoldRegister(
                Vault(store), versions, Ledger(), PSEUDONYMS, lambda: NOW + later * 2 * CLAIM
            )
            sites[region.code] = Site(store, register)

        async def site(code: RegionCode) -> Site:
            return sites[code]

        async def nothing_open(_: Located) -> bool:
            return False

        relocation = Relocation(earth.directory, list(sites), site, nothing_open, settle=0)
        await relocation.move(AOIFE, GERMANY.code, "a test", "ada")


async def test_no_move_while_a_region_cannot_be_told(settle: Settle) -> None:
    """Virginia's copy says that the mailbox is at home in Ireland and takes mail. While Virginia cannot be
    told otherwise, an ingress process there would go on delivering to Ireland: nothing is moved."""
    async with world(settle) as earth:
        account = await earth.directory.create(AOIFE, IRELAND.code)
        earth.place(VIRGINIA).goes_down()
        with pytest.raises(Unavailable):
            await move(earth)
        earth.place(VIRGINIA).comes_back()

        virginia = earth.seen_from(VIRGINIA)
        located = await virginia.locate(AOIFE)
        await append(earth.ground.home(located), located, envelope(), b"in between\r\n")
        await move(earth, later=1)
        assert (await virginia.find(AOIFE)).home == GERMANY
        ireland = [listed.key async for listed in earth.store(IRELAND).mail.list(f"mail/{account.id}/")]
        germany = [listed.key async for listed in earth.store(GERMANY).mail.list(f"mail/{account.id}/")]
        assert (len(ireland), len(germany)) == (0, 1)


async def test_a_region_that_misses_the_flip_alone_refuses_for_now(
    settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told of the freeze: until it hears of the new home it tells senders to try again."""
    async with world(settle) as earth:
        await earth.directory.create(AOIFE, IRELAND.code)
        directory = type(earth.directory)
        rehome = directory.rehome

        async def unheard_in_virginia(self: object, *arguments: Any, **named: Any) -> None:
            earth.place(VIRGINIA).goes_down()
            await rehome(earth.directory, *arguments, **named)
            earth.place(VIRGINIA).comes_back()

        monkeypatch.setattr(directory, "rehome", unheard_in_virginia)
        await move(earth)
        with pytest.raises(AccountSuspended):
            await earth.seen_from(VIRGINIA).locate(AOIFE)
        assert await earth.directory.book.mend() == 0
        assert (await earth.seen_from(VIRGINIA).locate(AOIFE)).home == GERMANY
