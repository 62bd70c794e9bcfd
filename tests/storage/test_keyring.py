"""The keyring: one purpose's key at a time, from this region's key service, for ever."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from storage.control import kms_client
from storage.errors import Conflict, Corrupt, Forbidden, KeyRefused, NotFound
from storage.identity import AccountId
from storage.keyring import Keyholder, Keyring, create_keyring, rotate_keyring
from storage.keys import PublicKeys, Purpose
from storage.keyservice import KeyService, wrapped_by
from storage.mailbox import append
from storage.region import KmsSettings, RegionStore
from storage.vault import Vault
from tests.engines import GERMANY, IRELAND, EngineKind, Engines, Settle, provisioned, settings_on
from tests.storage.grounds import AOIFE, NOW, envelope, opened, world


class Listening:
    """A key service that writes down what it was asked for."""

    def __init__(self, inner: KeyService) -> None:
        self._inner: Final = inner
        self.unwrapped: Final[list[dict[str, str]]] = []

    @property
    def key_id(self) -> str:
        return self._inner.key_id

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        return await self._inner.wrap(plaintext, context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.unwrapped.append(dict(context))
        return await self._inner.unwrap(wrapped, context)


@pytest.fixture(scope="module")
def ireland(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> RegionStore:
    settings = settings_on(engines.of(EngineKind.MOTO, IRELAND), IRELAND, tmp_path_factory.mktemp("keys"))
    return asyncio.run(provisioned(settings))


@pytest.fixture
def holder() -> Keyholder:
    return Keyholder(IRELAND.code, AccountId.new())


async def create(store: RegionStore, holder: Keyholder) -> PublicKeys:
    return await create_keyring(store.mail, store.keys, holder, NOW)


async def load(store: RegionStore, holder: Keyholder) -> Keyring:
    return await Keyring.load(store.mail, store.keys, holder)


async def test_racing_creators_end_with_the_same_keys(ireland: RegionStore, holder: Keyholder) -> None:
    made = await asyncio.gather(*(create(ireland, holder) for _ in range(10)))
    assert len({str(keys.content) for keys in made}) == 1
    assert (await load(ireland, holder)).public == made[0]


async def test_each_purpose_is_asked_for_alone_and_once(ireland: RegionStore, holder: Keyholder) -> None:
    """An order for traffic data yields the traffic key; the key service is asked for no other."""
    public = await create(ireland, holder)
    service = Listening(ireland.keys)
    keyring = await Keyring.load(ireland.mail, service, holder)
    for _ in range(3):
        assert (await keyring.private(Purpose.TRAFFIC, 1, opens="x")).public == public.traffic
    expected = {
        "region": "eu-west-1",
        "account": str(holder.account),
        "purpose": "traffic",
        "generation": "1",
    }
    assert service.unwrapped == [expected]


async def test_a_generation_that_is_not_there_is_the_objects_fault(
    ireland: RegionStore, holder: Keyholder
) -> None:
    await create(ireland, holder)
    with pytest.raises(Corrupt, match="object mail/x is corrupt: its key generation 9"):
        await (await load(ireland, holder)).private(Purpose.CONTENT, 9, opens="mail/x")


async def test_rotation_keeps_what_was_there(ireland: RegionStore, holder: Keyholder) -> None:
    first = await create(ireland, holder)
    second = await rotate_keyring(ireland.mail, ireland.keys, holder, NOW)
    keyring = await load(ireland, holder)
    assert (first.generation, second.generation) == (1, 2)
    assert keyring.public == second
    assert (await keyring.private(Purpose.RECORD, 1, opens="")).public == first.record
    assert (await keyring.private(Purpose.RECORD, 2, opens="")).public == second.record


async def test_of_two_rotations_at_once_one_wins(ireland: RegionStore, holder: Keyholder) -> None:
    await create(ireland, holder)
    rotations = (rotate_keyring(ireland.mail, ireland.keys, holder, NOW) for _ in range(2))
    outcomes = await asyncio.gather(*rotations, return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, PublicKeys)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert len(made) + len(lost) == 2
    assert made
    assert (await load(ireland, holder)).public.generation == 1 + len(made)


async def test_new_mail_under_the_new_key_and_old_mail_still_opens(settle: Settle) -> None:
    async with world(settle, (IRELAND,)) as one:
        await one.directory.create(AOIFE, IRELAND.code)
        before = await one.directory.locate(AOIFE)
        home = one.ground.home(before)
        await append(home, before, envelope(), b"old\r\n")
        await one.directory.rotate(AOIFE)
        after = await one.directory.locate(AOIFE)
        await append(home, after, envelope(), b"new\r\n")
        # An ingress process that has not noticed yet seals to the old keys: that opens as well.
        await append(home, before, envelope(), b"late\r\n")
        assert (before.keys.generation, after.keys.generation) == (1, 2)
        assert {content for _, content in (await opened(home, after)).values()} == {
            b"old\r\n",
            b"new\r\n",
            b"late\r\n",
        }


async def test_the_subscriber_record_outlives_a_rotation(settle: Settle) -> None:
    async with world(settle, (IRELAND,)) as one:
        await one.directory.create(AOIFE, IRELAND.code, display_name="Aoife")
        await one.directory.rotate(AOIFE)
        assert (await one.directory.show(AOIFE)).display_name == "Aoife"


async def test_the_vault_notices_a_rotation_of_the_regions_own_keys(ireland: RegionStore) -> None:
    reader, other = Vault(ireland), Vault(ireland)
    await reader.put_if_absent("orders/a", b"{}")
    await rotate_keyring(ireland.mail, ireland.keys, Keyholder(IRELAND.code), NOW)
    await Vault(ireland).put_if_absent("orders/b", b'{"b":1}')
    assert (await reader.get("orders/b")).body == b'{"b":1}'
    assert (await other.get("orders/a")).body == b"{}"


async def stored(store: RegionStore, holder: Keyholder) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((await store.mail.get(holder.key)).body)
    return document


async def test_a_key_put_in_another_ones_place_does_not_open(ireland: RegionStore, holder: Keyholder) -> None:
    await create(ireland, holder)
    document = await stored(ireland, holder)
    wrapped = document["generations"][0]["wrapped"]
    wrapped["traffic"], wrapped["content"] = wrapped["content"], wrapped["traffic"]
    await ireland.mail.put(holder.key, json.dumps(document).encode())
    with pytest.raises(KeyRefused, match=holder.key):
        await (await load(ireland, holder)).private(Purpose.TRAFFIC, 1, opens="")


async def test_a_public_key_that_is_not_the_private_keys_is_found(
    ireland: RegionStore, holder: Keyholder
) -> None:
    await create(ireland, holder)
    document = await stored(ireland, holder)
    public = document["generations"][0]["public"]
    public["traffic"] = public["content"]
    await ireland.mail.put(holder.key, json.dumps(document).encode())
    with pytest.raises(Corrupt, match="are no pair"):
        await (await load(ireland, holder)).private(Purpose.TRAFFIC, 1, opens="")


async def test_another_regions_key_service_opens_nothing(
    ireland: RegionStore, holder: Keyholder, settle: Settle
) -> None:
    await create(ireland, holder)
    germany = await provisioned(settle(EngineKind.MOTO, GERMANY))
    foreign = await Keyring.load(ireland.mail, germany.keys, holder)
    with pytest.raises(KeyRefused, match=holder.key):
        await foreign.private(Purpose.CONTENT, 1, opens="")
    assert {wrapped_by(wrapped) for wrapped in foreign.wrapped()} == {ireland.keys.key_id}


async def test_every_flipped_octet_of_a_wrapped_key_is_found(ireland: RegionStore, holder: Keyholder) -> None:
    await create(ireland, holder)
    document = await stored(ireland, holder)
    wrapped = base64.b64decode(document["generations"][0]["wrapped"]["record"])
    for position in range(0, len(wrapped), 7):
        flipped = bytearray(wrapped)
        flipped[position] ^= 1
        document["generations"][0]["wrapped"]["record"] = base64.b64encode(bytes(flipped)).decode()
        await ireland.mail.put(holder.key, json.dumps(document).encode())
        with pytest.raises((KeyRefused, Corrupt), match=holder.key):
            await (await load(ireland, holder)).private(Purpose.RECORD, 1, opens="")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"version":2,"generations":[]}', b'{"version":1,"generations":[]}', b"\xff\xfe"],
)
async def test_a_keyring_that_is_none_is_named(ireland: RegionStore, holder: Keyholder, body: bytes) -> None:
    await ireland.mail.put(holder.key, body)
    with pytest.raises(Corrupt, match=holder.key):
        await load(ireland, holder)


async def test_a_generation_twice_is_refused(ireland: RegionStore, holder: Keyholder) -> None:
    await create(ireland, holder)
    document = await stored(ireland, holder)
    document["generations"] *= 2
    await ireland.mail.put(holder.key, json.dumps(document).encode())
    with pytest.raises(Corrupt, match="stands twice"):
        await load(ireland, holder)


async def test_no_keyring(ireland: RegionStore, holder: Keyholder) -> None:
    with pytest.raises(NotFound):
        await load(ireland, holder)


async def test_a_keyring_under_kms(settle: Settle, holder: Keyholder) -> None:
    """The same promises from AWS KMS: the context is KMS's EncryptionContext."""
    settings = settle(EngineKind.MOTO, IRELAND)
    kms = KmsSettings("alias/situs-test", settings.endpoint)
    ireland = await provisioned(replace(settings, key_service=kms))
    public = await create(ireland, holder)
    keyring = await load(ireland, holder)
    for purpose in Purpose:
        assert (await keyring.private(purpose, 1, opens="")).public == getattr(public, purpose)
    assert all(wrapped_by(wrapped).startswith("arn:aws:kms:eu-west-1:") for wrapped in keyring.wrapped())
    # The octets that KMS itself made, under another account's context:
    stranger = Keyholder(IRELAND.code, AccountId.new())
    await ireland.mail.put(stranger.key, (await ireland.mail.get(holder.key)).body)
    other = await Keyring.load(ireland.mail, ireland.keys, stranger)
    with pytest.raises((KeyRefused, Forbidden)):
        await other.private(Purpose.CONTENT, 1, opens="")
    assert kms_client(settings, kms).describe_key(KeyId=kms.key_id)["KeyMetadata"]["MultiRegion"] is False


async def test_without_a_key_service_nothing_is_unwrapped(settle: Settle, holder: Keyholder) -> None:
    """An ingress process has no key service: it can find and fill a mailbox, and that is all."""
    settings = settle(EngineKind.MOTO, IRELAND)
    await provisioned(settings)
    ingress = await RegionStore.open(replace(settings, key_service=None), "test")
    with pytest.raises(Forbidden):
        await Keyring.load(ingress.mail, ingress.keys, Keyholder(IRELAND.code))
