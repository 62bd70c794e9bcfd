"""One region's disclosures, as the sealed documents that they are.

disclosures/<id>.json     the disclosure, compare-and-swapped from state to state
orders/<replay key>.json  which disclosure an order belongs to: written once, so that the
                          same order at two processes becomes one disclosure
repeats/<sha256>.json     which disclosure an Idempotency-Key belongs to
records/<sha256>.json     the full record behind an audit entry
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, final

from gateway.disclosure.lifecycle import Disclosure, DisclosureId, Rejected, from_bytes, to_bytes
from storage.errors import AlreadyExists, Conflict, Corrupt, NotFound
from storage.objects import ETag
from storage.operators import Documents

_DISCLOSURES: Final = "disclosures/"
_ORDERS: Final = "orders/"
_CACHED: Final = 1000
# A process that died between claiming an order and filing its disclosure leaves a claim behind.
# No honest request takes this long, and by then the order may be presented again.
_ABANDONED: Final = timedelta(minutes=2)


class Replayed(Exception):
    """The order belongs to the disclosure `id` already."""

    def __init__(self, disclosure: DisclosureId) -> None:
        super().__init__(f"presented before, as disclosure {disclosure}")
        self.id: Final = disclosure


@final
@dataclass(frozen=True, slots=True)
class Filed:
    """A disclosure as it stands, and the tag to change it against."""

    disclosure: Disclosure
    etag: ETag


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """Whose an order is: `order_digest` tells a repetition from the same order with one signature more.

    `earlier`: the disclosures that the order had before, refused for what it has brought since.
    """

    disclosure: DisclosureId
    order_digest: str
    at: datetime
    earlier: tuple[DisclosureId, ...] = ()

    def to_bytes(self) -> bytes:
        return json.dumps(
            {
                "version": 1,
                "id": str(self.disclosure),
                "order": self.order_digest,
                "at": self.at.isoformat(),
                "earlier": [str(each) for each in self.earlier],
            }
        ).encode()

    @classmethod
    def from_bytes(cls, key: str, body: bytes) -> Claim:
        try:
            found = json.loads(body)
            earlier = tuple(DisclosureId.parse(each) for each in found.get("earlier", ()))
            at = datetime.fromisoformat(found["at"])
            return cls(DisclosureId.parse(found["id"]), found["order"], at, earlier)
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(key, f"not a claim on an order ({error})") from None


@final
@dataclass(frozen=True, slots=True)
class Claimed:
    """An order by its replay key, and the disclosures that it has become, oldest first."""

    order: str
    disclosures: tuple[DisclosureId, ...]


class Docket:
    """The disclosures of one region."""

    def __init__(self, documents: Documents) -> None:
        self._documents: Final = documents
        self._read: Final[OrderedDict[str, Filed]] = OrderedDict()

    async def get(self, disclosure: DisclosureId) -> Filed:
        """Raises NotFound, Corrupt, Unavailable."""
        key = _key(disclosure)
        blob = await self._documents.get(key)
        try:
            return Filed(from_bytes(blob.body), blob.etag)
        except ValueError as error:
            raise Corrupt(key, f"not a disclosure ({error})") from None

    async def file(self, disclosure: Disclosure) -> Filed:
        """Write a new disclosure. Where it stands already, what stands is returned."""
        try:
            tag = await self._documents.put_if_absent(_key(disclosure.case.id), to_bytes(disclosure))
        except AlreadyExists:
            return await self.get(disclosure.case.id)
        return Filed(disclosure, tag)

    async def move(self, filed: Filed, to: Disclosure) -> Filed:
        """Replace a state by the next. Raises Conflict where somebody else was faster."""
        if to.case != filed.disclosure.case:
            raise ValueError("a transition cannot change the case")
        tag = await self._documents.compare_and_swap(_key(to.case.id), to_bytes(to), filed.etag)
        return Filed(to, tag)

    async def claim(self, replay_key: str, wanted: Claim) -> DisclosureId:
        """Make the order this disclosure's; returns the id to file it under. Raises Replayed.

        An order that the law refused may come again once it says something else: with the
        signature of a court that takes it up. Octet for octet the same, it is a replay.
        """
        key = f"{_ORDERS}{replay_key}.json"
        try:
            await self._documents.put_if_absent(key, wanted.to_bytes())
        except AlreadyExists:
            return await self._claim_again(key, wanted)
        return wanted.disclosure

    async def _claim_again(self, key: str, wanted: Claim) -> DisclosureId:
        blob = await self._documents.get(key)
        standing = Claim.from_bytes(key, blob.body)
        if standing.disclosure == wanted.disclosure:
            return standing.disclosure  # the same request, repeated under its Idempotency-Key
        try:
            earlier: Disclosure | None = (await self.get(standing.disclosure)).disclosure
        except NotFound:
            earlier = None
        match earlier:
            case None if wanted.at - standing.at > _ABANDONED:
                pass
            case Rejected(decided=None) if standing.order_digest != wanted.order_digest:
                pass
            case _:
                raise Replayed(standing.disclosure)
        history = (*standing.earlier, standing.disclosure) if earlier else standing.earlier
        try:
            await self._documents.compare_and_swap(
                key, replace(wanted, earlier=history).to_bytes(), blob.etag
            )
        except Conflict:
            raise Replayed(standing.disclosure) from None
        return wanted.disclosure

    async def claimed(self, replay_key: str) -> Claimed:
        """The order of that replay key. Raises NotFound, Corrupt, Unavailable."""
        key = f"{_ORDERS}{replay_key}.json"
        claim = Claim.from_bytes(key, (await self._documents.get(key)).body)
        return Claimed(replay_key, (*claim.earlier, claim.disclosure))

    async def claims(self, after: str | None = None) -> AsyncIterator[Claimed]:
        """Every order that was claimed, by its replay key, from behind `after` on."""
        start = f"{_ORDERS}{after}.json" if after else None
        async for listed in self._documents.list(_ORDERS, start_after=start):
            yield await self.claimed(listed.key.removeprefix(_ORDERS).removesuffix(".json"))

    async def repeat(self, scope: str, body: bytes, fresh: DisclosureId) -> tuple[DisclosureId, bool]:
        """The disclosure that an idempotency key belongs to, and whether the body is the same one.

        `scope` is whatever keeps one operator's key apart from another's.
        """
        key = f"repeats/{hashlib.sha256(scope.encode()).hexdigest()}.json"
        digest = hashlib.sha256(body).hexdigest()
        document = json.dumps({"version": 1, "id": str(fresh), "body": digest}).encode()
        try:
            await self._documents.put_if_absent(key, document)
        except AlreadyExists:
            found = json.loads((await self._documents.get(key)).body)
            return DisclosureId.parse(found["id"]), found["body"] == digest
        return fresh, True

    async def all(self, after: DisclosureId | None = None) -> AsyncIterator[Filed]:
        """Every disclosure, oldest first. What has not changed since it was last read is not read again."""
        start = _key(after) if after else None
        async for listed in self._documents.list(_DISCLOSURES, start_after=start):
            known = self._read.get(listed.key)
            if known is None or known.etag != listed.etag:
                known = await self.get(
                    DisclosureId.parse(listed.key.removeprefix(_DISCLOSURES).removesuffix(".json"))
                )
                self._read[listed.key] = known
            self._read.move_to_end(listed.key)
            while len(self._read) > _CACHED:
                self._read.popitem(last=False)
            yield known


def _key(disclosure: DisclosureId) -> str:
    return f"{_DISCLOSURES}{disclosure}.json"
