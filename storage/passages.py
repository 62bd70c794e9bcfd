"""Which mailboxes are on their way, for whoever walks the fence: copies of theirs lie in two regions.

A move writes its record first, in the home that is left, and takes it away last (`storage.moving`),
so a copy without one is a stray. The record is sealed to that region, and opened here without opening a
store, as everything about a walk: where a fence is broken it is needed most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, final

from policy.geography import RegionCode
from storage.errors import FenceBroken, NotFound
from storage.identity import AccountId
from storage.keyring import Keyholder, Keyring
from storage.keys import Purpose
from storage.keyservice import KeyService
from storage.moving import Move, move_key
from storage.objects import Bucket
from storage.proof import open_key_service
from storage.sealing import Binding, open_document, read_document_header
from storage.settings import RegionSettings


class MoveOf(Protocol):
    """The move that an account is on between two regions, or None."""

    async def __call__(self, account: AccountId, between: frozenset[RegionCode]) -> Move | None:
        """Raises Corrupt, Unavailable, Forbidden."""
        ...


async def nobody_moves(account: AccountId, between: frozenset[RegionCode]) -> Move | None:
    """For a walk that takes every copy for a stray."""
    return None


@final
class Passages:
    """The moves under way between regions of which this host has the key services."""

    def __init__(self, regions: Sequence[RegionSettings]) -> None:
        self._regions: Final = {settings.region.code: settings for settings in regions}
        self._services: Final[dict[RegionCode, KeyService | None]] = {}
        self._opening: Final = asyncio.Lock()

    async def __call__(self, account: AccountId, between: frozenset[RegionCode]) -> Move | None:
        """Only a move that leads from one of the two to the other explains what lies in both. A region
        whose records cannot be opened here has none to show: then a copy stays a stray."""
        for code in sorted(between & self._regions.keys()):
            move = await self._move_from(code, account)
            if move is not None and {move.leaves, move.goes_to} == between and move.account == account:
                return move
        return None

    async def _move_from(self, code: RegionCode, account: AccountId) -> Move | None:
        settings = self._regions[code]
        service = await self._service(settings)
        if service is None:
            return None
        bucket = Bucket(settings.bucket, settings.access, deadline=settings.deadline_seconds)
        key = move_key(account)
        try:
            sealed = (await bucket.get(key)).body
        except NotFound:
            return None
        binding = Binding(code, key)
        ring = await Keyring.load(bucket, service, Keyholder(code))
        generation = read_document_header(binding, sealed).generation
        private = await ring.private(Purpose.RECORD, generation, opens=key)
        return Move.from_bytes(key, open_document(private, binding, sealed))

    async def _service(self, settings: RegionSettings) -> KeyService | None:
        code = settings.region.code
        async with self._opening:
            if code not in self._services:
                try:
                    self._services[code] = await asyncio.to_thread(open_key_service, settings)
                except FenceBroken:
                    self._services[code] = None  # the region's own walk says so
            return self._services[code]
