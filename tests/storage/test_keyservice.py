"""Key services: a key file that only its owner can read, and AWS KMS in one region (on moto)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.control import kms_client
from storage.errors import FenceBroken, Forbidden, KeyRefused, Unavailable
from storage.keyservice import KeyFile, KeyService, wrapped_by
from storage.proof import open_key_service
from storage.settings import KmsSettings, RegionSettings
from tests.engines import GERMANY, IRELAND, EngineKind, Settle

CONTEXT = {"region": "eu-west-1", "account": "0" * 32, "purpose": "content", "generation": "1"}


def kms_settings(settle: Settle) -> RegionSettings:
    """Settings with a single-Region KMS key that exists in the region's moto."""
    settings = settle(EngineKind.MOTO, IRELAND)
    client = kms_client(settings, KmsSettings("", settings.endpoint))
    return replace(
        settings,
        key_service=KmsSettings(client.create_key()["KeyMetadata"]["KeyId"], settings.endpoint),
    )


@pytest.fixture(params=["file", "kms"])
def service(request: pytest.FixtureRequest, settle: Settle, tmp_path: Path) -> KeyService:
    if request.param == "file":
        return KeyFile.create(tmp_path / "region.key")
    opened = open_key_service(kms_settings(settle))
    assert opened is not None
    return opened


async def test_what_was_wrapped_is_what_is_unwrapped_under_the_same_context(service: KeyService) -> None:
    wrapped = await service.wrap(b"a private key", CONTEXT)
    assert b"a private key" not in wrapped
    assert await service.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == b"a private key"
    assert wrapped_by(wrapped) == service.key_id


@pytest.mark.parametrize("change", [{"account": "1" * 32}, {"purpose": "traffic"}, {"more": "x"}])
async def test_another_context_opens_nothing(service: KeyService, change: dict[str, str]) -> None:
    wrapped = await service.wrap(b"a private key", CONTEXT)
    with pytest.raises(KeyRefused):
        await service.unwrap(wrapped, CONTEXT | change)


async def test_a_changed_octet_anywhere_opens_nothing(service: KeyService) -> None:
    wrapped = await service.wrap(b"a private key", CONTEXT)
    # KMS may take damaged octets for those of a key that it does not know, and forbid that.
    refusal = KeyRefused if isinstance(service, KeyFile) else Forbidden
    for at in range(0, len(wrapped), max(1, len(wrapped) // 25)):
        damaged = bytearray(wrapped)
        damaged[at] ^= 1
        with pytest.raises(refusal):
            await service.unwrap(bytes(damaged), CONTEXT)
    for length in (0, 4, 8, len(wrapped) - 1):
        with pytest.raises(refusal):
            await service.unwrap(wrapped[:length], CONTEXT)


async def test_another_key_service_is_named_not_guessed(service: KeyService, tmp_path: Path) -> None:
    other = KeyFile.create(tmp_path / "other.key")
    wrapped = await other.wrap(b"a private key", CONTEXT)
    with pytest.raises(KeyRefused, match=f"{other.key_id}.*expected.*{service.key_id}"):
        await service.unwrap(wrapped, CONTEXT)


@given(st.binary(max_size=200))
def test_octets_that_nobody_wrapped_name_nobody(octets: bytes) -> None:
    if not octets.startswith(b"SKW\x01"):
        with pytest.raises(KeyRefused):
            wrapped_by(octets)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "region.key"
    KeyFile.create(path)
    path.chmod(mode)
    with pytest.raises(FenceBroken, match=f"{path}.*{mode:04o}.*0600"):
        KeyFile.load(path)


@pytest.mark.parametrize("octets", [b"", b"x" * 31, b"x" * 33, b"x" * 64])
def test_a_key_file_of_another_length_is_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "region.key"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(octets)
    with pytest.raises(FenceBroken, match="32 bytes"):
        KeyFile.load(path)


def test_a_missing_key_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FenceBroken, match=r"none\.key"):
        KeyFile.load(tmp_path / "none.key")


def test_creating_a_key_file_twice_keeps_the_first_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "region.key"
    first = KeyFile.create(path)
    assert KeyFile.create(path).key_id == first.key_id
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["region.key"]


def test_the_key_is_in_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "region.key"
    service = KeyFile.create(path)
    assert path.read_bytes().hex() not in repr(service) + repr(vars(service))


def test_a_multi_region_kms_key_is_refused(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, IRELAND)
    client = kms_client(settings, KmsSettings("", settings.endpoint))
    key = client.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    assert key.startswith("mrk-")
    with pytest.raises(FenceBroken, match="multi-Region key, expected a single-Region one"):
        open_key_service(replace(settings, key_service=KmsSettings(key, settings.endpoint)))


def test_a_kms_key_of_another_region_is_refused(settle: Settle) -> None:
    settings = kms_settings(settle)
    abroad = settle(EngineKind.MOTO, GERMANY)
    key = kms_client(abroad, KmsSettings("", abroad.endpoint)).create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(FenceBroken, match=r"expected a key of eu-west-1|lies in eu-central-1"):
        open_key_service(replace(settings, key_service=KmsSettings(key, settings.endpoint)))


def test_a_disabled_kms_key_is_refused(settle: Settle) -> None:
    settings = kms_settings(settle)
    assert isinstance(settings.key_service, KmsSettings)
    client = kms_client(settings, settings.key_service)
    client.disable_key(KeyId=settings.key_service.key_id)
    with pytest.raises(FenceBroken, match="Disabled, expected Enabled"):
        open_key_service(settings)


async def test_a_kms_that_is_down_is_unavailable(settle: Settle) -> None:
    settings = replace(kms_settings(settle), deadline_seconds=0.5)
    assert isinstance(settings.key_service, KmsSettings)
    nowhere = replace(settings, key_service=replace(settings.key_service, endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        open_key_service(nowhere)


async def test_kms_refuses_what_is_longer_than_it_takes(settle: Settle) -> None:
    service = open_key_service(kms_settings(settle))
    assert service is not None
    with pytest.raises(ValueError, match="4096"):
        await service.wrap(b"x" * 4097, CONTEXT)
