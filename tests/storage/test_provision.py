"""`provision` makes what a region lacks, changes nothing the second time, and nothing of others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from policy.geography import Jurisdiction, Region
from storage.control import kms_client, s3_client
from storage.errors import FenceBroken, Unavailable
from storage.objects import Bucket
from storage.proof import MARKER
from storage.provision import check, provision
from storage.region import KeyFileSettings, KmsSettings, RegionSettings, RegionStore
from tests.engines import DEPLOYMENT, IRELAND, VIRGINIA, EngineKind, Settle
from tests.faults import FaultProxy


@pytest.fixture
def settings(settle: Settle, engine_kind: EngineKind) -> RegionSettings:
    return settle(engine_kind, IRELAND)


async def test_a_provisioned_region_has_everything_that_the_fence_asks_for(settings: RegionSettings) -> None:
    await provision(settings, DEPLOYMENT)
    found = await check(settings, DEPLOYMENT)
    assert [line for line in found if not line.ok] == []
    assert len(found) == 1 + 2 * 7
    opened = await RegionStore.open(settings, DEPLOYMENT)
    assert (await opened.mail.get(MARKER)).body == (await opened.audit.get(MARKER)).body


async def test_a_region_that_is_not_provisioned_lacks_its_key_and_its_buckets(
    settings: RegionSettings,
) -> None:
    found = await check(settings, DEPLOYMENT)
    assert [(line.name, line.ok) for line in found] == [
        ("key service", False),
        (f"bucket {settings.bucket}: exists", False),
        (f"audit_bucket {settings.audit_bucket}: exists", False),
    ]


async def test_run_twice_it_asks_the_engine_for_no_change(settings: RegionSettings) -> None:
    await provision(settings, DEPLOYMENT)
    assert isinstance(settings.key_service, KeyFileSettings)
    key = settings.key_service.path.read_bytes()
    async with FaultProxy(settings.endpoint) as proxy:
        await provision(replace(settings, endpoint=proxy.endpoint), DEPLOYMENT)
    assert proxy.requests
    assert proxy.writes() == []
    assert settings.key_service.path.read_bytes() == key


async def test_many_who_provision_at_once_make_one_region(settings: RegionSettings) -> None:
    await asyncio.gather(*(provision(settings, DEPLOYMENT) for _ in range(4)))
    assert all(line.ok for line in await check(settings, DEPLOYMENT))


@pytest.mark.parametrize(
    ("deployment", "region", "says"),
    [
        ("other", IRELAND, "deployment 'test', expected 'other'"),
        (DEPLOYMENT, VIRGINIA, "region 'eu-west-1', expected 'us-east-1'"),
        (DEPLOYMENT, Region(IRELAND.code, Jurisdiction("GB")), "country 'IE', expected 'GB'"),
    ],
)
async def test_a_bucket_of_another_region_or_deployment_is_refused_and_left_alone(
    settings: RegionSettings, deployment: str, region: Region, says: str
) -> None:
    await provision(settings, DEPLOYMENT)
    async with FaultProxy(settings.endpoint) as proxy:
        other = replace(settings, endpoint=proxy.endpoint, region=region)
        with pytest.raises(FenceBroken, match=says):
            await provision(other, deployment)
    assert proxy.writes() == []


async def test_a_bucket_with_objects_and_no_marker_is_refused_and_left_alone(
    settings: RegionSettings,
) -> None:
    client = s3_client(settings)
    client.create_bucket(
        Bucket=settings.audit_bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    client.put_object(Bucket=settings.audit_bucket, Key="somebody/elses", Body=b"x")
    with pytest.raises(FenceBroken, match=rf"{settings.audit_bucket}: holds objects and no {MARKER}"):
        await provision(settings, DEPLOYMENT)
    assert settings.bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]
    assert isinstance(settings.key_service, KeyFileSettings)
    assert not settings.key_service.path.exists()


async def test_an_empty_bucket_is_given_what_it_lacks(settings: RegionSettings) -> None:
    """As a run that crashed after its first request has left it, or somebody with a console."""
    s3_client(settings).create_bucket(
        Bucket=settings.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    await provision(settings, DEPLOYMENT)
    assert all(line.ok for line in await check(settings, DEPLOYMENT))


async def test_an_engine_that_is_down_is_unavailable_and_the_key_is_not_made(
    settings: RegionSettings,
) -> None:
    down = replace(settings, endpoint="http://127.0.0.1:1", deadline_seconds=0.5)
    with pytest.raises(Unavailable):
        await provision(down, DEPLOYMENT)
    assert isinstance(settings.key_service, KeyFileSettings)
    assert not settings.key_service.path.exists()


async def test_us_east_1_whose_location_is_written_as_null(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, VIRGINIA)
    await provision(settings, DEPLOYMENT)
    assert all(line.ok for line in await check(settings, DEPLOYMENT))


async def test_a_kms_key_is_made_under_its_alias_once(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, IRELAND)
    kms = KmsSettings(f"alias/{settings.bucket}", settings.endpoint)
    settings = replace(settings, key_service=kms)
    await provision(settings, DEPLOYMENT)
    key = kms_client(settings, kms).describe_key(KeyId=kms.key_id)["KeyMetadata"]
    await provision(settings, DEPLOYMENT)
    assert kms_client(settings, kms).describe_key(KeyId=kms.key_id)["KeyMetadata"]["Arn"] == key["Arn"]
    assert key["MultiRegion"] is False
    opened = await RegionStore.open(settings, DEPLOYMENT)
    assert opened.keys.key_id == key["Arn"]


async def test_a_process_without_a_key_service_opens_the_region_and_cannot_read(
    settings: RegionSettings, tmp_path: Path
) -> None:
    await provision(settings, DEPLOYMENT)
    ingress = await RegionStore.open(replace(settings, key_service=None), DEPLOYMENT)
    await ingress.mail.put_if_absent("mail/x/y", b"sealed")
    with pytest.raises(Exception, match="no key service is configured here"):
        ingress.keys  # noqa: B018


async def test_the_marker_is_written_once_and_says_where_it_is(settings: RegionSettings) -> None:
    await provision(settings, DEPLOYMENT)
    bucket = Bucket(settings.bucket, settings.access)
    assert (await bucket.get(MARKER)).body == (
        b'{"version": 1, "deployment": "test", "region": "eu-west-1", "country": "IE"}'
    )
