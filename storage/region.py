"""The fence: a region's store exists only as proof that the region is what its settings say.

There are two ways to a `RegionStore`, and both start from a proof: `Ground.home` takes a mailbox
that the directory has located, `Ground.control_plane` takes a region's provisioning. Nothing takes
a region's name and gives a store for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self, final

from policy.geography import Region, RegionCode
from storage.errors import FenceBroken, Forbidden, StorageError, Unavailable
from storage.keyservice import KeyService
from storage.objects import Bucket
from storage.proof import Provisioned, open_key_service, prove
from storage.settings import KeyFileSettings, KmsSettings, RegionSettings

if TYPE_CHECKING:
    from storage.located import Located

__all__ = ["Ground", "KeyFileSettings", "KmsSettings", "RegionSettings", "RegionStore"]

_MINT: Final = object()


@final
class RegionStore:
    """One region's two buckets and its key service, proven when it was opened."""

    __slots__ = ("_keys", "audit", "mail", "provisioned", "region", "settings")

    def __init__(
        self, settings: RegionSettings, keys: KeyService | None, provisioned: Provisioned, *, mint: object
    ) -> None:
        if mint is not _MINT:
            raise TypeError("a RegionStore is made by RegionStore.open")
        self.settings: Final = settings
        self.region: Final = settings.region
        self.provisioned: Final = provisioned
        self.mail: Final = Bucket(settings.bucket, settings.access, deadline=settings.deadline_seconds)
        self.audit: Final = Bucket(settings.audit_bucket, settings.access, deadline=settings.deadline_seconds)
        self._keys: Final = keys

    @classmethod
    async def open(cls, settings: RegionSettings, deployment: str) -> Self:
        """Prove the region, then open it.

        Raises FenceBroken with the one reason that failed; Unavailable; Forbidden, Rejected.
        """
        provisioned = await prove(settings, deployment)
        keys = await asyncio.to_thread(open_key_service, settings)
        return cls(settings, keys, provisioned, mint=_MINT)

    @property
    def keys(self) -> KeyService:
        """The region's key service. Raises Forbidden in a process that may write and not read."""
        if self._keys is None:
            raise Forbidden(f"region {self.region.code}: no key service is configured here")
        return self._keys

    def __repr__(self) -> str:
        return f"RegionStore({self.region})"


class _Place:
    """One configured region: its store, or why there is none yet."""

    def __init__(self, settings: RegionSettings) -> None:
        self.settings: Final = settings
        self.store: RegionStore | None = None
        self.trouble: FenceBroken | Unavailable = Unavailable(f"region {settings.region}: not opened yet")
        self.reopening: asyncio.Task[None] | None = None
        self.tried_at = float("-inf")  # loop time


@final
class Ground:
    """All the regions that a process knows. An async context: leaving it stops what it started.

    A region that is down when the process starts does not keep the others from working: it is
    tried again, in the background, when it is asked for. A region whose fence is broken keeps the
    process from starting; found broken later, it stays closed until the process starts anew.
    """

    def __init__(self, deployment: str, *, retry_after: float = 3.0) -> None:
        self._deployment: Final = deployment
        self._retry_after: Final = retry_after  # seconds
        self._places: Final[dict[RegionCode, _Place]] = {}

    @classmethod
    async def open(
        cls, settings: Sequence[RegionSettings], deployment: str, *, retry_after: float = 3.0
    ) -> Self:
        """Open every region, at the same time. Raises FenceBroken for the first that is broken."""
        ground = cls(deployment, retry_after=retry_after)
        for one in settings:
            if one.region.code in ground._places:
                raise FenceBroken(f"region {one.region.code} is configured twice, expected once")
            ground._places[one.region.code] = _Place(one)
        await asyncio.gather(*(ground._try(place) for place in ground._places.values()))
        for place in ground._places.values():
            if isinstance(place.trouble, FenceBroken):
                raise place.trouble
        return ground

    def home(self, located: Located) -> RegionStore:
        """The store of the mailbox's home, and no other. Raises Unavailable, FenceBroken."""
        store = self._open_store(located.home.code)
        if store.region != located.home:
            raise FenceBroken(
                f"region {located.home.code}: lies in {store.region.country}, "
                f"expected {located.home.country} as the directory says"
            )
        return store

    def control_plane(self, provisioned: Provisioned) -> RegionStore:
        """A region's store by its provisioning. Raises Unavailable, FenceBroken."""
        store = self._open_store(provisioned.region.code)
        if (store.region, self._deployment) != (provisioned.region, provisioned.deployment):
            raise FenceBroken(f"region {provisioned.region}: was provisioned for another deployment")
        return store

    def provisioned(self, code: RegionCode) -> Provisioned:
        """The proof on which a region was opened. Raises Unavailable, FenceBroken."""
        return self._open_store(code).provisioned

    def stores(self) -> tuple[RegionStore, ...]:
        """The stores that are open, in the order of the settings."""
        return tuple(place.store for place in self._places.values() if place.store is not None)

    def regions(self) -> tuple[Region, ...]:
        """Every configured region, open or not."""
        return tuple(place.settings.region for place in self._places.values())

    def closed(self) -> dict[RegionCode, str]:
        """The regions that are not open, and why: for `/healthz/ready`."""
        return {code: str(place.trouble) for code, place in self._places.items() if place.store is None}

    async def aclose(self) -> None:
        """Stop trying to reach regions that are down."""
        tasks = [place.reopening for place in self._places.values() if place.reopening is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _open_store(self, code: RegionCode) -> RegionStore:
        place = self._places.get(code)
        if place is None:
            raise Unavailable(f"region {code} is not configured here")
        if place.store is not None:
            return place.store
        if isinstance(place.trouble, FenceBroken):
            raise FenceBroken(place.trouble.reason)
        self._reopen(place)
        raise Unavailable(str(place.trouble))

    def _reopen(self, place: _Place) -> None:
        loop = asyncio.get_running_loop()
        running = place.reopening is not None and not place.reopening.done()
        if not running and loop.time() - place.tried_at >= self._retry_after:
            place.reopening = loop.create_task(self._try(place))

    async def _try(self, place: _Place) -> None:
        place.tried_at = asyncio.get_running_loop().time()
        try:
            place.store = await RegionStore.open(place.settings, self._deployment)
        except (Unavailable, FenceBroken) as error:
            place.trouble = error
        except StorageError as error:
            # Refused credentials, a request that the engine does not take: nothing is proven.
            place.trouble = FenceBroken(f"region {place.settings.region}: not proven: {error}")
