"""A move under way: what is being done, how far it has come, and who is at it.

`moves/<account>.json`, sealed, in the home that is being left; it is the first thing that a move
writes and the last that it takes away. While it says FROZEN or FLIPPED, nobody else deletes anything
of the account there: what is compared and then destroyed must not change in between.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, final

from policy.address import Address
from policy.geography import RegionCode
from storage.directory import Directory
from storage.errors import Conflict, Corrupt, NotFound, Unavailable
from storage.identity import AccountId, Clock
from storage.located import AccountStatus
from storage.objects import ETag
from storage.vault import Vault

CLAIM: Final = timedelta(minutes=2)
# No write is started in the last part of a claim: the next one at it must find it done or not done.
_MARGIN: Final = timedelta(seconds=45)
_MINT: Final = object()


class Moving(Unavailable):
    """The account is being moved: later."""


class Phase(StrEnum):
    """How far a move has come."""

    COPYING = "copying"  # the mailbox works as ever in its old home
    FROZEN = "frozen"  # it takes no mail, and nothing is deleted, until the move ends or is given up
    FLIPPED = "flipped"  # it is at home in the new region; what lies in the old one is a leftover


@final
@dataclass(frozen=True, slots=True)
class Move:
    """One move. `status` is what the account had before it was frozen."""

    account: AccountId
    address: Address
    leaves: RegionCode
    goes_to: RegionCode
    reason: str
    operator: str
    begun: datetime
    status: AccountStatus
    phase: Phase
    by: str
    until: datetime

    def to_bytes(self) -> bytes:
        fields = {
            "version": 1,
            "account": str(self.account),
            "address": str(self.address),
            "leaves": str(self.leaves),
            "goes_to": str(self.goes_to),
            "reason": self.reason,
            "operator": self.operator,
            "begun": self.begun.isoformat(),
            "status": str(self.status),
            "phase": str(self.phase),
            "by": self.by,
            "until": self.until.isoformat(),
        }
        return json.dumps(fields, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, key: str, body: bytes) -> Move:
        """Raises Corrupt naming `key`."""
        try:
            found = json.loads(body)
            if found["version"] != 1:
                raise ValueError(f"version {found['version']!r} is unknown")
            return cls(
                AccountId.parse(found["account"]),
                Address.parse(found["address"]),
                RegionCode.parse(found["leaves"]),
                RegionCode.parse(found["goes_to"]),
                str(found["reason"]),
                str(found["operator"]),
                datetime.fromisoformat(found["begun"]),
                AccountStatus(found["status"]),
                Phase(found["phase"]),
                str(found["by"]),
                datetime.fromisoformat(found["until"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(key, f"not the record of a move ({error})") from None


def move_key(account: AccountId) -> str:
    return f"moves/{account}.json"


async def read_move(vault: Vault, account: AccountId) -> tuple[Move, ETag] | None:
    """The move that leads away from this region, if there is one. Raises Corrupt, Unavailable."""
    key = move_key(account)
    try:
        blob = await vault.get(key)
    except NotFound:
        return None
    return Move.from_bytes(key, blob.body), blob.etag


async def refuse_while_frozen(vault: Vault, account: AccountId) -> None:
    """Raises Moving where nothing may be deleted for the sake of a move; Corrupt, Unavailable."""
    found = await read_move(vault, account)
    if found is not None and found[0].phase is not Phase.COPYING:
        raise Moving("the account is being moved: nothing of it is deleted meanwhile")


@final
class MoveRecord:
    """The record of a move that this process is at, kept up to date by compare-and-swap.

    Of two processes one is at it: the claim runs for `CLAIM` from its last renewal.
    """

    def __init__(self, vault: Vault, move: Move, etag: ETag, clock: Clock) -> None:
        self._vault: Final = vault
        self._etag = etag
        self._clock: Final = clock
        self._renewing: Final = asyncio.Lock()
        self.move = move

    @classmethod
    async def open(cls, vault: Vault, wanted: Move, clock: Clock) -> MoveRecord:
        """Begin a move, or go on with one that was begun and is nobody's at the moment.

        Raises Moving where somebody is at it.
        """
        key = move_key(wanted.account)
        found = await read_move(vault, wanted.account)
        move, etag = (wanted, None) if found is None else found
        now = clock()
        if found is not None and move.until > now:
            raise Moving("somebody is moving this account at this moment")
        move = replace(move, by=wanted.by, until=now + CLAIM)
        try:
            return cls(vault, move, await vault.compare_and_swap(key, move.to_bytes(), etag), clock)
        except Conflict:
            raise Moving("somebody is moving this account at this moment") from None

    async def renew(self, phase: Phase | None = None) -> None:
        """Go on for another while, in the same phase or the next. Raises Moving, Unavailable."""
        async with self._renewing:
            await self._renew(phase)

    async def _renew(self, phase: Phase | None) -> None:
        move = replace(self.move, phase=phase or self.move.phase, until=self._clock() + CLAIM)
        key = move_key(move.account)
        try:
            self._etag = await self._vault.compare_and_swap(key, move.to_bytes(), self._etag)
        except Conflict:
            raise Moving("somebody else has taken this move over") from None
        self.move = move

    async def still_ours(self) -> None:
        """Before each write: renew a claim that has run for a while. Raises Moving, Unavailable."""
        if self._left() < CLAIM / 2:
            async with self._renewing:
                if self._left() < CLAIM / 2:
                    await self._renew(None)
        if self._left() < _MARGIN:
            raise Moving("the claim on this move has run out")

    def _left(self) -> timedelta:
        return self.move.until - self._clock()


@final
class MovedAway:
    """Proof that an account is not at home in a region: what lies there of it is a leftover.

    Made by `prove_moved_away` alone. With it leftovers can be deleted (`storage.deletion`), which no
    hold of that region concerns any more: the mailbox and its holds are elsewhere.
    """

    __slots__ = ("account", "region")

    def __init__(self, account: AccountId, region: RegionCode, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("MovedAway is made by storage.moving.prove_moved_away")
        self.account: Final = account
        self.region: Final = region


async def prove_moved_away(
    directory: Directory, address: Address, account: AccountId, region: RegionCode
) -> MovedAway:
    """Ask the registrar. Raises Conflict where the account is at home there, or is another one."""
    located = await directory.home_now(address)
    if located.account != account or located.home.code == region:
        raise Conflict(f"accounts/{account}")
    return MovedAway(account, region, mint=_MINT)
