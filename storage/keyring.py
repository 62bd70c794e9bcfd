"""The keyring: private keys at rest, each wrapped on its own by the region's key service.

`accounts/<account>/keys.json` for an account, `situs/keys.json` for the region's own records.
Every key is wrapped under a context that names region, holder, purpose and generation, so that
a process which reads traffic data asks the key service for the traffic key, and the key
service's own log says that this is what it asked for.

A generation is never taken away by rotation: old mail opens under the key it was sealed to.

Order of writing: the keyring is durable before a directory record shows its public keys to any
ingress. If we crash between the two, a generation exists that nobody seals to. The other way
round there would be mail that nobody can open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, final

from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from policy.geography import RegionCode
from storage.errors import AlreadyExists, Corrupt, KeyRefused
from storage.fields import PublicKeysField
from storage.identity import AccountId
from storage.keys import KeyFormatError, PrivateKey, PublicKey, PublicKeys, Purpose
from storage.keyservice import KeyService
from storage.objects import Bucket


@final
@dataclass(frozen=True, slots=True)
class Keyholder:
    """Whose keys: an account's in its home region, or (without one) the region's own."""

    region: RegionCode
    account: AccountId | None = None

    @property
    def key(self) -> str:
        """Where the keyring lies."""
        return f"accounts/{self.account}/keys.json" if self.account else "situs/keys.json"

    def context(self, purpose: Purpose, generation: int) -> dict[str, str]:
        """What the key service binds a wrapped key to (AWS KMS: the EncryptionContext)."""
        return {
            "region": str(self.region),
            "account": str(self.account) if self.account else "situs",
            "purpose": str(purpose),
            "generation": str(generation),
        }


class _Wrapped(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    traffic: Base64Bytes
    content: Base64Bytes
    record: Base64Bytes


class _Generation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    created: AwareDatetime
    public: PublicKeysField
    wrapped: _Wrapped


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Annotated[int, Field(ge=1, le=1)]
    generations: Annotated[tuple[_Generation, ...], Field(min_length=1)]


@final
class Keyring:
    """One holder's keys, as they stood when the keyring was loaded.

    Unwrapped keys live in this object and nowhere else: let it go when the reading is done.
    """

    def __init__(self, service: KeyService, holder: Keyholder, document: _Document) -> None:
        self._service: Final = service
        self._holder: Final = holder
        self._generations: Final = {entry.public.generation: entry for entry in document.generations}
        self._unwrapped: Final[dict[tuple[Purpose, int], PrivateKey]] = {}
        self._unwrapping: Final = asyncio.Lock()

    @classmethod
    async def load(cls, bucket: Bucket, service: KeyService, holder: Keyholder) -> Keyring:
        """Reads the keyring and unwraps nothing yet. Raises NotFound, Corrupt, Unavailable."""
        return cls(service, holder, _parse(holder, (await bucket.get(holder.key)).body))

    @property
    def public(self) -> PublicKeys:
        """The newest generation: what new mail is to be sealed to."""
        return self._generations[max(self._generations)].public

    def wrapped(self) -> Iterator[bytes]:
        """Every wrapped key, for `storage.keyservice.wrapped_by` to tell whose it is."""
        for entry in self._generations.values():
            yield from (getattr(entry.wrapped, purpose) for purpose in Purpose)

    def record_keys(self) -> Iterator[tuple[int, PublicKey, bytes]]:
        """Generation, public key and wrapped private key of each record key: what stays behind where
        the account has lived (`storage.record_keys`)."""
        for number, entry in self._generations.items():
            yield number, entry.public.record, entry.wrapped.record

    def has(self, generation: int) -> bool:
        return generation in self._generations

    async def private(self, purpose: Purpose, generation: int, *, opens: str) -> PrivateKey:
        """The key for one purpose of one generation, asked of the key service once.

        `opens` is the key of the object whose header names the generation: if there is no such
        generation, it is that object which is corrupt. Raises Corrupt, Forbidden, Unavailable.
        """
        if generation not in self._generations:
            raise Corrupt(opens, f"its key generation {generation} is not in {self._holder.key}")
        async with self._unwrapping:
            if (purpose, generation) not in self._unwrapped:
                self._unwrapped[purpose, generation] = await self._unwrap(purpose, generation)
            return self._unwrapped[purpose, generation]

    async def _unwrap(self, purpose: Purpose, generation: int) -> PrivateKey:
        entry = self._generations[generation]
        public, wrapped = getattr(entry.public, purpose), getattr(entry.wrapped, purpose)
        holder = self._holder
        return await unwrap_pair(self._service, holder, holder.key, purpose, generation, public, wrapped)


async def unwrap_pair(
    service: KeyService,
    holder: Keyholder,
    where: str,
    purpose: Purpose,
    generation: int,
    public: PublicKey,
    wrapped: bytes,
) -> PrivateKey:
    """The private half of `public`, which lies wrapped in the object `where`.

    Raises Corrupt, KeyRefused, Forbidden, Unavailable.
    """
    try:
        seeds = await service.unwrap(wrapped, holder.context(purpose, generation))
        key = PrivateKey(generation, purpose, seeds)
    except KeyRefused as error:
        raise KeyRefused(f"{where}: {error}") from None
    except KeyFormatError as error:
        raise Corrupt(where, str(error)) from None
    if key.public != public:
        raise Corrupt(where, f"the {purpose} keys of generation {generation} are no pair")
    return key


async def create_keyring(
    bucket: Bucket, service: KeyService, holder: Keyholder, now: datetime, *, generation: int = 1
) -> PublicKeys:
    """The holder's first generation; run again, the keys that are there already.

    `generation` is its number, where the holder has had others here (`storage.record_keys`).
    Raises Corrupt, Forbidden, Unavailable.
    """
    first = await _new_generation(service, holder, generation, now)
    try:
        await bucket.put_if_absent(holder.key, _dump(first))
    except AlreadyExists:
        return (await Keyring.load(bucket, service, holder)).public
    return first.public


async def rotate_keyring(bucket: Bucket, service: KeyService, holder: Keyholder, now: datetime) -> PublicKeys:
    """A new generation beside the old ones; nobody seals to it until the directory says so.

    Raises NotFound, Corrupt, Forbidden, Unavailable; Conflict if another rotation was faster.
    """
    blob = await bucket.get(holder.key)
    document = _parse(holder, blob.body)
    last = max(entry.public.generation for entry in document.generations)
    newest = await _new_generation(service, holder, last + 1, now)
    await bucket.compare_and_swap(holder.key, _dump(*document.generations, newest), blob.etag)
    return newest.public


async def _new_generation(
    service: KeyService, holder: Keyholder, generation: int, now: datetime
) -> _Generation:
    pairs = [PrivateKey.generate(generation, purpose) for purpose in Purpose]
    traffic, content, record = await asyncio.gather(
        *(service.wrap(pair.seeds, holder.context(pair.purpose, generation)) for pair in pairs)
    )
    public = PublicKeys(generation, *(pair.public for pair in pairs))
    # model_construct: a validated Base64Bytes would decode the octets that it is to encode.
    wrapped = _Wrapped.model_construct(traffic=traffic, content=content, record=record)
    return _Generation(created=now, public=public, wrapped=wrapped)


def _dump(*generations: _Generation) -> bytes:
    return _Document(version=1, generations=generations).model_dump_json().encode()


def _parse(holder: Keyholder, body: bytes) -> _Document:
    try:
        document = _Document.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Corrupt(holder.key, f"{where or 'the keyring'}: {first['msg']}") from None
    if len({entry.public.generation for entry in document.generations}) != len(document.generations):
        raise Corrupt(holder.key, "a key generation stands twice")
    return document
