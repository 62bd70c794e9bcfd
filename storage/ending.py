"""Asking again whether a listing has ended.

obstore reads any XML as a page of a listing, an HTML page that a balancer shows with status 200
too: as the last page, without objects. Nothing in its answer tells that from the end. Whoever
lists what must be held, erased or proven at home would miss objects in silence, so the end is
asked for once more by a client whose answers are known for the engine's own (`storage.control`).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Final, final

from botocore.exceptions import BotoCoreError, ClientError

from storage.control import raise_ours, s3_client_of
from storage.engine import Access
from storage.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@final
class EndOfListing:
    """Confirms the ends of one bucket's listings."""

    def __init__(self, bucket: str, access: Access, deadline: float) -> None:
        self._bucket: Final = bucket
        self._access: Final = access
        self._deadline: Final = deadline

    async def confirm(self, prefix: str, last: str | None) -> None:
        """Return where nothing under the folder `prefix` sorts after `last`.

        Raises ConnectionError where something does, or the engine cannot be asked: list on.
        Raises Forbidden, Rejected.
        """
        loop = asyncio.get_running_loop()
        try:
            more = await loop.run_in_executor(self._threads, self._is_there_more, prefix, last)
        except Unavailable as error:
            raise ConnectionError(str(error)) from error
        if more:
            raise ConnectionError("a listing that ended before its objects did")

    # Threads of its own: what waits for a stalled region must not keep others from theirs.
    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(2, thread_name_prefix=f"end of listing, {self._bucket}")

    @cached_property
    def _client(self) -> S3Client:
        return s3_client_of(self._access, self._deadline)

    def _is_there_more(self, prefix: str, last: str | None) -> bool:
        folder = prefix.rstrip("/") + "/" if prefix else ""
        try:
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=folder, StartAfter=last or "", MaxKeys=1
            )
        except (ClientError, BotoCoreError) as error:
            raise_ours(error, f"{self._bucket}: LIST {prefix}")
        return bool(answer.get("Contents"))
