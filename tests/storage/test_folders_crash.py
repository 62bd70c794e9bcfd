"""A process dies before or after each of its writes, and the next one opens the folders.

For every write that an operation makes, one run dies just before it and one just after it has taken effect.
Then the account is opened anew, and everything must be as before the operation or as after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage.folders import INBOX, FlagChange, FlagMode, Folders
from storage.holds import HoldRegister
from storage.identity import MessageId
from storage.region import RegionStore
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import DEPLOYMENT, EngineKind
from tests.holds.ward import PSEUDONYMS, Ward, ward

MOST_WRITES = 60
READS = ("the versions", "list from")  # what `Versions` asks that changes nothing


class Died(Exception):
    """The process is no more. Nothing of ours catches it."""


class Death:
    """Comes at the write with this number, before it or after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        self.came = False

    def before(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def dying(*given: Any, **named: Any) -> Any:
            if self.came:
                raise Died
            if str(given[0]).startswith(READS):
                return await write(*given, **named)
            self.left -= 1
            mine = self.left == 0
            if mine and not self.after:
                self.came = True
                raise Died
            result = await write(*given, **named)
            if mine:
                self.came = True
                raise Died
            return result

        return dying


@asynccontextmanager
async def mortal(it: Ward, death: Death) -> AsyncIterator[Folders]:
    store = await RegionStore.open(it.store.settings, DEPLOYMENT)
    with Versions(store) as versions:
        register = HoldRegister(Vault(store), versions, it.ledger, PSEUDONYMS, lambda: it.now)
        folders = await Folders.open(store, it.located, register, lambda: it.now)
        for name in ("put", "put_if_absent", "compare_and_swap", "delete"):
            setattr(store.mail, name, death.before(getattr(store.mail, name)))
        versions.ask = death.before(versions.ask)  # type: ignore[method-assign,assignment]
        yield folders


async def contents_by_folder(it: Ward) -> dict[str, list[tuple[MessageId, frozenset[str]]]]:
    """As the next process finds it, once it has opened every folder. Every message opens."""
    folders = await Folders.open(it.store, it.located, it.another_register(), lambda: it.now)
    await (await folders.folder(INBOX)).refresh()
    found = {}
    opened = [await folders.folder(name.name) for name in await folders.names()]
    for folder in opened:
        view = await folder.refresh()
        entries = await folder.entries(view, view.uids)
        assert len(entries) == view.count
        assert view.unseen == sum("\\Seen" not in entry.flags for entry in entries)
        headers = {uid: block async for uid, block in folder.headers(view, view.uids)}
        contents = dict([one async for one in folder.contents(view, view.uids)])
        assert list(headers) == list(contents) == list(view.uids)
        assert all(contents[uid].startswith(headers[uid]) for uid in contents)
        found[folder.name] = [(entry.message, entry.flags) for entry in entries]
    messages = [message for several in found.values() for message, _ in several]
    assert len(messages) == len(set(messages)), "a message stands in two folders"
    return found


Operation = Callable[[Folders], Awaitable[object]]


async def takes_in(folders: Folders) -> None:
    await (await folders.folder(INBOX)).refresh()


async def appends(folders: Folders) -> None:
    await (await folders.folder("Sent")).append(b"Subject: mine\r\n\r\n", frozenset({"\\Seen"}))


async def copies(folders: Folders) -> None:
    await (await folders.folder("Junk")).copy([1, 2], await folders.folder("Archive"))


async def moves(folders: Folders) -> None:
    await (await folders.folder("Junk")).move([1, 2], await folders.folder("Archive"))


async def expunges(folders: Folders) -> None:
    junk = await folders.folder("Junk")
    await junk.store([1, 2], FlagChange(FlagMode.ADD, frozenset({"\\Deleted"})))
    await junk.expunge()


async def creates(folders: Folders) -> None:
    await folders.create("New/Folder")


async def deletes(folders: Folders) -> None:
    await folders.delete("Junk")


@pytest.fixture
def region(shared_regions: Callable[[EngineKind], RegionStore]) -> RegionStore:
    """On SeaweedFS alone: the order of the writes is the same on every engine."""
    return shared_regions(EngineKind.SEAWEEDFS)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("operation", [takes_in, appends, copies, moves, expunges, creates, deletes])
async def test_whoever_comes_next_finds_it_whole(
    region: RegionStore, operation: Operation, after: bool
) -> None:
    for at in range(1, MOST_WRITES):
        async with ward(region) as it:
            filed = await it.deliver(3)
            folders = await Folders.open(it.store, it.located, it.register, lambda: it.now)
            inbox = await folders.folder(INBOX)
            await inbox.refresh()
            await inbox.move([1, 2, 3], await folders.folder("Junk"))
            new = await it.deliver(2)
            death = Death(at, after=after)
            async with mortal(it, death) as dying:
                if await _survives(operation, dying):
                    assert at > 2, "the operation writes nothing"
                    return
            found = await contents_by_folder(it)
            assert [message for message, _ in found[INBOX]] == new
            _is_before_or_after(operation, found, filed)
            assert await contents_by_folder(it) == found, "and it stays so"
    raise AssertionError("the operation never ends")


async def _survives(operation: Operation, folders: Folders) -> bool:
    try:
        await operation(folders)
    except Died:
        return False
    return True


def _is_before_or_after(
    operation: Operation,
    found: dict[str, list[tuple[MessageId, frozenset[str]]]],
    filed: list[MessageId],
) -> None:
    junk = [message for message, _ in found.get("Junk", [])]
    archive = [message for message, _ in found["Archive"]]
    if operation is moves:
        assert (junk, archive) in ((filed, []), (filed[2:], filed[:2]))
    elif operation is copies:
        # A copy that its client was never told of may have come through, in part.
        assert junk == filed
        assert {one.received_at for one in archive} <= {one.received_at for one in filed[:2]}
    elif operation is expunges:
        assert junk in (filed, filed[2:])
    elif operation is deletes:
        assert junk == (filed if "Junk" in found else [])
    else:
        assert (junk, archive) == (filed, [])
        assert found["Sent"] in ([], [(found["Sent"][-1][0], frozenset({"\\Seen"}))] if found["Sent"] else [])
