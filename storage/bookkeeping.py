"""Removing what only our own processes write and read: intents, claims, the records of moves, the
owner's index of the mail, packages that have expired, console sessions that have ended.

Nothing here is anybody's mail or record, so no hold speaks of it (what an index lists lies elsewhere, and
is kept there); the folders are named here, and nothing else can be removed this way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from storage.objects import PAGE
from storage.versions import Version, Versions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import DeleteTypeDef, ObjectIdentifierTypeDef

_FOLDERS: Final = ("deleting/", "moves/", "lived/", "sweeps/", "folders/", "console/ended/")
_PACKAGES: Final = "packages/"


async def discard(versions: Versions, key: str) -> None:
    """Remove a key with all its versions. Raises Unavailable, Forbidden, Rejected."""
    if not key.startswith(_FOLDERS):
        raise ValueError(f"{key} is no bookkeeping")
    await _remove(versions, key)


async def discard_several(versions: Versions, prefix: str, keys: Collection[str]) -> None:
    """The same for keys under one prefix of few objects, which is listed once. Raises as `discard`."""
    if not prefix.startswith(_FOLDERS):
        raise ValueError(f"{prefix} is no bookkeeping")
    wanted = frozenset(keys)
    found = [one async for one in versions.list(prefix) if one.key in wanted]
    await _remove_these(versions, prefix, found)


async def discard_earlier(versions: Versions, key: str) -> None:
    """Remove the versions of a key that others have replaced. Raises as `discard`."""
    if not key.startswith(_FOLDERS):
        raise ValueError(f"{key} is no bookkeeping")
    await _remove_these(versions, key, [one for one in await versions.of(key) if not one.latest])


async def discard_packages(versions: Versions, ended: Collection[str]) -> int:
    """Remove the files of these disclosures' packages, each with all its versions and markers.

    A package is a copy, made for one authority and encrypted to it: no hold speaks of it, and what it was
    made of lies where it lay. Returns how many versions were there. Raises as `discard`.
    """
    removed = 0
    page: list[Version] = []
    async for one in versions.list(_PACKAGES):
        if one.key.removeprefix(_PACKAGES).partition("/")[0] in ended:
            page.append(one)
        if len(page) == PAGE:
            await _remove_these(versions, _PACKAGES, page)
            removed, page = removed + len(page), []
    await _remove_these(versions, _PACKAGES, page)
    return removed + len(page)


async def discard_from_package(versions: Versions, disclosure: str, keep: Collection[str]) -> int:
    """Remove what one disclosure's package does not need: every key of its folder that is not in `keep`.

    Returns how many versions were there. Raises as `discard`.
    """
    prefix = f"{_PACKAGES}{disclosure}/"
    found = [one async for one in versions.list(prefix) if one.key not in keep]
    await _remove_these(versions, prefix, found)
    return len(found)


async def discard_unplaced(versions: Versions, keys: Sequence[str]) -> None:
    """Take back the documents of a hold that was written for a mailbox which is not here: it has
    never been in force for anything. For `HoldRegister.place` alone, before it has returned."""
    for key in keys:
        await _remove(versions, key)


async def _remove(versions: Versions, key: str) -> None:
    # Oldest first: until the last is gone, a reader sees the newest.
    await _remove_these(versions, key, list(reversed(await versions.of(key))))


async def _remove_these(versions: Versions, key: str, found: Sequence[Version]) -> None:
    for start in range(0, len(found), PAGE):
        page: list[ObjectIdentifierTypeDef] = [
            {"Key": one.key, "VersionId": one.id} for one in found[start : start + PAGE]
        ]
        request: DeleteTypeDef = {"Objects": page, "Quiet": True}
        await versions.ask(f"remove {key}", partial(_delete_objects, request=request))


def _delete_objects(client: S3Client, bucket: str, *, request: DeleteTypeDef) -> None:
    client.delete_objects(Bucket=bucket, Delete=request)
