"""Making a region: its buckets, their locks, its marker, its key, its keyring.

Run again, it changes nothing. Before it changes anything it looks at what is there: a bucket that
another region or deployment has marked, or that holds objects and no marker, is left as it is.

If we crash half way, what was made is what the next run finds done. The marker comes after the
bucket's settings, so a marked bucket has them; the keyring comes last, and is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from storage.control import error_code, kms_client, raise_ours, s3_client
from storage.errors import AlreadyExists, FenceBroken, NotFound
from storage.identity import Clock, utc_now
from storage.keyring import Keyholder, Keyring, create_keyring
from storage.keyservice import KeyFile
from storage.objects import Bucket
from storage.proof import (
    MARKER,
    US_EAST_1,
    Check,
    Marker,
    Provisioned,
    checks,
    open_key_service,
    prove,
    read_marker,
)
from storage.settings import KeyFileSettings, KmsSettings, RegionSettings

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import PublicAccessBlockConfigurationTypeDef

_ALL_BLOCKED: Final[PublicAccessBlockConfigurationTypeDef] = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


async def provision(settings: RegionSettings, deployment: str, clock: Clock = utc_now) -> Provisioned:
    """Make whatever the region lacks, and prove it.

    Raises FenceBroken where something there belongs to another region or deployment, or cannot
    be made right; Forbidden, Rejected, Unavailable.
    """
    await asyncio.to_thread(_make, settings, deployment)
    marker = Marker(deployment, settings.region).to_bytes()
    for name in (settings.bucket, settings.audit_bucket):
        await _mark(Bucket(name, settings.access, deadline=settings.deadline_seconds), marker)
    await _make_keyring(settings, clock)
    return await prove(settings, deployment)


async def check(settings: RegionSettings, deployment: str) -> tuple[Check, ...]:
    """Everything that the fence asks for, each with its answer. Raises Unavailable."""
    return await asyncio.to_thread(lambda: tuple(checks(settings, deployment)))


def _make(settings: RegionSettings, deployment: str) -> None:
    client = s3_client(settings)
    marker = Marker(deployment, settings.region)
    names = (settings.bucket, settings.audit_bucket)
    exist = [_engine(f"bucket {name}", partial(_is_ours, client, name, marker)) for name in names]
    _make_key(settings)
    for name, exists in zip(names, exist, strict=True):
        days = settings.audit_retention_days if name == settings.audit_bucket else 0
        bucket = _Maker(client, name, days)
        if not exists:
            _engine(f"bucket {name}", partial(bucket.create, settings.region.code.value))
        _engine(f"bucket {name}", bucket.set_up)


def _engine(what: str, act: Callable[[], bool]) -> bool:
    try:
        return act()
    except (ClientError, BotoCoreError) as error:
        raise_ours(error, what)


def _is_ours(client: S3Client, name: str, marker: Marker) -> bool:
    """False where there is no such bucket. Raises FenceBroken where it is not this region's."""
    try:
        body: bytes | None = read_marker(client, name)
    except ClientError as error:
        match error_code(error):
            case "NoSuchBucket":
                return False
            case "NoSuchKey":
                body = None
            case "AccessDenied" | "403":
                raise FenceBroken(f"bucket {name}: belongs to somebody else, expected ours or none") from None
            case _:
                raise
    if body is None:
        if client.list_objects_v2(Bucket=name, MaxKeys=1).get("KeyCount", 0):
            raise FenceBroken(f"bucket {name}: holds objects and no {MARKER}, expected an empty bucket")
    elif difference := marker.difference(body):
        raise FenceBroken(f"bucket {name}: {MARKER} {difference}")
    return True


