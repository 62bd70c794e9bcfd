"""`situs fence verify`: the proof, object by object, that everything in a region is at home.

For each region:

1. the fence itself: every check that a store is opened on (`storage.proof`);
2. every version of every object in the mail bucket lies in a folder of ours, and under an account
   whose home this is; a version that a delete marker hides counts, since it is still there;
3. the audit bucket holds the log and nothing else;
4. every keyring's keys were wrapped by this region's key service.

The walk takes the buckets as they are and opens no store: a region whose fence is broken is walked
too, so that the report says what has become of it. Nothing is opened or changed. Memory holds a
page of a listing, the homes of the accounts and the strays that are listed, never the objects.

What was written while the walk went on can look out of place (an account that was not there when
the directory was read), so the directory is read again before a stray is called one. What lies in two
regions because its mailbox is on its way between them is named as moving, by the record of the move.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, final

from botocore.exceptions import BotoCoreError, ClientError

from policy.geography import RegionCode
from storage.control import raise_ours, s3_client
from storage.errors import Corrupt, FenceBroken, KeyRefused, NotFound
from storage.homes import HomeOf
from storage.identity import AccountId, IdentityError
from storage.in_order import in_order
from storage.keyring import Keyholder, Keyring
from storage.keyservice import wrapped_by
from storage.layout import NoPlace, is_in_audit_layout, place_of
from storage.moving import Move
from storage.objects import PAGE, Bucket
from storage.passages import MoveOf, nobody_moves
from storage.proof import Check, checks, open_key_service
from storage.record_keys import FOLDER as RECORD_KEYS
from storage.record_keys import RecordKeys
from storage.settings import RegionSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef

MOST_LISTED: Final = 1000  # strays in a report; all of them are counted
_MOST_KEPT: Final = 10 * MOST_LISTED  # suspects' objects, of which some may turn out to be at home
_KEYRINGS_AT_ONCE: Final = 16


class StrayKind(StrEnum):
    """What is wrong with an object."""

    HOMED_ELSEWHERE = "homed-elsewhere"
    NO_ACCOUNT = "no-account"
    NO_PLACE = "no-place"
    FOREIGN_KEY = "foreign-key"
    UNREADABLE_KEYRING = "unreadable-keyring"


@final
@dataclass(frozen=True, slots=True)
class Stray:
    """One version of one object that ought not to be here. Keys hold ids, never addresses."""

    bucket: str
    key: str
    version: str
    kind: StrayKind
    detail: str


@final
@dataclass(frozen=True, slots=True)
class OnItsWay:
    """A mailbox between two homes: by which move, and how many versions lie where it is not at home."""

    move: Move
    versions: int


@final
@dataclass(slots=True)
class Walk:
    """How one region's walk stands, and in the end what it found."""

    settings: RegionSettings
    checks: tuple[Check, ...] = ()
    versions: int = 0
    octets: int = 0
    keyrings: int = 0
    stray_count: int = 0
    strays: list[Stray] = field(default_factory=list)  # the first MOST_LISTED
    moving: list[OnItsWay] = field(default_factory=list)

    @property
    def at_home(self) -> bool:
        return self.stray_count == 0 and all(check.ok for check in self.checks)

    def add(self, strays: Sequence[Stray], count: int) -> None:
        self.stray_count += count
        self.strays.extend(strays[: MOST_LISTED - len(self.strays)])


@dataclass(slots=True)
class _Suspect:
    """An account that seems not to be at home: what lies under it, counted and exemplified."""

    count: int = 0
    examples: list[Stray] = field(default_factory=list)


Progress = Callable[[Walk], None]


