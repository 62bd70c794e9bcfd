"""Folders when the mailbox moves to another region: what comes along, and what waits meanwhile."""

from __future__ import annotations

import pytest

from storage.folders import INBOX, FlagChange, FlagMode, Folders
from storage.located import AccountStatus
from storage.moving import Move, MoveRecord, Moving, Phase
from tests.engines import EngineKind, Settle
from tests.holds.movers import REASON, Border, border
from tests.holds.people import AOIFE


async def opened(it: Border, site: str) -> Folders:
    here = it.ireland if site == "ireland" else it.germany
    located = await it.world.directory.find(AOIFE)
    return await Folders.open(here.store, located, here.register, lambda: it.now)


def a_move(it: Border) -> Move:
    return Move(
        account=it.account,
        address=AOIFE,
        leaves=it.ireland.store.region.code,
        goes_to=it.germany.store.region.code,
        reason=REASON,
        operator="ada",
        begun=it.now,
        status=AccountStatus.ACTIVE,
        phase=Phase.COPYING,
        by="another process",
        until=it.now,
    )


async def test_folders_come_along(settle: Settle) -> None:
    async with border(settle, EngineKind.MOTO) as it:
        await it.deliver(4)
        folders = await opened(it, "ireland")
        inbox, oak = await folders.folder(INBOX), await folders.folder((await folders.create("Oak")).name)
        await inbox.refresh()
        await inbox.store([2, 4], FlagChange(FlagMode.ADD, frozenset({"\\Seen", "mine"})))
        await inbox.move([4], oak)
        names = await folders.names()

        await it.move()

        there = await opened(it, "germany")
        assert await there.names() == names
        for name, uids in ((INBOX, [1, 2, 3]), ("Oak", [1])):
            folder = await there.folder(name)
            view = await folder.refresh()
            assert list(view.uids) == uids
            headers = {uid: block async for uid, block in folder.headers(view, view.uids)}
            contents = dict([one async for one in folder.contents(view, view.uids)])
            assert list(headers) == list(contents) == uids
        (filed,) = await folder.entries(view, [1])
        assert filed.flags == {"\\Seen", "mine"}
        left = [listed.key async for listed in it.ireland.store.mail.list("folders/")]
        assert left == []


async def test_nothing_changes_while_the_mailbox_is_frozen(settle: Settle) -> None:
    async with border(settle, EngineKind.MOTO) as it:
        await it.deliver(2)
        folders = await opened(it, "ireland")
        inbox = await folders.folder(INBOX)
        view = await inbox.refresh()
        record = await MoveRecord.open(it.ireland.register.vault, a_move(it), lambda: it.now)
        await record.renew(Phase.FROZEN)
        for change in (
            inbox.store([1], FlagChange(FlagMode.ADD, frozenset({"x"}))),
            inbox.append(b"Subject: x\r\n\r\n"),
            inbox.move([1], await folders.folder("Trash")),
            inbox.copy([1], await folders.folder("Trash")),
            folders.create("New"),
        ):
            with pytest.raises(Moving):
                await change
        assert len([one async for one in inbox.contents(view, view.uids)]) == 2  # reading goes on
