"""Running the doors: everything is started on one exit stack and stopped in reverse."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, final

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.announcement import announcing
from gateway.bell import Bells
from gateway.config import Config, ConfigError, MailSettings
from gateway.disclosure.app import make_app, make_runner
from gateway.disclosure.tls import RenewedContext
from gateway.house import House
from gateway.imap.commons import Commons
from gateway.imap.metrics import ImapMetrics
from gateway.imap.signing_in import SignIn
from gateway.imap.tally import Tally
from gateway.imap.throttle import Throttle
from gateway.ingress.admission import Admission
from gateway.ingress.door import Door
from gateway.ingress.limits import CertificateFiles, ListenerSettings, Network
from gateway.ingress.reception import Reception
from gateway.ingress.rspamd import Rspamd
from gateway.ingress.tls import BadCertificate
from gateway.keeping import keeping
from gateway.lmtp import serve_lmtp
from gateway.owners_door import serve_imap
from gateway.post import RegionalPost
from gateway.readiness import Readiness, watching_app
from gateway.shared_figures import are_shared, shared_file
from gateway.smtp import serve_smtp
from policy.address import parse_domain
from storage.errors import StorageError

_MEND_EVERY: Final = 5.0  # seconds between looks for regions that miss a directory record
_TELL_EVERY: Final = 1.0  # seconds between what a worker says of its memory

_log: Final = structlog.get_logger("situs.serve")


class DoorName(StrEnum):
    """What a process may be told to open alone."""

    SMTP = "smtp"
    LMTP = "lmtp"
    IMAP = "imap"
    GATEWAY = "gateway"


@final
@dataclass(slots=True)
class OpenDoors:
    """Where a running process listens: `HOST:PORT`, as bound."""

    smtp: list[str] = field(default_factory=list)
    lmtp: list[str] = field(default_factory=list)
    imap: list[str] = field(default_factory=list)
    gateway: str | None = None
    metrics: str | None = None


@asynccontextmanager
async def open_doors(
    house: House,
    only: frozenset[DoorName] = frozenset(DoorName),
    *,
    shared_ports: bool = False,
    lmtp_socket: socket.socket | None = None,
) -> AsyncIterator[OpenDoors]:
    """Opens the doors that the configuration names. Leaving closes them without dropping mail.

    `shared_ports`: other workers listen on the same ports. `lmtp_socket`: the UNIX socket, bound
    by the parent of the workers.

    Raises ConfigError where an address cannot be had, and what `House.office` raises.
    """
    config, doors, registry, readiness = house.config, OpenDoors(), CollectorRegistry(), Readiness()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_mending(house))
        if DoorName.GATEWAY in only:
            await stack.enter_async_context(keeping(house))
            doors.gateway = await _open_gateway(stack, house, registry, readiness, shared_ports)
        if config.metrics_listen is not None:
            book = house.directory.book
            ours = book.key.of_domain(parse_domain(config.smtp.hostname))
            runner = make_runner(watching_app(registry, readiness, lambda: book.read(ours)))
            doors.metrics = await _listen(stack, runner, config, config.metrics_listen, shared_ports)
        # Mail comes in last and stops first: what it needs is there for as long as it runs.
        bells = Bells()
        reception = Reception(
            RegionalPost(house.directory, bells),
            config.smtp.hostname,
            config.limits,
            clock=house.clock,
            check=await _content_check(stack, config),
            postmaster=config.postmaster,
            registry=registry,
        )
        if are_shared():
            await stack.enter_async_context(_telling_memory(reception))
        opened: list[Door] = []
        stack.push_async_callback(_close_all, opened)
        for name, settings, serve, bound in (
            (DoorName.LMTP, config.lmtp, serve_lmtp, doors.lmtp),
            (DoorName.SMTP, config.smtp, serve_smtp, doors.smtp),
        ):
            if name in only:
                for listener in _listeners(config, name, settings, shared_ports):
                    sock = lmtp_socket if listener.unix is not None else None
                    opening = serve(listener, reception, sock=sock)
                    bound.append(await _open_door(opened, config, listener, opening))
        if DoorName.IMAP in only:
            commons = _commons(house, reception, bells, registry)
            for listener in _listeners(config, DoorName.IMAP, config.imap.door, shared_ports):
                opening = serve_imap(listener, commons)
                doors.imap.append(await _open_door(opened, config, listener, opening))
        try:
            yield doors
        finally:
            readiness.stopping = True  # told for as long as what is in flight takes


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set: a process that was told to stop still finishes its work."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    yield stop


def _commons(house: House, reception: Reception, bells: Bells, registry: CollectorRegistry) -> Commons:
    """The owners' door counts its connections by itself: those that idle must not keep mail out. What
    is in flight is charged to the one bound of the process."""
    config = house.config
    failures = shared_file("sign-in-failures")  # else each worker would give an attacker tries of its own
    return Commons(
        hostname=config.imap.door.hostname,
        sign_in=SignIn(
            house.directory,
            frozenset(config.serves),
            config.imap.hosts,
            house.holds,
            house.clock,
            throttle=Throttle(Tally.shared(failures)) if failures is not None else None,
        ),
        bells=bells,
        limits=config.limits,
        memory=reception.memory,
        landing=reception.landing,
        admission=Admission(config.limits),
        metrics=ImapMetrics(registry),
        poll_seconds=config.imap.poll_seconds,
    )


async def _content_check(stack: AsyncExitStack, config: Config) -> Rspamd | None:
    if config.rspamd is None:
        return None
    client = await stack.enter_async_context(aiohttp.ClientSession())
    return Rspamd(config.rspamd, config.smtp.hostname, client)


async def _close_all(doors: list[Door]) -> None:
    """All at once: each may take as long as the stop timeout for what is in flight."""
    await asyncio.gather(*(door.close() for door in doors))


async def _open_door(
    opened: list[Door],
    config: Config,
    listener: ListenerSettings,
    opening: Awaitable[Door],
) -> str:
    where = str(listener.unix) if listener.unix is not None else f"{listener.host}:{listener.port}"
    try:
        door = await opening
    except OSError as error:
        raise ConfigError(f"{config.path}: cannot listen on {where}: {error.strerror or error}") from None
    except BadCertificate as error:
        raise ConfigError(f"{config.path}: {error}") from None
    opened.append(door)
    return where if listener.unix is not None else f"{listener.host}:{door.port}"


async def _open_gateway(
    stack: AsyncExitStack,
    house: House,
    registry: CollectorRegistry,
    readiness: Readiness,
    shared_ports: bool,
) -> str:
    office = await house.office()
    logs = {code: chamber.log for code, chamber in office.chambers.items()}
    await stack.enter_async_context(announcing(logs, office.lawbook.digest, house.config.trust, house.clock))
    try:
        tls = RenewedContext.of(house.config.gateway_tls) if house.config.gateway_tls else None
    except BadCertificate as error:
        raise ConfigError(f"{house.config.path}: {error}") from None
    runner = make_runner(make_app(office, registry, readiness))
    return await _listen(stack, runner, house.config, house.config.gateway_listen, shared_ports, tls)


async def _listen(
    stack: AsyncExitStack,
    runner: web.AppRunner,
    config: Config,
    listen: str,
    shared_ports: bool,
    tls: ssl.SSLContext | None = None,
) -> str:
    host, _, port = listen.rpartition(":")
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        site = web.TCPSite(runner, host, int(port), ssl_context=tls, reuse_port=shared_ports or None)
        await site.start()
    except OSError as error:
        raise ConfigError(f"{config.path}: cannot listen on {listen}: {error.strerror or error}") from None
    return f"{host}:{runner.addresses[0][1]}"


@asynccontextmanager
async def _mending(house: House) -> AsyncIterator[None]:
    """A region that was down while an account was made gets its copy of the directory record."""

    async def mend() -> None:
        while True:
            try:
                await house.directory.book.mend()
            except StorageError as error:
                _log.info("directory.mend_later", reason=type(error).__name__)
            await asyncio.sleep(_MEND_EVERY)

    async with _running(mend(), "directory mending"):
        yield


@asynccontextmanager
async def _telling_memory(reception: Reception) -> AsyncIterator[None]:
    """A worker that is not asked itself says now and then how much mail it has in flight."""

    async def tell() -> None:
        while True:
            reception.metrics.memory.set(reception.memory.in_flight)
            await asyncio.sleep(_TELL_EVERY)

    async with _running(tell(), "memory figure"):
        yield


@asynccontextmanager
async def _running(work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    """A task for as long as the context lasts."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _listeners(
    config: Config, door: str, settings: MailSettings, shared_ports: bool
) -> list[ListenerSettings]:
    certificate = (
        CertificateFiles(settings.certificate, settings.key)
        if settings.certificate and settings.key
        else None
    )
    connect_from = _networks(config, f"{door}.connect_from", settings.connect_from)
    proxy_from = _networks(config, f"{door}.proxy_from", settings.proxy_from)

    def listener(host: str, port: int, unix: Path | None) -> ListenerSettings:
        return ListenerSettings(
            host=host,
            port=port,
            unix=unix,
            reuse_port=shared_ports,
            certificate=certificate,
            implicit_tls=settings.implicit_tls,
            require_tls=settings.require_tls,
            connect_from=connect_from,
            proxy_from=proxy_from,
        )

    found = []
    for address in settings.listen:
        host, _, port = address.rpartition(":")
        found.append(listener(host, int(port), None))
    if settings.unix is not None:
        found.append(listener("", 0, settings.unix))
    for number, each in enumerate(settings.more):
        found += _listeners(config, f"{door}.listener[{number}]", each, shared_ports)
    return found


def _networks(config: Config, key: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{config.path}: {key}: {error}") from None