@final
class FenceWalk:
    """The walk through one region. Built from settings: a store would not open where it is needed most."""

    def __init__(
        self, settings: RegionSettings, deployment: str, progress: Progress = lambda _: None
    ) -> None:
        self._settings: Final = settings
        self._deployment: Final = deployment
        self._progress: Final = progress
        self._client: Final = s3_client(settings)
        self._mail: Final = Bucket(settings.bucket, settings.access, deadline=settings.deadline_seconds)
        self._suspects: Final[dict[AccountId, _Suspect]] = {}
        self._examples = 0
        self._walk: Final = Walk(settings)

    async def run(
        self,
        homes: HomeOf,
        read_homes_again: Callable[[], Awaitable[HomeOf]],
        moves: MoveOf = nobody_moves,
    ) -> Walk:
        """Raises Unavailable, Forbidden, Rejected where the region cannot be walked to the end."""
        settings, walk = self._settings, self._walk
        walk.checks = await asyncio.to_thread(lambda: tuple(checks(settings, self._deployment)))
        lacking = {check.name for check in walk.checks if check.name.endswith(": exists") and not check.ok}
        if f"bucket {settings.bucket}: exists" not in lacking:
            await self._walk_mail(homes)
            await self._walk_keyrings(homes)
        if f"audit_bucket {settings.audit_bucket}: exists" not in lacking:
            await self._walk_audit()
        if self._suspects:
            await self._judge(await read_homes_again(), moves)
        return walk

    async def _walk_mail(self, homes: HomeOf) -> None:
        async for page in self._pages(self._settings.bucket):
            for found in page.get("Versions", ()):
                key, version = found["Key"], found["VersionId"]
                try:
                    account = place_of(key).account
                except NoPlace as error:
                    stray = Stray(self._settings.bucket, key, version, StrayKind.NO_PLACE, str(error))
                    self._walk.add([stray], 1)
                    continue
                if account is not None and (home := homes(account)) != self._settings.region.code:
                    self._suspect(account, key, version, home)

    async def _walk_audit(self) -> None:
        name = self._settings.audit_bucket
        async for page in self._pages(name):
            for found in page.get("Versions", ()):
                if not is_in_audit_layout(found["Key"]):
                    detail = "an audit bucket holds the log and its marker alone"
                    stray = Stray(name, found["Key"], found["VersionId"], StrayKind.NO_PLACE, detail)
                    self._walk.add([stray], 1)

    async def _walk_keyrings(self, homes: HomeOf) -> None:
        try:
            service = await asyncio.to_thread(open_key_service, self._settings)
        except FenceBroken:
            return  # a check has failed for it, and there is nothing to compare with
        if service is None:
            unknown = Check("keyrings", False, "no key service is configured here to compare them with")
            self._walk.checks += (unknown,)
            return

        async def foreign(found: tuple[str, Keyholder]) -> Stray | None:
            key, holder = found
            stray = partial(Stray, self._settings.bucket, key, "")
            keys: Keyring | RecordKeys | None
            try:
                if key == holder.key:
                    keys = await Keyring.load(self._mail, service, holder)
                else:
                    keys = await RecordKeys.find(self._mail, holder)
                makers = {wrapped_by(wrapped) for wrapped in keys.wrapped()} if keys else set()
            except NotFound:
                return None
            except (Corrupt, KeyRefused) as error:
                return stray(StrayKind.UNREADABLE_KEYRING, str(error))
            finally:
                self._walk.keyrings += 1
                self._progress(self._walk)
            if others := makers - {service.key_id}:
                what = f"wrapped by {', '.join(sorted(others))}, expected {service.key_id}"
                return stray(StrayKind.FOREIGN_KEY, what)
            return None

        async for found in in_order(self._holders(homes), foreign, _KEYRINGS_AT_ONCE):
            if found is not None:
                self._walk.add([found], 1)

    async def _holders(self, homes: HomeOf) -> AsyncIterator[tuple[str, Keyholder]]:
        """The region itself, every account that has a keyring here and is at home here, and every account
        that has left its record keys here; each with the key under which they lie."""
        region = self._settings.region.code
        yield Keyholder(region).key, Keyholder(region)
        async for listed in self._mail.list("accounts"):
            if listed.key.endswith("/keys.json"):
                with contextlib.suppress(NoPlace):
                    account = place_of(listed.key).account
                    if account is not None and homes(account) == region:
                        yield listed.key, Keyholder(region, account)
        async for listed in self._mail.list(RECORD_KEYS):
            name = listed.key.removeprefix(RECORD_KEYS).removesuffix(".json")
            try:
                yield listed.key, Keyholder(region, AccountId.parse(name))
            except IdentityError:
                detail = f"{RECORD_KEYS} holds keys that accounts have left, and {name!r} names none"
                stray = Stray(self._settings.bucket, listed.key, "", StrayKind.NO_PLACE, detail)
                self._walk.add([stray], 1)

    def _suspect(self, account: AccountId, key: str, version: str, home: RegionCode | None) -> None:
        suspect = self._suspects.setdefault(account, _Suspect())
        suspect.count += 1
        if self._examples < _MOST_KEPT:
            self._examples += 1
            if home is None:
                kind, detail = StrayKind.NO_ACCOUNT, f"account {account} is not in the directory"
            else:
                kind, detail = StrayKind.HOMED_ELSEWHERE, f"account {account} is at home in {home}"
            suspect.examples.append(Stray(self._settings.bucket, key, version, kind, detail))

    async def _judge(self, homes: HomeOf, moves: MoveOf) -> None:
        here = self._settings.region.code
        for account, suspect in self._suspects.items():
            home = homes(account)
            if home == here:
                continue
            move = await moves(account, frozenset({here, home})) if home is not None else None
            if move is not None:
                self._walk.moving.append(OnItsWay(move, suspect.count))
            else:
                self._walk.add(suspect.examples, suspect.count)

    async def _pages(self, bucket: str) -> AsyncIterator[ListObjectVersionsOutputTypeDef]:
        """The versions in a bucket, a page in memory."""
        loop = asyncio.get_running_loop()
        marker: tuple[str, str] | None = ("", "")
        # A thread of its own: in the common pool a stalled region would stand in others' way.
        thread = ThreadPoolExecutor(1, thread_name_prefix="fence walk")
        try:
            while marker is not None:
                page = await loop.run_in_executor(thread, self._page, bucket, *marker)
                self._walk.versions += len(page.get("Versions", ()))
                self._walk.octets += sum(found["Size"] for found in page.get("Versions", ()))
                yield page
                self._progress(self._walk)
                truncated = page.get("IsTruncated")
                marker = (page["NextKeyMarker"], page.get("NextVersionIdMarker", "")) if truncated else None
        finally:
            thread.shutdown(wait=False)

    def _page(self, bucket: str, key: str, version: str) -> ListObjectVersionsOutputTypeDef:
        try:
            return self._client.list_object_versions(
                Bucket=bucket, KeyMarker=key, VersionIdMarker=version, MaxKeys=PAGE
            )
        except (ClientError, BotoCoreError) as error:
            raise_ours(error, f"{bucket}: the versions of all objects")
