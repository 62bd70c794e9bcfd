"""COPY and APPEND whose end is uncertain: all of it is in the folder, or none (RFC 3501 6.3.11, 6.4.7), and
nothing that a folder names is ever taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final, final

import pytest

from storage.errors import Conflict, Unavailable
from storage.folders import INBOX, Folder, Folders
from storage.holds import HoldRegister
from storage.identity import MessageId
from storage.mailbox import message_key
from storage.objects import ETag
from storage.region import RegionStore
from storage.tombstones import hidden
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import DEPLOYMENT
from tests.holds.ward import MAIL, PSEUDONYMS, Ward, ward
from tests.storage.test_folders_race import a_process

Swap = Callable[[str, bytes, ETag | None], Coroutine[Any, Any, ETag]]

SWAP: Final = "compare_and_swap"


@final
class Uncertain:
    """A process of its own, whose next swap of a folder's head ends as `ending` has it."""

    def __init__(self, folders: Folders, store: RegionStore) -> None:
        self.folders: Final = folders
        self.mail: Final = store.mail
        self._swap: Final[Swap] = store.mail.compare_and_swap

    def next_head(self, ending: Callable[[Callable[[], Awaitable[ETag]]], Awaitable[ETag]]) -> None:
        async def swap(key: str, body: bytes, expected: ETag | None) -> ETag:
            if not key.endswith("/head"):
                return await self._swap(key, body, expected)
            setattr(self.mail, SWAP, self._swap)
            return await ending(lambda: self._swap(key, body, expected))

        setattr(self.mail, SWAP, swap)


@pytest.fixture
async def it(shared_region: RegionStore) -> AsyncIterator[Ward]:
    async with ward(shared_region) as made:
        yield made


@pytest.fixture
async def process(it: Ward) -> AsyncIterator[Uncertain]:
    store = await RegionStore.open(it.store.settings, DEPLOYMENT)
    with Versions(store) as versions:
        register = HoldRegister(Vault(store), versions, it.ledger, PSEUDONYMS, lambda: it.now)
        yield Uncertain(await Folders.open(store, it.located, register, lambda: it.now), store)


async def filed(it: Ward, stack: AsyncExitStack, name: str) -> list[MessageId]:
    """What another process finds in a folder; each opens, and none is hidden."""
    folder = await (await a_process(it, stack)).folder(name)
    view = await folder.refresh()
    entries = await folder.entries(view, view.uids)
    assert [content async for _, content in folder.contents(view, view.uids)] == [MAIL] * view.count
    messages = [entry.message for entry in entries]
    assert not set(messages) & {one async for one in hidden(it.store.mail, it.located.account)}
    return messages


async def shown(it: Ward) -> set[MessageId]:
    """What lies there and is not hidden."""
    return await it.present() - {one async for one in hidden(it.store.mail, it.located.account)}


async def a_copy(it: Ward, process: Uncertain) -> tuple[Folder, Folder, list[MessageId]]:
    sent = await it.deliver(3)
    inbox, archive = await process.folders.folder(INBOX), await process.folders.folder("Archive")
    await inbox.refresh()
    return inbox, archive, sent


async def test_what_a_cancelled_copy_has_entered_stays(it: Ward, process: Uncertain) -> None:
    inbox, archive, sent = await a_copy(it, process)
    done = asyncio.Event()

    async def cancelled(swap: Callable[[], Awaitable[ETag]]) -> ETag:
        await swap()
        done.set()
        await asyncio.Event().wait()  # its answer is on the way when the session ends
        raise AssertionError("nobody sets it")

    process.next_head(cancelled)
    copying = asyncio.create_task(inbox.copy([1, 2, 3], archive))
    await done.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    async with AsyncExitStack() as stack:
        there = await filed(it, stack, "Archive")
    assert len(there) == 3
    assert await shown(it) == {*there, *sent}


