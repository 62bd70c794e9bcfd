"""Makes the demo real: engines, buckets, secrets, people, authorities, open doors, and the card."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, final

from gateway.config import Config, ConfigError, load_config
from gateway.demo import engines
from gateway.demo.card import Card, CardAccount, CardAuthority, CardOperator, CardRegion
from gateway.demo.pki import DemoAuthority, make_pki
from gateway.demo.plan import CODES, OPERATORS, PLACES, Doors, write_config
from gateway.house import House
from gateway.secret_files import make_missing, read_signer
from gateway.serve import OpenDoors, open_doors
from policy.address import Address
from policy.geography import RegionCode
from storage.identity import utc_now
from storage.operators import OperatorRecord, OperatorRegister, Token
from storage.provision import provision

_CARD: Final = "demo.json"
_CONFIG: Final = "situs.toml"
_ENGINES: Final = "engines"
_LOCK: Final = "demo.lock"
_A_YEAR: Final = timedelta(days=365)


class Engine(StrEnum):
    """What the regions' buckets stand on."""

    MOTO = "moto"  # in memory: every start is a fresh one
    SEAWEEDFS = "seaweedfs"  # on disk: mail, accounts and the log outlive a restart


@final
@dataclass(frozen=True, slots=True)
class Site:
    """How to stand the demo up."""

    state: Path
    engine: Engine
    doors: Doors

    @property
    def card(self) -> Path:
        return self.state / _CARD


@asynccontextmanager
async def open_site(site: Site) -> AsyncIterator[Card]:
    """Everything running, and the card that says where. Leaving stops all of it, servers last.

    Raises ConfigError for a state directory that is not the demo's, or a port that is taken;
    EngineNotStarted.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(_alone_in(site.state))
        earlier = _prepare(site)
        running = await _start_engines(stack, site)
        write_config(site.state / _CONFIG, running, site.doors)
        authorities = make_pki(site.state, utc_now())
        config = load_config(site.state / _CONFIG)
        for region, settings in config.regions.items():
            make_missing(config, region)
            await provision(settings, config.deployment)
        house = await stack.enter_async_context(House.open(config))
        accounts = earlier.accounts if earlier else await _open_accounts(house)
        operators = earlier.operators if earlier else await _appoint(house)
        doors = await stack.enter_async_context(open_doors(house))
        card = _card(config, running, doors, accounts, operators, authorities)
        card.write(site.card)
        yield card


async def _start_engines(stack: AsyncExitStack, site: Site) -> dict[str, engines.EngineProcess]:
    """A server for each region, all started at the same time: a SeaweedFS needs seconds."""

    def start(code: str) -> engines.RunningEngine:
        credentials = engines.Credentials.fresh()
        if site.engine is Engine.MOTO:
            return engines.start_moto(credentials)
        return engines.start_seaweedfs(credentials, site.state / _ENGINES / code)

    started = await asyncio.gather(
        *(asyncio.to_thread(start, code) for code in CODES), return_exceptions=True
    )
    running = {}
    for code, engine in zip(CODES, started, strict=True):
        if isinstance(engine, engines.RunningEngine):
            stack.push_async_callback(asyncio.to_thread, engine.stop)
            running[code] = engine.engine
    for failure in started:
        if isinstance(failure, BaseException):
            raise failure
    return running


@contextmanager
def _alone_in(state: Path) -> Iterator[None]:
    """One demo in a directory at a time: a second would wipe what the first one stands on."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{state}: a demo is running there already; --state names another") from None
        yield


def _prepare(site: Site) -> Card | None:
    """Makes way for a new demo. Returns the card of an earlier one whose mail is still there."""
    found = [path for path in site.state.iterdir() if path.name != _LOCK]
    if found and not site.card.exists() and not (site.state / _CONFIG).exists():
        raise ConfigError(f"{site.state}: holds files that no demo wrote; expected an empty directory")
    if site.card.exists() and site.engine is Engine.SEAWEEDFS and (site.state / _ENGINES).exists():
        return Card.read(site.card)
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return None


async def _open_accounts(house: House) -> tuple[CardAccount, ...]:
    accounts = []
    for place in PLACES:
        password = secrets.token_urlsafe(12)
        await house.directory.create(
            Address.parse(place.address),
            RegionCode.parse(place.code),
            password=password,
            display_name=place.name,
        )
        accounts.append(CardAccount(place.address, place.code, password))
    return tuple(accounts)


async def _appoint(house: House) -> tuple[CardOperator, ...]:
    """Each operator's record goes into every region that clears them; the token is shown here once."""
    appointed = []
    for name, roles, codes in OPERATORS:
        token, now = Token.new(), house.clock()
        regions = frozenset(RegionCode.parse(code) for code in codes)
        record = OperatorRecord(
            token.id, name, frozenset(roles), regions, token.hash(), now, now + _A_YEAR, hint=token.hint
        )
        for region in regions:
            chamber = await house.chamber(region)
            await OperatorRegister(chamber.vault).add(record)
        appointed.append(CardOperator(name, tuple(roles), codes, token.text))
    return tuple(appointed)


def _card(
    config: Config,
    running: Mapping[str, engines.EngineProcess],
    doors: OpenDoors,
    accounts: tuple[CardAccount, ...],
    operators: tuple[CardOperator, ...],
    authorities: tuple[DemoAuthority, ...],
) -> Card:
    return Card(
        pid=os.getpid(),
        smtp=doors.smtp[0],
        lmtp=doors.lmtp[0],
        imap=doors.imap[0],
        gateway=f"http://{doors.gateway}",
        config=str(config.path),
        regions={
            str(code): CardRegion(
                country=str(settings.region.country),
                endpoint=settings.endpoint,
                bucket=settings.bucket,
                audit_bucket=settings.audit_bucket,
                access_key_id=running[str(code)].access_key_id,
                secret_access_key=running[str(code)].secret_access_key,
                audit_key=str(read_signer(config, code).key),
            )
            for code, settings in config.regions.items()
        },
        accounts=accounts,
        operators=operators,
        authorities=tuple(
            CardAuthority(
                name=authority.name,
                jurisdiction=str(authority.jurisdiction),
                roles=tuple(sorted(authority.roles)),
                cert=str(authority.cert),
                key=str(authority.key),
                chain=str(authority.chain),
            )
            for authority in authorities
        ),
    )