class _Maker:
    """Gives one bucket what it lacks, and asks before each write whether it lacks it."""

    def __init__(self, client: S3Client, name: str, retention_days: int) -> None:
        self._client: Final = client
        self._name: Final = name
        self._retention_days: Final = retention_days

    def create(self, location: str) -> bool:
        try:
            if location == US_EAST_1:  # S3 refuses to be told its default
                self._client.create_bucket(Bucket=self._name, ObjectLockEnabledForBucket=True)
            else:
                place: BucketLocationConstraintType = location  # type: ignore[assignment]
                self._client.create_bucket(
                    Bucket=self._name,
                    ObjectLockEnabledForBucket=True,
                    CreateBucketConfiguration={"LocationConstraint": place},
                )
        except ClientError as error:
            match error_code(error):
                case "BucketAlreadyOwnedByYou":  # by another `provision`, just now
                    return False
                case "BucketAlreadyExists":
                    raise FenceBroken(f"bucket {self._name}: the name is somebody else's") from None
                case "IllegalLocationConstraintException" | "InvalidLocationConstraint":
                    raise FenceBroken(
                        f"bucket {self._name}: the endpoint does not make buckets in {location}"
                    ) from None
                case _:
                    raise
        return True

    def set_up(self) -> bool:
        """Versioning, then lock, then public access: each only where it is missing."""
        if self._client.get_bucket_versioning(Bucket=self._name).get("Status") != "Enabled":
            self._client.put_bucket_versioning(
                Bucket=self._name, VersioningConfiguration={"Status": "Enabled"}
            )
        self._lock()
        self._block_public_access()
        return True

    def _lock(self) -> None:
        try:
            answer = self._client.get_object_lock_configuration(Bucket=self._name)
            lock = answer.get("ObjectLockConfiguration", {})
        except ClientError as error:
            if error_code(error) != "ObjectLockConfigurationNotFoundError":
                raise
            lock = {}
        rule = lock.get("Rule", {}).get("DefaultRetention", {})
        retained = (rule.get("Days") or 0) or 365 * (rule.get("Years") or 0)
        strict = rule.get("Mode") == "COMPLIANCE" and retained >= self._retention_days
        if not self._retention_days:
            if lock.get("ObjectLockEnabled") != "Enabled":
                self._client.put_object_lock_configuration(
                    Bucket=self._name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
                )
        elif not strict:
            self._client.put_object_lock_configuration(
                Bucket=self._name,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": self._retention_days}},
                },
            )

    def _block_public_access(self) -> None:
        try:
            answer = self._client.get_public_access_block(Bucket=self._name)
            blocks = answer["PublicAccessBlockConfiguration"]
        except ClientError as error:
            if error_code(error) == "NotImplemented":  # SeaweedFS
                return
            if error_code(error) != "NoSuchPublicAccessBlockConfiguration":
                raise
            blocks = {}
        if blocks != _ALL_BLOCKED:
            self._client.put_public_access_block(
                Bucket=self._name, PublicAccessBlockConfiguration=_ALL_BLOCKED
            )


def _make_key(settings: RegionSettings) -> None:
    match settings.key_service:
        case KeyFileSettings(path):
            if not path.exists():
                KeyFile.create(path)
        case KmsSettings(key_id) as kms if key_id.startswith("alias/"):
            _engine(f"KMS key {key_id}", partial(_make_kms_key, kms_client(settings, kms), kms, settings))
        case _:
            pass


def _make_kms_key(client: KMSClient, kms: KmsSettings, settings: RegionSettings) -> bool:
    try:
        client.describe_key(KeyId=kms.key_id)
    except ClientError as error:
        if error_code(error) != "NotFoundException":
            raise
        key = client.create_key(Description=f"Situs: private keys of {settings.region}", MultiRegion=False)
        client.create_alias(AliasName=kms.key_id, TargetKeyId=key["KeyMetadata"]["Arn"])
        return True
    return False


async def _mark(bucket: Bucket, marker: bytes) -> None:
    try:
        if (await bucket.get(MARKER)).body == marker:
            return
    except NotFound:
        # Another `provision` may be faster: `prove` reads whose marker it is.
        with contextlib.suppress(AlreadyExists):
            await bucket.put_if_absent(MARKER, marker)


async def _make_keyring(settings: RegionSettings, clock: Clock) -> None:
    service = await asyncio.to_thread(open_key_service, settings)
    if service is None:
        return
    bucket = Bucket(settings.bucket, settings.access, deadline=settings.deadline_seconds)
    holder = Keyholder(settings.region.code)
    try:
        await Keyring.load(bucket, service, holder)
    except NotFound:
        await create_keyring(bucket, service, holder, clock())
