"""What lies under a key for good: versions, delete markers, and Object Lock's legal holds.

The buckets are versioned, so a delete hides and no more. This module sees what is hidden, and puts
the locks on and takes them off; removing a version is `storage.deletion`'s alone.

Legal hold is per version. It does not keep a key from being hidden by a delete marker or replaced
by a newer version (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html), and
SeaweedFS 4.48 does not order it with a deletion that is under way: of 150 versions locked and
deleted at the same moment, 11 were reported locked and were gone. The lock is the belt. What
orders holds with deletions is `storage.intents`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final

from botocore.exceptions import BotoCoreError, ClientError

from storage.control import error_code, raise_ours, s3_client
from storage.objects import PAGE, Bucket
from storage.proof import MARKER
from storage.region import RegionStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import ObjectLockLegalHoldStatusType
    from mypy_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef

_T = TypeVar("_T")

# boto3 spends a millisecond of Python on a request: more threads than this only wait for the GIL.
_THREADS: Final = 16
# Seconds. With the client's one repetition, a request is over, or given up, in less than
# `storage.intents` allows for it.
_DEADLINE: Final = 4.0
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"})
_NEVER_LOCKED: Final = frozenset({"NoSuchObjectLockConfiguration", "NoSuchObjectLegalHold"})


@final
@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One version of an object, or a delete marker (`size` 0). `latest`: what a plain read sees."""

    key: str
    id: str
    is_marker: bool = False
    latest: bool = False
    size: int = 0


@final
class Versions:
    """The versions in one bucket of a region, the mail bucket unless another is named by `of`.

    Close it, or leave its context, when done; its threads end at the latest when it is dropped.
    """

    def __init__(self, store: RegionStore, *, of: Bucket | None = None) -> None:
        settings = replace(store.settings, deadline_seconds=min(_DEADLINE, store.settings.deadline_seconds))
        self._client: Final = s3_client(settings, connections=_THREADS)
        self._bucket: Final = (of or store.mail).name
        self.region: Final = store.region.code
        self._pool: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="versions")
        self._seeks: bool | None = None
        self.at_once: Final = _THREADS  # how many requests are worth having in flight

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Versions:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Version]:
        """Every version and marker under a prefix, by key, the newest of a key first.

        `start_after` is a key, excluded with all its versions. Raises Unavailable, Forbidden.
        """
        key_marker, id_marker = "", ""
        if start_after is not None and await self._can_seek():
            key_marker = start_after
        while True:
            page = await self.ask(
                f"the versions under {prefix}",
                partial(_page, prefix=prefix, key_marker=key_marker, id_marker=id_marker),
            )
            for version in _in_order(page):
                if start_after is None or version.key > start_after:
                    yield version
            if not page.get("IsTruncated"):
                return
            key_marker, id_marker = page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")

    async def of(self, key: str) -> tuple[Version, ...]:
        """The versions and markers of exactly this key."""
        return tuple([version async for version in self.list(key) if version.key == key])

    async def lock(self, version: Version) -> bool:
        """Put the legal hold on. False where the version is gone. Raises Unavailable, Forbidden."""
        return await self.ask(f"lock {version.key}", partial(_set_hold, version=version, status="ON"))

    async def unlock(self, version: Version) -> bool:
        """Take the legal hold off. False where the version is gone."""
        return await self.ask(f"unlock {version.key}", partial(_set_hold, version=version, status="OFF"))

    async def is_locked(self, version: Version) -> bool | None:
        """Whether the bucket itself says so; None where the version is gone."""
        return await self.ask(f"lock of {version.key}", partial(_is_locked, version=version))

    async def _can_seek(self) -> bool:
        """Whether the engine lists from a key marker that is no key: S3 and SeaweedFS do, moto leaves
        out the first version after it. The marker object is in every bucket of ours, to try it on."""
        if self._seeks is None:
            page = await self.ask(
                "list from a marker", partial(_page, prefix=MARKER, key_marker=MARKER[:-1], id_marker="")
            )
            self._seeks = bool(page.get("Versions"))
        return self._seeks

    async def ask(self, what: str, request: Callable[[S3Client, str], _T]) -> _T:
        """One request to the bucket, in a thread. It is not withdrawn when the caller is cancelled.

        Raises Unavailable, Forbidden, Rejected. Deletions go by `storage.deletion`, see there.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, request, self._client, self._bucket)
        except (ClientError, BotoCoreError) as error:
            raise_ours(error, f"{self._bucket}: {what}")


def _page(
    client: S3Client, bucket: str, *, prefix: str, key_marker: str, id_marker: str
) -> ListObjectVersionsOutputTypeDef:
    # An empty marker is no marker: moto takes it for a key, and leaves out the first one.
    if not key_marker:
        return client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE)
    if not id_marker:
        return client.list_object_versions(Bucket=bucket, Prefix=prefix, KeyMarker=key_marker, MaxKeys=PAGE)
    return client.list_object_versions(
        Bucket=bucket, Prefix=prefix, KeyMarker=key_marker, VersionIdMarker=id_marker, MaxKeys=PAGE
    )


def _set_hold(
    client: S3Client, bucket: str, *, version: Version, status: ObjectLockLegalHoldStatusType
) -> bool:
    try:
        client.put_object_legal_hold(
            Bucket=bucket, Key=version.key, VersionId=version.id, LegalHold={"Status": status}
        )
    except ClientError as error:
        if error_code(error) in _GONE:
            return False
        raise
    return True


def _is_locked(client: S3Client, bucket: str, *, version: Version) -> bool | None:
    try:
        answer = client.get_object_legal_hold(Bucket=bucket, Key=version.key, VersionId=version.id)
    except ClientError as error:
        code = error_code(error)
        if code in _GONE:
            return None
        if code in _NEVER_LOCKED:
            return False
        raise
    return answer.get("LegalHold", {}).get("Status") == "ON"


def _in_order(page: ListObjectVersionsOutputTypeDef) -> list[Version]:
    """S3 lists a key's versions newest first, and its markers apart from them."""
    found = [
        (one["LastModified"], Version(one["Key"], one["VersionId"], False, one["IsLatest"], one["Size"]))
        for one in page.get("Versions", ())
    ]
    found += [
        (one["LastModified"], Version(one["Key"], one["VersionId"], True, one["IsLatest"]))
        for one in page.get("DeleteMarkers", ())
    ]
    found.sort(key=lambda pair: (pair[1].key, -pair[0].timestamp()))
    return [version for _, version in found]
