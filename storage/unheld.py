"""An account that no hold keeps: the register's own word, without which nobody ends it.

Closing, erasing and moving begin here. What is destroyed later is asked for once more, batch by
batch (`storage.deletion`): a word that was given a while ago forbids nothing that came after it.
"""

from __future__ import annotations

from typing import Final, final

from policy.geography import RegionCode
from policy.hold import ACCOUNT_ITSELF, HoldId, Mailbox, forbidding
from storage.audit.entry import Entry, Event
from storage.holds import Held, HoldRegister
from storage.identity import AccountId

_MINT: Final = object()


@final
class Unheld:
    """Proof that the register of an account's home was read, and no hold kept anything of it.

    Made by `refuse_if_held` alone. `storage.directory` closes no account without it.
    """

    __slots__ = ("account", "region")

    def __init__(self, account: AccountId, region: RegionCode, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("Unheld is made by storage.unheld.refuse_if_held")
        self.account: Final = account
        self.region: Final = region


async def refuse_if_held(register: HoldRegister, mailbox: Mailbox, what: str, operator: str) -> Unheld:
    """Refuse to close, erase or move an account of which a hold keeps anything; the refusal is logged.

    Raises Held with the holds' references; Corrupt, Unavailable where the register cannot be read.
    """
    account = AccountId.parse(mailbox.account)
    holds = await register.on(account)
    forbid = forbidding(holds, mailbox, ACCOUNT_ITSELF, register.clock())
    if forbid:
        await refuse(register, account, what, operator, tuple(hold.id for hold in forbid))
    return Unheld(account, register.versions.region, mint=_MINT)


async def refuse(
    register: HoldRegister, account: AccountId, what: str, operator: str, holds: tuple[HoldId, ...]
) -> None:
    """Log that a deletion was refused, one entry for each hold that forbade it. Always raises Held."""
    for hold in holds:
        await register.log.append(
            Entry(
                time=register.clock(),
                event=Event.DELETION_REFUSED,
                region=register.versions.region,
                account=register.pseudonyms.account(account),
                operator=register.pseudonyms.operator(operator),
                hold=str(hold),
                findings=("hold",),
            )
        )
    raise Held(what, holds)
