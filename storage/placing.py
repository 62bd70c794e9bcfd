"""Placing a hold on an address: in the register of the mailbox's home, wherever that is by then.

A mailbox may move while a hold is being placed on it. The move's last step waits for no hold, and a
hold waits for every step that was declared before it (`storage.intents`): so when placing has
returned, the mailbox is either still here, or has left before the hold could be seen. Then it is
looked for again, and the hold is placed where it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from policy.address import Address
from policy.clearance import Clearance
from policy.geography import RegionCode
from policy.hold import Hold, HoldId, MailboxScope
from storage.holds import Elsewhere, HoldRegister, Terms
from storage.lookup import Lookup

_LOOKS: Final = 8  # a mailbox that moves more often than this meanwhile is not moving


async def place_on_address(
    directory: Lookup,
    address: Address,
    terms: Callable[[MailboxScope], Terms],
    register_of: Callable[[RegionCode], HoldRegister],
    clearance_for: Callable[[RegionCode], Clearance],
    *,
    reference: HoldId | None = None,
) -> Hold:
    """Place a hold on whatever account has the address, an alias's or a closed account's too.

    `register_of` and `clearance_for` raise for a region that this process does not serve, or that
    the operator is not cleared for. Raises what they raise, UnknownAddress, and as
    `HoldRegister.place`.
    """
    located = await directory.find(address)
    for _ in range(_LOOKS):
        home = located.home.code
        scope = MailboxScope(str(located.account), address)
        with suppress(Elsewhere):
            hold = await register_of(home).place(terms(scope), clearance_for(home), reference=reference)
            reference = hold.id
            located = await directory.find(address)
            if located.home.code == home:
                return hold
            continue
        located = await directory.find(address)
    raise Elsewhere("the mailbox has left each time that the hold was placed")


def scoped(terms: Terms) -> Callable[[MailboxScope], Terms]:
    """The same terms for whatever account the address turns out to be."""
    return lambda scope: replace(terms, scope=scope)
