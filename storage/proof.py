"""The proof that a region is what its settings say: the checks that a store is opened on.

In this order, for the key service and then for each of the two buckets:

1. the key service is there and lies in the region (a multi-Region KMS key does not);
2. the bucket exists and these credentials reach it;
3. the engine's own answer for its location is the region;
4. the marker `situs/region.json` names this deployment, region and country;
5. versioning is on, so that nothing is overwritten for good;
6. Object Lock is on (and retains the audit bucket's objects);
7. nothing is replicated to elsewhere;
8. public access is blocked, where the engine knows the word.

What an engine does not know, a check says; what it will not tell these credentials, has not been
proven, and the check fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from botocore.exceptions import BotoCoreError, ClientError

from policy.geography import Region
from storage.control import NotTheEngine, error_code, kms_client, raise_ours, s3_client
from storage.errors import FenceBroken
from storage.keyservice import KeyFile, KeyService, Kms
from storage.settings import KeyFileSettings, KmsSettings, RegionSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MARKER: Final = "situs/region.json"
US_EAST_1: Final = "us-east-1"  # S3 writes this region's location as null

_T = TypeVar("_T")
_UNKNOWN_TO_ENGINE: Final = frozenset({"NotImplemented", "MethodNotAllowed", "XNotImplemented"})


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the fence asks for: whether it holds, and what was found or expected."""

    name: str
    ok: bool
    detail: str


@final
@dataclass(frozen=True, slots=True)
class Marker:
    """What `situs/region.json` says, once and for all, of the bucket that it lies in."""

    deployment: str
    region: Region

    def to_bytes(self) -> bytes:
        return json.dumps(
            {
                "version": 1,
                "deployment": self.deployment,
                "region": str(self.region.code),
                "country": str(self.region.country),
            }
        ).encode()

    def difference(self, body: bytes) -> str | None:
        """None where `body` is this marker, else the first thing that it says otherwise."""
        try:
            found = json.loads(body)
        except ValueError:
            return "is not JSON"
        for name, expected in json.loads(self.to_bytes()).items():
            value = found.get(name) if isinstance(found, dict) else None
            if value != expected:
                return f"says {name} {value!r}, expected {expected!r}"
        return None


def read_marker(client: S3Client, bucket: str) -> bytes:
    """The marker's octets. Raises ClientError, BotoCoreError."""
    answer = client.get_object(Bucket=bucket, Key=MARKER)
    if not answer.get("ETag"):
        raise NotTheEngine(operation="GetObject")
    return answer["Body"].read()


_MINT: Final = object()


