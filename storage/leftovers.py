"""All that lies in a region under an account's name: what a move takes away when the mailbox has left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import AsyncExitStack
from typing import Final

from policy.hold import HoldId
from storage.contents import stored_messages
from storage.deletion import Candidate, Deletions
from storage.holds import HoldRegister, index_key
from storage.identity import AccountId, MessageId
from storage.in_order import in_order
from storage.keyring import Keyholder
from storage.layout import ACCOUNT_FOLDERS
from storage.moving import MovedAway

# An engine takes the versions of one request one after another, and several requests at once.
_BATCH: Final = 100
_AT_ONCE: Final = 8
# What is not listed message by message. The account's own record and keys go last.
_OTHER_FOLDERS: Final = (
    *sorted(ACCOUNT_FOLDERS - {"mail", "deleted", "labels", "flags", "deleting", "accounts"}),
    "holds",
    "accounts",
)


async def clear_away(
    register: HoldRegister,
    moved: MovedAway,
    still_ours: Callable[[], Awaitable[None]],
    *,
    carried: frozenset[HoldId] = frozenset(),
    progress: Callable[[], None] = lambda: None,
) -> bool:
    """Destroy every version of everything; whether there was anything. The messages first, the keys last.

    `still_ours` is asked before each batch. Of the holds, those `carried` over go: one that came in since
    waits its turn. Raises Moving, Corrupt, Unavailable, Forbidden: the next run goes on.
    """
    found = await _destroy(register, moved, still_ours, _stored(register, moved.account), progress)
    # One batch after another: the account's own record and keys go last.
    beside = _beside(register, moved.account, carried)
    return await _destroy(register, moved, still_ours, beside, progress, at_once=1) or found


async def clear_away_messages(
    register: HoldRegister,
    moved: MovedAway,
    still_ours: Callable[[], Awaitable[None]],
    which: Container[MessageId],
) -> None:
    """Destroy these messages alone. Raises as `clear_away`."""

    async def chosen() -> AsyncIterator[Candidate]:
        async for one in _stored(register, moved.account):
            if one.message in which:
                yield one

    await _destroy(register, moved, still_ours, chosen())


async def _destroy(
    register: HoldRegister,
    moved: MovedAway,
    still_ours: Callable[[], Awaitable[None]],
    candidates: AsyncIterator[Candidate],
    progress: Callable[[], None] = lambda: None,
    *,
    at_once: int = _AT_ONCE,
) -> bool:
    """Several batches at once, each with a declaration of its own."""
    found = False
    async with AsyncExitStack() as stack:
        deletions = Deletions(register)
        idle = [await stack.enter_async_context(deletions.leftovers(moved)) for _ in range(at_once)]

        async def destroy(batch: list[Candidate]) -> list[Candidate]:
            eraser = idle.pop()
            await still_ours()
            await eraser.destroy(batch)
            idle.append(eraser)
            return batch

        async for batch in in_order(_in_batches(candidates), destroy, at_once):
            found = True
            for _ in batch:
                progress()
    return found


async def _in_batches(candidates: AsyncIterator[Candidate]) -> AsyncIterator[list[Candidate]]:
    batch: list[Candidate] = []
    async for one in candidates:
        batch.append(one)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _stored(register: HoldRegister, account: AccountId) -> AsyncIterator[Candidate]:
    async for stored in stored_messages(register.versions, account):
        yield stored.candidate


async def _beside(
    register: HoldRegister, account: AccountId, carried: frozenset[HoldId]
) -> AsyncIterator[Candidate]:
    versions = register.versions
    keyring = Keyholder(versions.region, account).key
    for folder in _OTHER_FOLDERS:
        async for version in versions.list(f"{folder}/{account}/"):
            if folder == "holds":
                reference = HoldId.parse(version.key.rpartition("/")[2].removesuffix(".json"))
                if reference in carried:
                    yield Candidate((version, *await versions.of(index_key(reference))))
            elif version.key != keyring:
                yield Candidate((version,))
    if keys := await versions.of(keyring):
        yield Candidate(keys)
