"""The story of one connection: who comes, what they say, what they are told.

Everything that a peer can do ends in a reply. Whatever goes wrong inside is 421 to the peer and a
line in the log: never a traceback on the wire, and never the end of another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, final

import structlog

from gateway.ingress import commands, message, proxy
from gateway.ingress import replies as say
from gateway.ingress.admission import PeerAddress, parse_peer, within
from gateway.ingress.commands import Refused
from gateway.ingress.delivery import Recipient, Result, deliver, where
from gateway.ingress.dialect import Dialect
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.memory import MemoryFull, Receiving
from gateway.ingress.reading import BadLine, LineTooLong, read_chunk, read_command, read_dotted
from gateway.ingress.reception import Reception
from gateway.ingress.record import SessionRecord
from gateway.ingress.replies import Reply
from gateway.ingress.tls import Certificate
from gateway.ingress.trace import Arrival
from gateway.ingress.transaction import Transaction, reply_each, reply_for_all
from gateway.ingress.wire import Disconnected, Stopping, TimedOut, Wire

_log: Final = structlog.get_logger("situs.ingress")
_PARTING: Final = 2.0  # seconds that a peer gets to read why the session ends


class Ended(Exception):
    """The session ends with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply: Final = reply


@final
class Session:
    """One connection. `run` is its whole life."""

    def __init__(
        self,
        reception: Reception,
        dialect: Dialect,
        settings: ListenerSettings,
        certificate: Certificate | None,
        wire: Wire,
    ) -> None:
        self._reception: Final = reception
        self._limits: Final = reception.limits
        self._dialect: Final = dialect
        self._settings: Final = settings
        self._certificate: Final = certificate
        self._wire: Final = wire
        self._record: Final = SessionRecord(dialect.name)
        self._peer: PeerAddress | None = None
        self._counted: PeerAddress | None = None
        self._hello = ""
        self._helo = ""
        self._transaction: Transaction | None = None

    async def run(self) -> None:
        """From the first octet to the last. Raises nothing but CancelledError."""
        refusal = self._reception.admission.connect()
        sessions = self._reception.metrics.sessions.labels(self._dialect.name)
        sessions.inc()
        try:
            if refusal is not None:
                raise Ended(refusal)
            await self._arrive()
            await self._converse()
        except Ended as end:
            await self._part(end.reply)
        except Disconnected:
            self._record.write("disconnected")
        except TimedOut:
            await self._part(say.TIMED_OUT)
        except Stopping:
            await self._part(say.STOPPING)
        except MemoryFull:
            await self._part(say.NO_MEMORY)
        except asyncio.CancelledError:
            self._record.write("cancelled")
            self._wire.abort()
            raise
        except Exception as error:
            _log.error("fault", session=self._record.session, error=where(error))
            await self._part(say.FAULT)
        finally:
            self._reset()
            self._wire.close()
            sessions.dec()
            if refusal is None:
                self._reception.admission.disconnect()
            if self._counted is not None:
                self._reception.admission.leave(self._counted)

    async def _part(self, reply: Reply) -> None:
        self._reset()  # whatever was held for a message is free for others before we linger
        self._reply(reply)
        self._record.write(f"{reply.code} {reply.status}")
        await self._wire.part(0 if reply is say.BYE else _PARTING)

    # -- arriving

    async def _arrive(self) -> None:
        """PROXY header, permission, TLS: in this order. Raises Ended."""
        peername = self._wire.transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            self._peer = parse_peer(peername[0])
            proxied = within(self._peer, self._settings.proxy_from)
            if proxied:
                await self._read_proxy_header()
            if self._settings.connect_from and not within(self._peer, self._settings.connect_from):
                raise Ended(say.NOT_WELCOME)
            if not proxied or self._record.proxied:
                refusal = self._reception.admission.enter(self._peer)
                if refusal is not None:
                    raise Ended(refusal)
                self._counted = self._peer
        if self._settings.implicit_tls:
            await self._start_tls()

    async def _read_proxy_header(self) -> None:
        try:
            named = await proxy.read_proxy_header(self._wire, self._limits.command_timeout)
        except proxy.BadProxyHeader:
            raise Ended(say.BAD_PROXY) from None
        if named is not None:
            self._peer, self._record.proxied = named, True

    async def _start_tls(self) -> None:
        assert self._certificate is not None
        await self._wire.start_tls(await self._certificate.context(), self._limits.command_timeout)
        tls = self._wire.tls
        self._record.tls = tls.version() if tls is not None else None

    # -- conversing

    async def _converse(self) -> None:
        self._reply(Reply(220, "", f"{self._reception.hostname} {self._dialect.greeting}"))
        while True:
            try:
                line = await read_command(self._wire, self._limits.command_timeout)
                self._record.commands += 1
                if self._record.commands > self._limits.commands:
                    raise Ended(say.TOO_MANY_COMMANDS)
                await self._obey(line)
            except LineTooLong:
                self._reply(say.LONG_COMMAND)
            except BadLine:
                self._reply(say.BAD_LINE)
            except Refused as refused:
                self._reply(refused.reply)
            if self._record.errors > self._limits.errors:
                raise Ended(say.TOO_MANY_ERRORS)

    async def _obey(self, line: bytes) -> None:
        verb, argument = commands.split(line)
        if verb in self._dialect.hellos:
            return self._say_hello(verb, argument)
        known = _VERBS.get(verb)
        if known is None:
            raise Refused(say.UNKNOWN_COMMAND)
        if (
            self._transaction is not None
            and self._transaction.chunks is not None
            and verb in ("MAIL", "RCPT", "DATA")
        ):
            raise Refused(say.BDAT_GOES_ON)
        return await known(self, argument)

    def _reply(self, *replies: Reply) -> None:
        for reply in replies:
            if reply.code >= 400:
                self._record.refusal(reply)
                reason = f"{reply.code} {reply.status}"
                self._reception.metrics.refused.labels(self._dialect.name, reason).inc()
            self._record.errors += reply.refuses
            self._wire.write(reply.encode())

    def _reset(self) -> None:
        if self._transaction is not None:
            self._transaction.receiving.release()
            self._transaction = None

    def _say_hello(self, verb: str, argument: str) -> None:
        self._helo = commands.hello(argument)
        self._hello = verb
        self._reset()  # RFC 5321 4.1.4: a second EHLO is a RSET
        if verb not in self._dialect.extended:
            return self._reply(Reply(250, "", self._reception.hostname))
        extensions = [
            self._reception.hostname,
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
        ]
        if self._certificate is not None and self._wire.tls is None:
            extensions.append("STARTTLS")
        return self._reply(Reply(250, "", tuple(extensions)))

    async def _starttls(self, argument: str) -> None:
        if self._certificate is None:
            raise Refused(say.NO_TLS)
        if self._wire.tls is not None:
            raise Refused(say.TLS_ALREADY)
        commands.nothing(argument)
        if self._wire.buffer:
            # Sent in the clear to be read as if it had been sent under TLS (RFC 3207 4; CVE-2011-0411).
            raise Ended(say.DATA_BEFORE_TLS)
        self._reset()
        self._hello = self._helo = ""  # RFC 3207 4.2: all that was said before is forgotten
        self._reply(say.START_TLS)
        await self._start_tls()

    async def _noop(self, _argument: str) -> None:
        self._reply(say.OK)

    async def _help(self, _argument: str) -> None:
        self._reply(say.HELP)

    async def _vrfy(self, argument: str) -> None:
        if not argument:
            raise Refused(say.syntax("a mailbox is expected"))
        self._reply(say.CANNOT_VERIFY)

    async def _expn(self, _argument: str) -> None:
        raise Refused(say.NO_EXPN)

    async def _rset(self, argument: str) -> None:
        commands.nothing(argument)
        self._reset()
        self._reply(say.OK)

    async def _quit(self, argument: str) -> None:
        commands.nothing(argument)
        raise Ended(say.BYE)

    # -- the transaction

    async def _mail(self, argument: str) -> None:
        if not self._hello:
            raise Refused(say.HELLO_FIRST)
        if self._settings.require_tls and self._wire.tls is None:
            raise Refused(say.TLS_FIRST)
        if self._transaction is not None:
            raise Refused(say.NESTED_MAIL)
        mail = commands.mail(argument)
        memory = self._reception.memory
        if mail.size is not None:
            if mail.size > self._limits.message_size:
                raise Refused(say.TOO_LARGE)
            if not memory.has_room_for(mail.size):
                raise Refused(say.NO_ROOM)
        self._transaction = Transaction(mail.sender, mail.smtputf8, Receiving(memory))
        self._reply(say.SENDER_OK)

    async def _rcpt(self, argument: str) -> None:
        transaction = self._open_transaction()
        rcpt = commands.rcpt(argument, smtputf8=transaction.smtputf8)
        address = rcpt.address or self._reception.postmaster
        if len(transaction.accepted) >= self._limits.recipients:
            raise Refused(say.TOO_MANY_RECIPIENTS)
        try:
            async with asyncio.timeout(self._limits.lookup_timeout):
                located = await self._reception.post.locate(address)
        except Exception as error:
            reply = say.for_error(error)
            if reply is say.OUR_FAULT:
                _log.error("lookup failed: fault", session=self._record.session, error=where(error))
            raise Refused(reply) from None
        transaction.accept(address, Recipient(rcpt.mailbox, located))
        self._reply(say.RECIPIENT_OK)

    async def _data(self, argument: str) -> None:
        commands.nothing(argument)
        transaction = self._transaction_with_recipients()
        self._reply(say.START_MAIL)
        until = asyncio.get_running_loop().time() + self._limits.message_timeout
        content = await read_dotted(self._wire, self._limits, transaction.receiving, until)
        await self._conclude(transaction, say.TOO_LARGE if content is None else content)

    async def _bdat(self, argument: str) -> None:
        bdat = commands.bdat(argument)
        if bdat is None:
            # What follows might be a message or a command: it must be read as neither.
            raise Ended(say.BAD_BDAT)
        transaction = self._transaction
        loop = asyncio.get_running_loop()
        if transaction is None or not transaction.accepted:
            until = loop.time() + self._limits.message_timeout
            await read_chunk(self._wire, bdat.size, self._limits, until, into=None)
            raise Refused(say.MAIL_FIRST if transaction is None else say.RCPT_FIRST)
        if transaction.chunks is None:
            transaction.chunks = bytearray()
            transaction.chunks_until = loop.time() + self._limits.message_timeout
        size = len(transaction.chunks) + bdat.size
        if size > self._limits.message_size:
            transaction.failed = transaction.failed or say.TOO_LARGE
        if transaction.failed is not None:
            transaction.chunks.clear()
            transaction.receiving.release()
        else:
            transaction.receiving.hold(size)
        into = None if transaction.failed is not None else transaction.chunks
        await read_chunk(self._wire, bdat.size, self._limits, transaction.chunks_until, into)
        if bdat.last:
            await self._conclude(transaction, transaction.failed or bytes(transaction.chunks))
        else:
            self._reply(transaction.failed or say.CHUNK_OK)

    def _open_transaction(self) -> Transaction:
        if self._transaction is None:
            raise Refused(say.MAIL_FIRST)
        return self._transaction

    def _transaction_with_recipients(self) -> Transaction:
        transaction = self._open_transaction()
        if not transaction.accepted:
            raise Refused(say.RCPT_FIRST)
        return transaction

    async def _conclude(self, transaction: Transaction, content: bytes | Reply) -> None:
        """The message has ended: store it, or refuse it, and say what became of it."""
        delivery = self._record.delivery_id()
        refusal = content if isinstance(content, Reply) else message.fault(content, self._limits)
        results: tuple[Result, ...]
        if refusal is not None or isinstance(content, Reply):
            results = tuple(refusal or say.OUR_FAULT for _ in transaction.recipients)
        else:
            transaction.chunks = None
            arrival = self._arrival(transaction, delivery)
            results = await deliver(self._reception, arrival, tuple(transaction.recipients.values()), content)
        self._reset()
        self._count(delivery, len(content) if isinstance(content, bytes) else 0, results)
        self._reply(
            *(reply_each(transaction, results) if self._dialect.reply_each else [reply_for_all(results)])
        )

    def _arrival(self, transaction: Transaction, delivery: str) -> Arrival:
        protocol = self._dialect.protocol(
            self._hello, tls=self._wire.tls is not None, smtputf8=transaction.smtputf8
        )
        return Arrival(
            transaction.sender, self._helo, self._peer, protocol, delivery, self._reception.clock()
        )

    def _count(self, delivery: str, octets: int, results: tuple[Result, ...]) -> None:
        stored = [str(result) for result in results if not isinstance(result, Reply)]
        refused = sum(isinstance(result, Reply) and result.refuses for result in results)
        self._record.message(delivery, octets, stored, len(results) - len(stored) - refused, refused)
        if len(stored) == len(results) or (stored and self._dialect.reply_each):
            metrics = self._reception.metrics
            metrics.accepted.labels(self._dialect.name).inc()
            metrics.bytes.labels(self._dialect.name).inc(octets)
            self._record.errors = 0  # the limit is for peers that get nowhere


_VERBS: Final[dict[str, Callable[[Session, str], Awaitable[None]]]] = {
    "MAIL": Session._mail,
    "RCPT": Session._rcpt,
    "DATA": Session._data,
    "BDAT": Session._bdat,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "VRFY": Session._vrfy,
    "EXPN": Session._expn,
    "HELP": Session._help,
    "STARTTLS": Session._starttls,
    "QUIT": Session._quit,
}
