"""The composition root: one configuration in, everything that the doors stand on out.

Nothing here decides anything. What is opened is closed in reverse, by one exit stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, final

import aiohttp
import structlog

from gateway.config import Config, ConfigError
from gateway.disclosure.office import Chamber, Office
from gateway.law import packaged_lawbook
from gateway.secret_files import read_key, read_signer
from gateway.trust import TrustDirectory, TrustUnusable
from policy.geography import RegionCode
from policy.verification import Trust
from storage.audit.cosigning import Cosigning, WitnessAddress
from storage.audit.log import AuditLog
from storage.audit.pseudonym import Pseudonyms
from storage.directory import Directory
from storage.errors import Unavailable
from storage.holds import HoldRegister
from storage.identity import Clock, utc_now
from storage.region import Ground, RegionStore
from storage.vault import Vault
from storage.versions import Versions

_log: Final = structlog.get_logger("situs.house")


@final
class House:
    """The ground, the directory, and a chamber for each region served. Made by `House.open`."""

    def __init__(
        self, config: Config, ground: Ground, directory: Directory, clock: Clock, stack: AsyncExitStack
    ) -> None:
        self.config: Final = config
        self.ground: Final = ground
        self.directory: Final = directory
        self.clock: Final = clock
        self._stack: Final = stack
        self._opening: Final = asyncio.Lock()
        self._chambers: Final[dict[RegionCode, Chamber]] = {}
        self._registers: Final[dict[RegionCode, HoldRegister]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config, *, clock: Clock = utc_now) -> AsyncIterator[House]:
        """Opens every configured region and proves its fence.

        Raises ConfigError for an unusable secret, FenceBroken for a region that is not what the
        configuration says. A region that is down is not fatal: what needs it raises Unavailable.
        """
        key = read_key(config.directory_key_file)
        async with AsyncExitStack() as stack:
            ground = await stack.enter_async_context(
                await Ground.open(list(config.regions.values()), config.deployment)
            )
            directory = Directory(ground, key, config.registrar, config.reads, clock=clock)
            yield cls(config, ground, directory, clock, stack)

    async def chamber(self, code: RegionCode) -> Chamber:
        """A served region with its vault and its log, opened when it is first asked for.

        Raises Unavailable while the region is down, ConfigError for an unusable key of its log.
        """
        # One log for each region of a process, however many ask at once: two would fence each other.
        async with self._opening:
            if code not in self._chambers:
                if code not in self.config.serves:
                    raise ConfigError(f"{self.config.path}: serves: region {code} is not served here")
                store = self.ground.control_plane(self.ground.provisioned(code))
                signer = read_signer(self.config, code)
                pseudonyms = Pseudonyms(read_key(self.config.audit[code].pseudonym_key_file))
                cosign = await self._cosigning(store, self.config.audit[code].witnesses)
                log = await AuditLog.open(store.audit, code, signer, cosign=cosign)
                await self._stack.enter_async_context(log)
                self._chambers[code] = Chamber(store, Vault(store), log, pseudonyms)
            return self._chambers[code]

    async def _cosigning(self, store: RegionStore, witnesses: Sequence[WitnessAddress]) -> Cosigning | None:
        """Who is asked to cosign a region's checkpoints; nobody, where no witness is configured."""
        if not witnesses:
            return None
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        return Cosigning(store.audit, witnesses, session)

    async def holds(self, code: RegionCode) -> HoldRegister:
        """A served region's hold register. Raises as `chamber` does."""
        chamber = await self.chamber(code)
        if code not in self._registers:
            versions = self._stack.enter_context(Versions(chamber.store))
            self._registers[code] = HoldRegister(
                chamber.vault, versions, chamber.log, chamber.pseudonyms, self.clock
            )
        return self._registers[code]

    async def office(self) -> Office:
        """What the disclosure gateway needs. Raises as `chamber` does, and for an unusable law or trust."""
        return Office(
            chambers={code: await self.chamber(code) for code in self.config.serves},
            directory=self.directory,
            lawbook=packaged_lawbook(self.config.lawbook),
            trust=_answering(TrustDirectory(self.config.trust)),
            provider_entities=self.config.provider_entities,
            seat=self.config.seat,
            clock=self.clock,
            gateways=self.config.gateway_urls,
            terms=self.config.gateway_terms,
            oidc=self.config.oidc,
        )


def _answering(lists: Callable[[], Trust]) -> Callable[[], Trust]:
    """Lists that break while the gateway runs stop every order until they are whole again.

    The faults name files: they are for the operator's log, and the asker gets a 503.
    """

    def trust() -> Trust:
        try:
            return lists()
        except TrustUnusable as error:
            _log.error("trust lists unusable", faults=str(error).splitlines())
            raise Unavailable("the trust lists cannot be used now") from error

    return trust