async def test_a_copy_whose_answer_was_lost_has_succeeded(it: Ward, process: Uncertain) -> None:
    inbox, archive, _ = await a_copy(it, process)

    async def lost(swap: Callable[[], Awaitable[ETag]]) -> ETag:
        await swap()
        raise Unavailable("no answer")

    process.next_head(lost)
    assert await inbox.copy([1, 3], archive) == ((1, 1), (3, 2))
    process.next_head(lost)
    assert await archive.append(MAIL) == 3
    async with AsyncExitStack() as stack:
        assert len(await filed(it, stack, "Archive")) == 3


async def test_a_copy_that_comes_to_nothing_leaves_nothing(it: Ward, process: Uncertain) -> None:
    """Not even where the swap that seemed lost arrives at last."""
    inbox, archive, sent = await a_copy(it, process)
    late: list[Callable[[], Awaitable[ETag]]] = []

    async def delayed(swap: Callable[[], Awaitable[ETag]]) -> ETag:
        late.append(swap)
        raise Unavailable("no answer")

    process.next_head(delayed)
    with pytest.raises(Unavailable):
        await inbox.copy([1, 2], archive)
    process.next_head(delayed)
    with pytest.raises(Unavailable):
        await archive.append(MAIL)
    for swap in late:
        with pytest.raises(Conflict):
            await swap()
    async with AsyncExitStack() as stack:
        assert await filed(it, stack, "Archive") == []
        assert await filed(it, stack, INBOX) == sent
    assert await shown(it) == set(sent)


async def test_what_another_process_has_entered_of_a_copy_that_fails_goes_too(
    it: Ward, process: Uncertain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New mail is listed by whoever looks at an inbox: it finds copies of new mail, and files them."""
    inbox, archive, sent = await a_copy(it, process)
    read, put = process.mail.get_range, process.mail.put_if_absent
    copied = asyncio.Semaphore(0)

    async def counting(key: str, body: bytes, *, legal_hold: bool = False, fresh_key: bool = False) -> ETag:
        etag = await put(key, body, legal_hold=legal_hold, fresh_key=fresh_key)
        if key.startswith("mail/"):
            copied.release()
        return etag

    async with AsyncExitStack() as stack:
        another = await a_process(it, stack)

        async def failing(key: str, start: int, length: int) -> bytes:
            if key == message_key(it.located.account, sent[2]):
                for _ in range(2):  # the copies of the other two lie there
                    await copied.acquire()
                await (await another.folder(INBOX)).refresh()
                assert (await (await another.folder("Archive")).refresh()).count == 2
                raise Unavailable("no answer")
            return await read(key, start, length)

        monkeypatch.setattr(process.mail, "get_range", failing)
        monkeypatch.setattr(process.mail, "put_if_absent", counting)
        with pytest.raises(Unavailable):
            await inbox.copy([1, 2, 3], archive)
        assert await filed(it, stack, "Archive") == []
        assert await filed(it, stack, INBOX) == sent
        assert await shown(it) == set(sent)


@pytest.mark.parametrize("again", [False, True], ids=["a look", "another try"])
async def test_a_move_that_was_begun_is_ended_by_whoever_comes_next(
    it: Ward, process: Uncertain, again: bool
) -> None:
    """RFC 6851 3.3: nothing is left half moved. The same session comes next, where nobody else does."""
    inbox, archive, sent = await a_copy(it, process)

    async def announced(swap: Callable[[], Awaitable[ETag]]) -> ETag:
        etag = await swap()
        process.next_head(lost)  # that of the target
        return etag

    async def lost(swap: Callable[[], Awaitable[ETag]]) -> ETag:
        raise Unavailable("no answer")

    process.next_head(announced)
    with pytest.raises(Unavailable):
        await inbox.move([1, 2], archive)
    if again:
        assert await inbox.move([1, 2], archive) == ()
        assert (await archive.refresh()).count == 2
    assert list((await inbox.refresh()).uids) == [3]
    async with AsyncExitStack() as stack:
        assert await filed(it, stack, "Archive") == sent[:2]
        assert await filed(it, stack, INBOX) == sent[2:]