@final
class Provisioned:
    """Proof that a region's buckets and key service are what the fence asks for.

    Made by `prove` alone. With it the control plane gets the region's store (`Ground.control_plane`).
    """

    __slots__ = ("deployment", "region")

    def __init__(self, region: Region, deployment: str, *, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("Provisioned is made by storage.proof.prove")
        self.region: Final = region
        self.deployment: Final = deployment


async def prove(settings: RegionSettings, deployment: str) -> Provisioned:
    """Run the checks until one fails. Raises FenceBroken with that one's reason; Unavailable."""

    def first_failure() -> Check | None:
        return next((check for check in checks(settings, deployment) if not check.ok), None)

    if failed := await asyncio.to_thread(first_failure):
        raise FenceBroken(f"region {settings.region}: {failed.name}: {failed.detail}")
    return Provisioned(settings.region, deployment, mint=_MINT)


def open_key_service(settings: RegionSettings) -> KeyService | None:
    """The region's key service, where this process has one.

    Raises FenceBroken if it is not the region's own; Unavailable, Forbidden, Rejected.
    """
    match settings.key_service:
        case None:
            return None
        case KeyFileSettings(path):
            return KeyFile.load(path)
        case KmsSettings() as kms:
            return _open_kms(settings, kms)


def _open_kms(settings: RegionSettings, kms: KmsSettings) -> Kms:
    client = kms_client(settings, kms)
    what = f"KMS key {kms.key_id}"
    try:
        found = client.describe_key(KeyId=kms.key_id)["KeyMetadata"]
    except ClientError as error:
        if error_code(error) == "NotFoundException":
            raise FenceBroken(f"{what}: not found, expected a key of {settings.region.code}") from None
        raise_ours(error, what)
    except BotoCoreError as error:
        raise_ours(error, what)
    # A multi-Region key is the same key in other countries too: whoever holds a replica there
    # opens what is wrapped here. https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
    if found.get("MultiRegion") or found["KeyId"].startswith("mrk-"):
        raise FenceBroken(f"{what}: is a multi-Region key, expected a single-Region one")
    home = found["Arn"].split(":")[3]
    if home != settings.region.code.value:
        raise FenceBroken(f"{what}: lies in {home}, expected {settings.region.code}")
    if found.get("KeyState") != "Enabled":
        raise FenceBroken(f"{what}: is {found.get('KeyState')}, expected Enabled")
    return Kms(client, found["Arn"])


def checks(settings: RegionSettings, deployment: str) -> Iterator[Check]:
    """All the checks, one after the other. Blocks: run it in a thread. Raises Unavailable."""
    yield _key_service_check(settings)
    client = s3_client(settings)
    marker = Marker(deployment, settings.region)
    for role, name in (("bucket", settings.bucket), ("audit_bucket", settings.audit_bucket)):
        retention = settings.audit_retention_days if role == "audit_bucket" else 0
        bucket = _BucketChecks(client, name, settings.region, marker, retention)
        for thing, check in bucket.all():
            try:
                ok, detail = check()
            except ClientError as error:
                code = error_code(error)
                if code not in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                    raise_ours(error, f"region {settings.region}: {name}: {thing}")
                ok, detail = False, f"the engine refuses to tell ({code}): not proven"
            except BotoCoreError as error:
                raise_ours(error, f"region {settings.region}: {name}: {thing}")
            yield Check(f"{role} {name}: {thing}", ok, detail)
            if thing == "exists" and not ok:
                break


def _key_service_check(settings: RegionSettings) -> Check:
    try:
        service = open_key_service(settings)
    except FenceBroken as error:
        return Check("key service", False, error.reason)
    if service is None:
        return Check("key service", True, "none here: this process can write and not read")
    return Check("key service", True, service.key_id)


@final
class _BucketChecks:
    """The questions put to one bucket. Each method answers (does it hold, what was found)."""

    def __init__(
        self, client: S3Client, name: str, region: Region, marker: Marker, retention_days: int
    ) -> None:
        self._client: Final = client
        self._name: Final = name
        self._region: Final = region
        self._marker: Final = marker
        self._retention_days: Final = retention_days

    def all(self) -> Iterator[tuple[str, Callable[[], tuple[bool, str]]]]:
        yield "exists", self.exists
        yield "location", self.location
        yield "marker", self.marker
        yield "versioning", self.versioning
        yield "object lock", self.object_lock
        yield "replication", self.replication
        yield "public access", self.public_access

    def exists(self) -> tuple[bool, str]:
        try:
            self._client.head_bucket(Bucket=self._name)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchBucket"):
                return False, "no such bucket, expected one made by `situs region provision`"
            raise
        return True, "yes"

    def location(self) -> tuple[bool, str]:
        answer = self._client.get_bucket_location(Bucket=self._name)
        server = answer["ResponseMetadata"]["HTTPHeaders"].get("server", "")
        place = answer.get("LocationConstraint")
        if not place and server.startswith("SeaweedFS"):
            return True, "SeaweedFS knows no locations: the marker has to do"
        found = {None: US_EAST_1, "": US_EAST_1, "EU": "eu-west-1"}.get(place, place)
        expected = self._region.code.value
        return found == expected, f"{found}" if found == expected else f"{found}, expected {expected}"

    def marker(self) -> tuple[bool, str]:
        body = self._unless({"NoSuchKey"}, partial(read_marker, self._client, self._name))
        if body is None:
            return False, f"no {MARKER}, expected one made by `situs region provision {self._region.code}`"
        difference = self._marker.difference(body)
        return difference is None, f"{MARKER} {difference}" if difference else "this region's"

    def versioning(self) -> tuple[bool, str]:
        status = self._client.get_bucket_versioning(Bucket=self._name).get("Status", "never enabled")
        return status == "Enabled", status if status == "Enabled" else f"{status}, expected Enabled"

    def object_lock(self) -> tuple[bool, str]:
        answer = self._unless(
            {"ObjectLockConfigurationNotFoundError"},
            lambda: self._client.get_object_lock_configuration(Bucket=self._name),
        )
        lock: Any = {} if answer is None else answer.get("ObjectLockConfiguration", {})
        if lock.get("ObjectLockEnabled") != "Enabled":
            return False, "not enabled, expected Enabled"
        if not self._retention_days:
            return True, "Enabled"
        rule = lock.get("Rule", {}).get("DefaultRetention", {})
        days = rule.get("Days") or 0
        days = days or 365 * (rule.get("Years") or 0)
        found = f"{rule.get('Mode', 'no default retention')} {days} days"
        if rule.get("Mode") != "COMPLIANCE" or days < self._retention_days:
            return False, f"{found}, expected COMPLIANCE {self._retention_days} days"
        return True, found

    def replication(self) -> tuple[bool, str]:
        answer = self._unless(
            {"ReplicationConfigurationNotFoundError"} | _UNKNOWN_TO_ENGINE,
            lambda: self._client.get_bucket_replication(Bucket=self._name),
        )
        if answer is None:
            return True, "none"
        rules = answer["ReplicationConfiguration"]["Rules"]
        to = ", ".join(sorted({rule["Destination"]["Bucket"] for rule in rules}))
        # A rule that is switched off is switched on with one click: there must be none.
        return False, f"{len(rules)} rule(s) to {to}, expected none"

    def public_access(self) -> tuple[bool, str]:
        try:
            answer = self._client.get_public_access_block(Bucket=self._name)
        except ClientError as error:
            if error_code(error) in _UNKNOWN_TO_ENGINE:
                return True, "the engine knows no public access block"
            if error_code(error) == "NoSuchPublicAccessBlockConfiguration":
                return False, "not blocked, expected all four blocks on"
            raise
        blocks = answer["PublicAccessBlockConfiguration"]
        open_ones = sorted(name for name, on in blocks.items() if not on)
        if open_ones or len(blocks) < 4:
            return False, f"{', '.join(open_ones) or 'some blocks'} off, expected all four blocks on"
        return True, "blocked"

    @staticmethod
    def _unless(codes: set[str] | frozenset[str], ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except ClientError as error:
            if error_code(error) in codes:
                return None
            raise
