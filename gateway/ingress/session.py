"""The story of one connection: who comes, what they say, what they are told.

Everything that a peer can do ends in a reply. Whatever goes wrong inside is 421 to the peer and a
line in the log: never a traceback on the wire, and never the end of another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, final

import structlog

from gateway.ingress import commands, proxy
from gateway.ingress import replies as say
from gateway.ingress.admission import PeerAddress, parse_peer, within
from gateway.ingress.commands import Refused
from gateway.ingress.delivery import where
from gateway.ingress.mailing import Mailing
from gateway.ingress.memory import MemoryFull
from gateway.ingress.reading import BadLine, LineTooLong, read_command
from gateway.ingress.replies import Reply
from gateway.ingress.tls import Certificate
from gateway.ingress.visit import Ended, Visit
from gateway.ingress.wire import Disconnected, Stopping, TimedOut

_log: Final = structlog.get_logger("situs.ingress")
PARTING: Final = 2.0  # seconds that a peer gets to read why the session ends


@final
class Session:
    """One connection. `run` is its whole life."""

    def __init__(self, visit: Visit, certificate: Certificate | None) -> None:
        self._visit: Final = visit
        self._wire: Final = visit.wire
        self._certificate: Final = certificate
        self._mailing: Final = Mailing(visit)
        self._admitted: PeerAddress | None = None

    async def run(self) -> None:
        """From the first octet to the last. Raises nothing but CancelledError."""
        visit, admission = self._visit, self._visit.reception.admission
        refusal = admission.connect()
        sessions = visit.reception.metrics.door(visit.dialect.name).sessions
        sessions.inc()
        try:
            if refusal is not None:
                raise Ended(refusal)
            await self._arrive()
            await self._converse()
        except Ended as end:
            await self._part(end.reply, linger=end.reply is not say.BYE or self._wire.has_unread)
        except Disconnected:
            visit.record.write("disconnected")
        except TimedOut:
            await self._part(say.TIMED_OUT)
        except Stopping as stopping:
            await self._part(say.STOPPING, linger=not stopping.idle)
        except MemoryFull:
            await self._part(say.NO_MEMORY)
        except asyncio.CancelledError:
            visit.record.write("cancelled")
            self._wire.abort()
            raise
        except Exception as error:
            _log.error("fault", session=visit.record.session, error=where(error))
            await self._part(say.FAULT)
        finally:
            self._mailing.reset()
            self._wire.close()
            sessions.dec()
            if refusal is None:
                admission.disconnect()
            if self._admitted is not None:
                admission.leave(self._admitted)

    async def _part(self, reply: Reply, *, linger: bool = True) -> None:
        self._mailing.reset()  # what was held for a message is free for others before we linger
        self._visit.reply(reply)
        self._visit.record.write(f"{reply.code} {reply.status}")
        if linger:
            await self._wire.part(PARTING)

    # -- arriving

    async def _arrive(self) -> None:
        """PROXY header, permission, TLS: in this order. Raises Ended."""
        visit = self._visit
        peername = self._wire.peername
        if isinstance(peername, tuple):
            visit.peer = parse_peer(peername[0])
            from_proxy = within(visit.peer, visit.settings.proxy_from)
            if from_proxy:
                await self._read_proxy_header()
            if visit.settings.connect_from and not within(visit.peer, visit.settings.connect_from):
                raise Ended(say.NOT_WELCOME)
            if (not from_proxy or visit.record.proxied) and not visit.own_queue:
                refusal = visit.reception.admission.enter(visit.peer)
                if refusal is not None:
                    raise Ended(refusal)
                self._admitted = visit.peer
        if visit.settings.implicit_tls:
            await self._start_tls()

    async def _read_proxy_header(self) -> None:
        try:
            named = await proxy.read_proxy_header(self._wire, self._visit.limits.command_timeout)
        except proxy.BadProxyHeader:
            raise Ended(say.BAD_PROXY) from None
        if named is not None:
            self._visit.peer, self._visit.record.proxied = named, True

    async def _start_tls(self) -> None:
        assert self._certificate is not None
        await self._wire.start_tls(await self._certificate.context(), self._visit.limits.command_timeout)
        assert self._wire.tls is not None
        self._visit.record.tls = self._wire.tls.version()

    # -- conversing

    async def _converse(self) -> None:
        visit = self._visit
        visit.reply(Reply(220, "", f"{visit.reception.hostname} {visit.dialect.greeting}"))
        while True:
            try:
                line = await read_command(self._wire, visit.limits.command_timeout)
                visit.record.commands += 1
                if visit.record.commands > visit.limits.commands and not visit.own_queue:
                    raise Ended(say.TOO_MANY_COMMANDS)
                await self._obey(line)
            except LineTooLong:
                visit.reply(say.LONG_COMMAND)
            except BadLine:
                visit.reply(say.BAD_LINE)
            except Refused as refused:
                if refused.reply is say.UNKNOWN_COMMAND and commands.is_http(line):
                    raise Ended(say.NO_WEB_SERVER) from None
                visit.reply(refused.reply)
            if visit.record.errors > visit.limits.errors and not visit.own_queue:
                raise Ended(say.TOO_MANY_ERRORS)

    async def _obey(self, line: bytes) -> None:
        verb, argument = commands.split(line)
        if verb in self._visit.dialect.hellos:
            self._hello(verb, argument)
        elif (command := _VERBS.get(verb)) is not None:
            await command(self, argument)
        else:
            await self._mailing.obey(verb, argument)

    def _hello(self, verb: str, argument: str) -> None:
        visit = self._visit
        visit.helo = commands.hello(argument)
        visit.hello = verb
        self._mailing.reset()  # RFC 5321 4.1.4: a second EHLO is a RSET
        if verb not in visit.dialect.extended:
            return visit.reply(Reply(250, "", visit.reception.hostname))
        extensions = [
            visit.reception.hostname,
            "PIPELINING",
            f"SIZE {visit.limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
        ]
        if self._certificate is not None and not visit.has_tls:
            extensions.append("STARTTLS")
        return visit.reply(Reply(250, "", tuple(extensions)))

    async def _starttls(self, argument: str) -> None:
        visit = self._visit
        if self._certificate is None:
            raise Refused(say.NO_TLS)
        if visit.has_tls:
            raise Refused(say.TLS_ALREADY)
        commands.nothing(argument)
        if self._wire.buffer:
            # Sent in the clear to be read as if it had come under TLS (RFC 3207 4; CVE-2011-0411).
            raise Ended(say.DATA_BEFORE_TLS)
        self._mailing.reset()
        visit.hello = visit.helo = ""  # RFC 3207 4.2: all that was said before is forgotten
        visit.reply(say.START_TLS)
        await self._start_tls()

    async def _noop(self, _argument: str) -> None:
        self._visit.reply(say.OK)

    async def _help(self, _argument: str) -> None:
        self._visit.reply(say.HELP)

    async def _vrfy(self, argument: str) -> None:
        if not argument:
            raise Refused(say.syntax("a mailbox is expected"))
        self._visit.reply(say.CANNOT_VERIFY)

    async def _expn(self, _argument: str) -> None:
        raise Refused(say.NO_EXPN)

    async def _rset(self, argument: str) -> None:
        commands.nothing(argument)
        self._mailing.reset()
        self._visit.reply(say.OK)

    async def _quit(self, argument: str) -> None:
        commands.nothing(argument)
        raise Ended(say.BYE)


_VERBS: Final[dict[str, Callable[[Session, str], Awaitable[None]]]] = {
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "VRFY": Session._vrfy,
    "EXPN": Session._expn,
    "HELP": Session._help,
    "STARTTLS": Session._starttls,
    "QUIT": Session._quit,
}
