"""As whom a region is reached: roles and keys that end, in files and in the machine, against moto's STS."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from storage import credentials
from storage.control import kms_client, s3_client
from storage.credentials import Credentials, Machine, Profile, StaticKeys
from storage.errors import FenceBroken, Unavailable
from storage.objects import Access, Bucket
from storage.provision import check, provision
from storage.region import KeyFileSettings, KmsSettings, RegionSettings, RegionStore
from tests.engines import DEPLOYMENT, IRELAND
from tests.faults import FaultProxy

ROLE = "arn:aws:iam::123456789012:role/situs-gateway"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """moto without the guard that takes one key alone: S3, KMS and STS of a region."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads what the machine it runs on has, and none finds what another has fetched."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    credentials._found.cache_clear()


@pytest.fixture
async def engine(aws: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(aws) as proxy:
        yield proxy


def settings_of(engine: FaultProxy, keys: Credentials, directory: Path) -> RegionSettings:
    name = directory.name.replace("_", "-")[:40].strip("-")
    return RegionSettings(
        region=IRELAND,
        endpoint=engine.endpoint,
        bucket=f"{name}-mail",
        audit_bucket=f"{name}-audit",
        credentials=keys,
        key_service=KeyFileSettings(directory / "region.key"),
        audit_retention_days=1,
    )


def role_file(path: Path, sts: str) -> Path:
    """A file as AWS's tools read it: a role, the keys that may take it, and where STS is."""
    path.write_text(
        f"[profile situs]\nrole_arn = {ROLE}\nsource_profile = host\nservices = here\n"
        f"[profile host]\naws_access_key_id = AKIAHOST\naws_secret_access_key = h\nservices = here\n"
        f"[services here]\nsts =\n  endpoint_url = {sts}\n"
    )
    return path


async def test_a_region_is_provisioned_opened_and_used_with_an_assumed_role(
    engine: FaultProxy, aws: str, tmp_path: Path
) -> None:
    settings = settings_of(engine, Profile("situs", role_file(tmp_path / "aws", aws)), tmp_path)
    await provision(settings, DEPLOYMENT)
    assert [line for line in await check(settings, DEPLOYMENT) if not line.ok] == []
    region = await RegionStore.open(settings, DEPLOYMENT)
    await region.mail.put_if_absent("mail/a/1", b"sealed", legal_hold=True)
    assert (await region.mail.get("mail/a/1")).body == b"sealed"
    assert [one.key async for one in region.mail.list("mail/")] == ["mail/a/1"]
    # All of it, obstore's and boto3's, was signed with one set of the role's keys and its token.
    assert {one.headers["authorization"].split("/")[0] for one in engine.requests} == {
        engine.requests[0].headers["authorization"].split("/")[0]
    }
    assert "Credential=ASIA" in engine.requests[0].headers["authorization"]
    assert len({one.headers["x-amz-security-token"] for one in engine.requests}) == 1


async def test_keys_that_end_are_renewed_while_the_clients_stay(
    engine: FaultProxy, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of an hour is the least that STS gives, and too little to go on with: always renewed."""
    file = role_file(tmp_path / "aws", aws)
    file.write_text(file.read_text().replace("[profile host]", "duration_seconds = 900\n[profile host]"))
    settings = settings_of(engine, Profile("situs", file), tmp_path)
    monkeypatch.setattr(credentials, "_HANDED_OUT_FOR", timedelta(0))
    await provision(settings, DEPLOYMENT)
    bucket, client = Bucket(settings.bucket, settings.access), s3_client(settings)
    tokens: dict[str, set[str]] = {"obstore": set(), "boto3": set()}
    async with asyncio.timeout(30):
        while min(map(len, tokens.values())) < 3:
            await bucket.put("mail/a/1", b"sealed")
            tokens["obstore"].add(engine.requests[-1].headers["x-amz-security-token"])
            await asyncio.to_thread(client.head_object, Bucket=settings.bucket, Key="mail/a/1")
            tokens["boto3"].add(engine.requests[-1].headers["x-amz-security-token"])


async def test_the_environments_temporary_keys_go_with_their_token(
    engine: FaultProxy, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sts = boto3.client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=aws,
        aws_access_key_id="AKIAHOST",
        aws_secret_access_key="h",
    )
    given = sts.get_session_token()["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])
    settings = settings_of(engine, Machine(), tmp_path)
    await provision(settings, DEPLOYMENT)
    region = await RegionStore.open(settings, DEPLOYMENT)
    await region.mail.put_if_absent("mail/a/1", b"sealed")
    assert {one.headers["x-amz-security-token"] for one in engine.requests} == {given["SessionToken"]}


async def test_static_keys_take_no_notice_of_the_machine(
    engine: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another program's")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    settings = settings_of(engine, StaticKeys("AKIAREGION", "s"), tmp_path)
    await provision(settings, DEPLOYMENT)
    await RegionStore.open(settings, DEPLOYMENT)
    assert not any("x-amz-security-token" in one.headers for one in engine.requests)
    assert all("Credential=AKIAREGION/" in one.headers["authorization"] for one in engine.requests)


async def test_no_word_of_the_machine_sends_keys_to_another_key_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: FaultProxy
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    settings = settings_of(engine, StaticKeys("AKIAREGION", "s"), tmp_path)
    assert kms_client(settings, KmsSettings("k")).meta.endpoint_url == "https://kms.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (Machine(), "no credentials from the machine's own credentials"),
        (
            Profile("situs"),
            "no credentials from profile 'situs': The config profile (situs) could not be found",
        ),
        (Profile("situs", Path("no-such-file")), "no credentials from profile 'situs' in no-such-file: "),
    ],
    ids=["machine", "profile", "file"],
)
async def test_a_source_without_keys_is_one_clear_line(
    keys: Credentials, said: str, engine: FaultProxy, tmp_path: Path
) -> None:
    settings = replace(settings_of(engine, keys, tmp_path), deadline_seconds=1.0)
    with pytest.raises(Unavailable) as refused:
        await provision(settings, DEPLOYMENT)
    assert str(refused.value).startswith(f"region eu-west-1: {said}")
    with pytest.raises((Unavailable, FenceBroken)):
        await RegionStore.open(settings, DEPLOYMENT)
    with pytest.raises(Unavailable):
        await Bucket("b", Access(IRELAND.code, engine.endpoint, keys), deadline=1).put_if_absent(
            "mail/a/1", b""
        )
    assert engine.requests == []


def test_stores_are_made_while_nobody_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_* are hidden from obstore for a moment: another thread must find them all the same."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    ended = threading.Event()
    access = Access(IRELAND.code, "http://127.0.0.1:1", StaticKeys("AKIAREGION", "s"))

    def make_stores() -> None:
        while not ended.is_set():
            Bucket("b", access)

    maker = threading.Thread(target=make_stores)
    maker.start()
    try:
        for _ in range(20):
            credentials._found.cache_clear()
            assert credentials.renewed(Machine(), IRELAND.code).access_key == "AKIAENV"
    finally:
        ended.set()
        maker.join()
