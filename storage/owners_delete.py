"""The owner deletes: gone from the owner's view at once, and for good where no hold keeps it.

What a hold keeps, or a rule that says how long records are kept, stays where it lies with its
tombstone: the law still finds it, marked, and the sweeper takes it when the time has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from storage.contents import stored_message
from storage.deletion import Deletions, Outcome
from storage.holds import HoldRegister
from storage.identity import AccountId, MessageId
from storage.in_order import as_stream, in_order
from storage.mailboxes import mailbox_of
from storage.opening import Opener
from storage.region import RegionStore
from storage.retention import read_rules, why_due
from storage.tombstones import hide

_AT_ONCE: Final = 16


async def delete_for_owner(
    home: RegionStore, register: HoldRegister, account: AccountId, messages: Sequence[MessageId]
) -> Outcome:
    """Hide the messages, then destroy those that nothing keeps.

    Raises Unavailable, Corrupt, Forbidden: what was hidden is hidden, and the sweeper does the rest.
    """

    async def hide_one(message: MessageId) -> MessageId:
        await hide(home.mail, account, message)
        return message

    async for _ in in_order(as_stream(messages), hide_one, _AT_ONCE):
        pass
    retention, _ = await read_rules(register)
    mailbox = await mailbox_of(home, account)
    due = []
    async for stored in in_order(
        as_stream(messages), lambda one: stored_message(register.versions, account, one), _AT_ONCE
    ):
        if await why_due(register, retention, mailbox, stored) is not None:
            due.append(stored.candidate)
    async with Deletions(register).on(mailbox, Opener(home, account).traffic_if_known) as eraser:
        return await eraser.destroy(due)
