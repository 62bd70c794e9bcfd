"""What the directory says of a mailbox: whose it is, where its home is, and how to seal for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final

from policy.geography import Region
from storage.identity import AccountId
from storage.keys import PublicKeys


class AccountStatus(StrEnum):
    """Whether an account takes mail."""

    ACTIVE = "active"
    SUSPENDED = "suspended"  # not now: mail is refused for the moment, and may be sent again
    CLOSED = "closed"  # not any more; the address is never given to anybody else


@final
@dataclass(frozen=True, slots=True)
class Located:
    """A mailbox that was found. It is the only thing that `Ground.home` gives a store for.

    `legal_hold`: new mail is written with S3 Object Lock's legal hold on.
    """

    account: AccountId
    home: Region
    keys: PublicKeys
    status: AccountStatus
    legal_hold: bool = False
