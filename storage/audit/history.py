"""The versions of an audit bucket's objects: what Object Lock keeps, whatever the view shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, final

from botocore.exceptions import BotoCoreError, ClientError

from storage.audit.verify import Version
from storage.control import raise_ours, s3_client
from storage.settings import RegionSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef


@final
class BucketHistory:
    """Reads ListObjectVersions, a page in memory at a time."""

    def __init__(self, settings: RegionSettings) -> None:
        self._bucket: Final = settings.audit_bucket
        self._client: Final[S3Client] = s3_client(settings)

    async def versions(self, prefix: str) -> AsyncIterator[Version]:
        """Every version and delete marker under a prefix, by key, the newest of a key first.

        Raises Unavailable, Forbidden, Rejected.
        """
        key, version, more = "", "", True
        while more:
            page = await asyncio.to_thread(self._page, prefix, key, version)
            found = [
                (item["Key"], item["LastModified"], Version(item["Key"], item["VersionId"], False))
                for item in page.get("Versions", ())
            ]
            found += [
                (item["Key"], item["LastModified"], Version(item["Key"], item["VersionId"], True))
                for item in page.get("DeleteMarkers", ())
            ]
            # S3 lists a key's versions newest first, but markers and versions apart.
            for _, _, one in sorted(found, key=lambda item: (item[0], -item[1].timestamp())):
                yield one
            more = bool(page.get("IsTruncated"))
            key, version = page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")

    def _page(self, prefix: str, key: str, version: str) -> ListObjectVersionsOutputTypeDef:
        try:
            if key and version:
                return self._client.list_object_versions(
                    Bucket=self._bucket, Prefix=prefix, KeyMarker=key, VersionIdMarker=version
                )
            return self._client.list_object_versions(Bucket=self._bucket, Prefix=prefix, KeyMarker=key)
        except (ClientError, BotoCoreError) as error:
            raise_ours(error, f"{self._bucket}: the versions under {prefix}")
