"""All that lies in a region under an account's name: what a move takes away when the mailbox has left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from policy.hold import HoldId
from storage.contents import stored_messages
from storage.deletion import BATCH, Candidate
from storage.holds import HoldRegister, index_key
from storage.identity import AccountId
from storage.keyring import Keyholder
from storage.layout import ACCOUNT_FOLDERS

# What is not listed message by message. The account's own record and keys go last.
_OTHER_FOLDERS: Final = (
    *sorted(ACCOUNT_FOLDERS - {"mail", "deleted", "labels", "flags", "deleting", "accounts"}),
    "holds",
    "accounts",
)


async def everything(
    register: HoldRegister, account: AccountId, carried: frozenset[HoldId]
) -> AsyncIterator[list[Candidate]]:
    """In batches: messages, then the rest, the keys last of all. Of the holds, those that have been
    carried over: one that came in since waits its turn."""
    batch: list[Candidate] = []
    async for one in _one_by_one(register, account, carried):
        batch.append(one)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _one_by_one(
    register: HoldRegister, account: AccountId, carried: frozenset[HoldId]
) -> AsyncIterator[Candidate]:
    versions = register.versions
    async for stored in stored_messages(versions, account):
        yield stored.candidate
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
