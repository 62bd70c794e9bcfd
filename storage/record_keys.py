"""What an account leaves behind where it has lived: the key to the records of that region's log, alone.

A record behind an audit entry is sealed to the record key that the account had in that region
(`storage.audit.records`). Whoever is cleared there may read what happened there, also after the mailbox has
moved away, until the account is erased. So that key stays, wrapped by that region's key service as it
was; whatever else it opened has left, and the keys in the new home are others.

    recordkeys/<account>.json   in a region that the mailbox has left: its record keys there
    lived/<account>.json        at home: the regions in which such keys lie

Order of writing: the list before the home changes, the keys before the keyring goes. If we crash between
the two, the list names a region with nothing in it. The other way round, an erasure would not find a key.

A mailbox that comes back gets keys of a later generation than those it has left there: a generation
names one key of an account in a region, for ever.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self, final

from policy.geography import RegionCode
from storage.bookkeeping import discard
from storage.errors import Corrupt, NotFound
from storage.identity import AccountId
from storage.keyring import Keyholder, Keyring, unwrap_pair
from storage.keys import PrivateKey, PublicKey, Purpose
from storage.keyservice import KeyService
from storage.objects import Bucket, ETag
from storage.region import RegionStore
from storage.vault import Vault
from storage.versions import Versions

FOLDER: Final = "recordkeys/"


def record_keys_key(account: AccountId) -> str:
    return f"{FOLDER}{account}.json"


@final
@dataclass(frozen=True, slots=True)
class KeptKey:
    """One generation's record key: its public half, and the private one as the key service wrapped it."""

    public: PublicKey
    wrapped: bytes


@final
class RecordKeys:
    """The record keys of an account that has left a region."""

    def __init__(self, key: str, holder: Keyholder, kept: dict[int, KeptKey], etag: ETag) -> None:
        self._key: Final = key
        self._holder: Final = holder
        self._kept: Final = kept
        self.etag: Final = etag

    @classmethod
    async def find(cls, bucket: Bucket, holder: Keyholder) -> Self | None:
        """None where the account has left none. Raises Corrupt, Unavailable, Forbidden."""
        if holder.account is None:
            raise ValueError("a region does not leave itself")
        key = record_keys_key(holder.account)
        try:
            blob = await bucket.get(key)
        except NotFound:
            return None
        return cls(key, holder, _read(key, blob.body), blob.etag)

    @property
    def newest(self) -> int:
        return max(self._kept)

    def has(self, generation: int) -> bool:
        return generation in self._kept

    def wrapped(self) -> Iterable[bytes]:
        """Every wrapped key, for `storage.keyservice.wrapped_by` to tell whose it is."""
        return [one.wrapped for one in self._kept.values()]

    def merged(self, others: dict[int, KeptKey]) -> dict[int, KeptKey]:
        return {**self._kept, **others}

    async def private(self, service: KeyService, generation: int) -> PrivateKey:
        """Raises Corrupt, KeyRefused, Forbidden, Unavailable."""
        one = self._kept[generation]
        return await unwrap_pair(
            service, self._holder, self._key, Purpose.RECORD, generation, one.public, one.wrapped
        )


async def leave_record_keys(home: RegionStore, account: AccountId) -> None:
    """Before a keyring goes: what opens the records here stays. Twice is once.

    Raises Corrupt, Unavailable, Forbidden; Conflict where somebody else is at it.
    """
    holder = Keyholder(home.region.code, account)
    try:
        ring = await Keyring.load(home.mail, home.keys, holder)
    except NotFound:
        return  # an earlier run has come further
    leaving = {number: KeptKey(public, wrapped) for number, public, wrapped in ring.record_keys()}
    before = await RecordKeys.find(home.mail, holder)
    kept = before.merged(leaving) if before else leaving
    fields = {
        str(number): {"public": str(one.public), "wrapped": base64.b64encode(one.wrapped).decode()}
        for number, one in sorted(kept.items())
    }
    body = json.dumps({"version": 1, "generations": fields}).encode()
    await home.mail.compare_and_swap(record_keys_key(account), body, before.etag if before else None)


def _read(key: str, body: bytes) -> dict[int, KeptKey]:
    try:
        found = json.loads(body)
        if found["version"] != 1 or not found["generations"]:
            raise ValueError("a version 1 with a generation is expected")
        return {
            int(number): KeptKey(
                PublicKey.parse(one["public"]), base64.b64decode(one["wrapped"], validate=True)
            )
            for number, one in found["generations"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Corrupt(key, f"no record keys ({error})") from None


def _lived_key(account: AccountId) -> str:
    return f"lived/{account}.json"


async def where_it_lived(vault: Vault, account: AccountId) -> tuple[RegionCode, ...]:
    """The regions that an account has left, by the vault of its home. Raises Corrupt, Unavailable."""
    return (await _lived(vault, account))[0]


async def note_where_it_lived(vault: Vault, account: AccountId, regions: Iterable[RegionCode]) -> None:
    """In the vault of its next home. Twice is once. Raises Corrupt, Unavailable, Conflict."""
    standing, etag = await _lived(vault, account)
    if (wanted := tuple(sorted({*regions}, key=str))) != standing:
        body = json.dumps({"version": 1, "left": list(map(str, wanted))}).encode()
        await vault.compare_and_swap(_lived_key(account), body, etag)


async def forget_where_it_lived(versions: Versions, account: AccountId) -> None:
    """Where it is at home no more, or nowhere. Raises Unavailable, Forbidden, Rejected."""
    await discard(versions, _lived_key(account))


async def _lived(vault: Vault, account: AccountId) -> tuple[tuple[RegionCode, ...], ETag | None]:
    key = _lived_key(account)
    try:
        blob = await vault.get(key)
    except NotFound:
        return (), None
    try:
        found = json.loads(blob.body)
        if found["version"] != 1:
            raise ValueError(f"version {found['version']!r} is unknown")
        return tuple(map(RegionCode.parse, found["left"])), blob.etag
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(key, f"no list of regions ({error})") from None
