"""Accounts as a hold sees them: which are at home in a region, and which addresses lead to each."""

from __future__ import annotations

from collections.abc import AsyncIterator

from policy.hold import Mailbox
from storage.accounts import SubscriberRecord
from storage.identity import AccountId
from storage.region import RegionStore


async def mailbox_of(home: RegionStore, account: AccountId) -> Mailbox:
    """An account with its address and its aliases, those that it has given up too.

    Raises NotFound, Corrupt, Forbidden, Unavailable.

    A catch-all's domain counts by the account's own addresses alone: a hold on a domain is about
    whose mailbox it is, not about what somebody else's typing errors brought into it.
    """
    subscriber = await SubscriberRecord(home, account).read()
    return Mailbox(str(account), frozenset({subscriber.address, *subscriber.aliases, *subscriber.former}))


async def accounts_at_home(store: RegionStore, *, after: AccountId | None = None) -> AsyncIterator[AccountId]:
    """The accounts with a subscriber record in a region, in the order of their ids."""
    # Everything under accounts/<after>/ sorts before this.
    start = f"accounts/{after}/~" if after else None
    async for listed in store.mail.list("accounts/", start_after=start):
        _, account, document = listed.key.split("/")
        if document == "account.json":
            yield AccountId.parse(account)
