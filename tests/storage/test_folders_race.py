"""Several sessions on one account at once, each with connections of its own: nobody's change is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from storage.folders import INBOX, FlagChange, FlagMode, Folder, Folders
from storage.holds import HoldRegister
from storage.region import RegionStore
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import DEPLOYMENT
from tests.holds.ward import PSEUDONYMS, Ward, ward

MESSAGES = 12


async def a_process(it: Ward, stack: AsyncExitStack) -> Folders:
    """As another process has it: nothing of what this one knows."""
    store = await RegionStore.open(it.store.settings, DEPLOYMENT)
    versions = stack.enter_context(Versions(store))
    register = HoldRegister(Vault(store), versions, it.ledger, PSEUDONYMS, lambda: it.now)
    return await Folders.open(store, it.located, register, lambda: it.now)


def keyword(client: int) -> FlagChange:
    return FlagChange(FlagMode.ADD, frozenset({f"client{client}"}))


@pytest.mark.parametrize("clients", [2, 8])
async def test_no_change_of_flags_is_lost(shared_region: RegionStore, clients: int) -> None:
    async with ward(shared_region) as it, AsyncExitStack() as stack:
        await it.deliver(MESSAGES)
        sessions = await asyncio.gather(*(a_process(it, stack) for _ in range(clients)))
        inboxes = await asyncio.gather(*(one.folder(INBOX) for one in sessions))

        async def work(client: int, inbox: Folder) -> int:
            await inbox.refresh()
            for uid in range(1, MESSAGES + 1):
                await inbox.store([uid], keyword(client))
            return await inbox.append(f"Subject: {client}\r\n\r\n".encode())

        appended = await asyncio.gather(*(work(*one) for one in enumerate(inboxes)))
        assert sorted(appended) == list(range(MESSAGES + 1, MESSAGES + clients + 1))
        everybody = {f"client{client}" for client in range(clients)}
        for inbox in inboxes:
            view = await inbox.refresh()
            assert list(view.uids) == list(range(1, MESSAGES + clients + 1))
            entries = await inbox.entries(view, view.uids)
            assert all(entry.flags == everybody for entry in entries[:MESSAGES])
            headers = {uid: block async for uid, block in inbox.headers(view, appended)}
            assert headers == {uid: b"Subject: %d\r\n\r\n" % at for at, uid in enumerate(appended)}


async def test_new_mail_is_taken_in_once_by_however_many_look(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it, AsyncExitStack() as stack:
        inboxes = [await (await a_process(it, stack)).folder(INBOX) for _ in range(4)]
        delivered = []
        recent: list[int] = []
        for _ in range(3):
            delivered += await it.deliver(5)
            views = await asyncio.gather(*(inbox.refresh() for inbox in inboxes))
            recent += [uid for view in views for uid in view.recent]
        assert sorted(recent) == list(range(1, 16))  # RFC 3501 2.3.2: one session is told
        view = await inboxes[0].refresh()
        assert [entry.message for entry in await inboxes[0].entries(view, view.uids)] == delivered


async def test_a_message_is_moved_once(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it, AsyncExitStack() as stack:
        await it.deliver(6)
        sessions = [await a_process(it, stack) for _ in range(3)]
        places = ("Trash", "Archive", "Junk")
        inboxes = [await one.folder(INBOX) for one in sessions]
        await asyncio.gather(*(inbox.refresh() for inbox in inboxes))
        targets = [await one.folder(place) for one, place in zip(sessions, places, strict=True)]
        moved = await asyncio.gather(
            *(inbox.move(range(1, 7), target) for inbox, target in zip(inboxes, targets, strict=True))
        )
        assert sorted(uid for pairs in moved for uid, _ in pairs) == [1, 2, 3, 4, 5, 6]
        assert (await inboxes[0].refresh()).count == 0
        messages = set()
        for target in targets:
            view = await target.refresh()
            messages |= {entry.message for entry in await target.entries(view, view.uids)}
        assert messages == await it.present()


async def test_deletion_and_flags_at_once(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it, AsyncExitStack() as stack:
        await it.deliver(10)
        first, second = [await (await a_process(it, stack)).folder(INBOX) for _ in range(2)]
        await first.refresh()
        await second.refresh()
        await first.store(range(1, 6), FlagChange(FlagMode.ADD, frozenset({"\\Deleted"})))
        gone, outcome, also_gone = await asyncio.gather(
            first.expunge(), second.store(range(1, 11), keyword(2)), second.expunge()
        )
        assert sorted((*gone, *also_gone)) == [1, 2, 3, 4, 5]
        assert {entry.uid for entry in outcome.entries} >= {6, 7, 8, 9, 10}
        view = await first.refresh()
        assert list(view.uids) == [6, 7, 8, 9, 10]
        assert all(entry.flags == {"client2"} for entry in await first.entries(view, view.uids))
