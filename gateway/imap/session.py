"""The story of one connection: who comes, what they say, what they are told.

Everything that a client can do ends in a reply. Whatever goes wrong inside is NO [SERVERBUG] or BYE
to the client and a line in the log: never a traceback on the wire, and never the end of another session.
"""

from __future__ import annotations

import asyncio
import re
from time import perf_counter
from typing import Final, final

import structlog

from gateway.imap import replies as say
from gateway.imap.anybody import LoggedOut
from gateway.imap.conversation import Conversation
from gateway.imap.reading import Garbled, TaggedRefusal
from gateway.imap.replies import Condition, Ended, Refused, Status, for_error
from gateway.imap.scanner import BadCommand, RawCommand, Scanner
from gateway.imap.states import Answer, State
from gateway.imap.stranger import Securing, Stranger
from gateway.ingress import proxy
from gateway.ingress.admission import PeerAddress, parse_peer, within
from gateway.ingress.delivery import where
from gateway.ingress.memory import MemoryFull
from gateway.ingress.tls import Certificate
from gateway.ingress.wire import Disconnected, Stopping, TimedOut
from storage.errors import StorageError

_log: Final = structlog.get_logger("situs.imap")
_PARTING: Final = 2.0  # seconds that a client gets to read why the session ends
# RFC 3501 5.4: at least 30 minutes. The extra minute is for a client that says NOOP every 30.
AUTOLOGOUT: Final = 31 * 60.0
# RFC 3501 9: tag, any ASTRING-CHAR except "+".
_BEGINNING: Final = re.compile(rb'([^\x00-\x20\x7f-\xff(){%*"\\+]+) ([A-Za-z]+(?: [A-Za-z]+)?)')
# RFC 3501 6.1.2, 6.4.1: to look is what these are for, and a look that fails is their answer.
_TO_LOOK: Final = frozenset({"NOOP", "CHECK"})
# What ends a session, whatever it was doing.
_ENDS: Final = (Ended, Disconnected, TimedOut, Stopping)


@final
class Session:
    """One connection. `run` is its whole life."""

    def __init__(self, conversation: Conversation, certificate: Certificate | None) -> None:
        self._conversation: Final = conversation
        self._commons: Final = conversation.commons
        self._wire: Final = conversation.wire
        self._certificate: Final = certificate
        self._state: State = Stranger(conversation, certificate)
        self._admitted: PeerAddress | None = None

    async def run(self) -> None:
        """From the first octet to the last. Raises nothing but CancelledError."""
        record, admission = self._conversation.record, self._commons.admission
        refusal = admission.connect()
        self._commons.metrics.sessions.inc()
        try:
            if refusal is not None:
                raise Ended(say.TOO_MANY)
            await self._arrive()
            await self._converse()
        except Ended as end:
            await self._part(end.status)
        except Disconnected:
            record.write("disconnected")
        except TimedOut:
            await self._part(say.AUTOLOGOUT)
        except Stopping:
            await self._part(say.STOPPING)
        except asyncio.CancelledError:
            record.write("cancelled")
            self._wire.abort()
            raise
        except Exception as error:
            _log.error("fault", session=record.session, error=where(error))
            await self._part(say.FAULT)
        finally:
            self._state.close()
            self._conversation.reader.release()
            self._conversation.last_opened.let_go()
            self._wire.close()
            self._commons.metrics.sessions.dec()
            if refusal is None:
                admission.disconnect()
            if self._admitted is not None:
                admission.leave(self._admitted)

    async def _part(self, status: Status) -> None:
        if status is not say.GOODBYE:  # LOGOUT has said it, before its tagged reply
            self._conversation.tell(status)
        self._conversation.record.write(status.code.partition(" ")[0] or status.text)
        await self._wire.part(_PARTING)

    # -- arriving

    async def _arrive(self) -> None:
        """PROXY header, permission, TLS: in this order. Raises Ended."""
        conversation, settings = self._conversation, self._conversation.settings
        peername = self._wire.peername
        if isinstance(peername, tuple):
            peer = parse_peer(peername[0])
            conversation.peer = peer
            from_proxy = within(peer, settings.proxy_from)
            if from_proxy:
                await self._read_proxy_header()
                peer = conversation.peer
            if settings.connect_from and not within(peer, settings.connect_from):
                raise Ended(say.NOT_WELCOME)
            if not from_proxy or conversation.record.proxied:
                if self._commons.admission.enter(peer) is not None:
                    raise Ended(say.TOO_MANY_FROM_YOU)
                self._admitted = peer
        if settings.implicit_tls:
            assert self._certificate is not None
            await self._start_tls(self._certificate)

    async def _read_proxy_header(self) -> None:
        try:
            named = await proxy.read_proxy_header(self._wire, self._conversation.limits.command_timeout)
        except proxy.BadProxyHeader:
            raise Ended(say.BAD_PROXY) from None
        if named is not None:
            self._conversation.peer, self._conversation.record.proxied = named, True

    async def _start_tls(self, certificate: Certificate) -> None:
        await self._wire.start_tls(await certificate.context(), self._conversation.limits.command_timeout)
        assert self._wire.tls is not None
        self._conversation.record.tls = self._wire.tls.version()

    # -- conversing

    async def _converse(self) -> None:
        conversation = self._conversation
        capabilities = conversation.capabilities()
        conversation.tell(say.ok(f"{self._commons.hostname} Situs", f"CAPABILITY {capabilities}"))
        while True:
            patience = AUTOLOGOUT if conversation.reader.signed_in else conversation.limits.command_timeout
            try:
                await self._obey(await conversation.reader.read(patience))
            except TaggedRefusal as refused:
                self._answer(_tag(refused.beginning), refused.status)
            except Garbled as garbled:
                self._answer("*", garbled.status)
            finally:
                conversation.reader.release()
            if conversation.record.errors > conversation.limits.errors:
                raise Ended(say.TOO_MANY_ERRORS)
            await conversation.flush()

    async def _obey(self, command: RawCommand) -> None:
        found = _BEGINNING.match(command.text)
        if found is None:
            self._answer(_tag(command.text), say.NO_TAG)
            return
        tag, verb, arguments = self._parts(found, command)
        began = perf_counter()
        answer = await self._do(tag, verb, arguments)
        metrics = self._commons.metrics
        name = verb if self._state.command(verb) is not None else "none"
        self._answer(tag, answer.status)
        metrics.commands.labels(name, answer.status.condition.value).inc()
        metrics.seconds.labels(name).observe(perf_counter() - began)
        self._conversation.record.commands[name] += 1
        await self._go(answer.then)

    def _parts(self, found: re.Match[bytes], command: RawCommand) -> tuple[str, str, Scanner]:
        """Tag, verb and what follows it. `UID FETCH` is one verb of two words."""
        tag, words = found.group(1).decode("ascii"), found.group(2).decode("ascii").upper()
        first, _, second = words.partition(" ")
        verb = f"UID {second}" if first == "UID" and second else first
        end = found.start(2) + len(verb)
        return tag, verb, Scanner(RawCommand(command.text[end:], command.literals))

    async def _do(self, tag: str, verb: str, arguments: Scanner) -> Answer:
        """What a command comes to. LOGOUT, which ends in its own way, raises LoggedOut."""
        try:
            await self._state.before()
            command = self._state.command(verb)
            if command is None:
                raise Refused(say.UNKNOWN_COMMAND)
            answer = await command(arguments)
            if verb in _TO_LOOK:
                await self._state.after(verb)
        except LoggedOut:
            self._conversation.tell(say.GOODBYE)
            self._answer(tag, say.ok("logged out"))
            raise
        except _ENDS:
            raise
        except Exception as error:
            return Answer(self._reply_to(error))
        if answer.then is None and verb not in _TO_LOOK:
            await self._look_around(verb)
        return answer

    async def _look_around(self, verb: str) -> None:
        """What happened meanwhile is told behind a command, and does not change what came of it: a client
        that heard NO after its APPEND would send the message again."""
        try:
            await self._state.after(verb)
        except _ENDS:
            raise
        except Exception as error:
            status = self._reply_to(error)
            _log.info("look_failed", session=self._conversation.record.session, reply=status.code)

    def _reply_to(self, error: Exception) -> Status:
        """The reply to what went wrong; a fault of ours stands in the log as one."""
        if isinstance(error, Garbled):
            return error.status
        if not isinstance(error, Refused | BadCommand | MemoryFull | StorageError | TimeoutError):
            _log.error("fault", session=self._conversation.record.session, error=where(error))
        return for_error(error)

    async def _go(self, state: State | None) -> None:
        if isinstance(state, Securing):
            await self._conversation.flush()
            await self._start_tls(state.certificate)
        elif state is not None:
            self._state = state

    def _answer(self, tag: str, status: Status) -> None:
        record = self._conversation.record
        if status.refuses:
            record.refusals[status.code.partition(" ")[0] or status.condition.value] += 1
            record.errors += status.condition is Condition.BAD
        self._conversation.say(status.encode(tag))


def _tag(text: bytes) -> str:
    """The tag of a command that could not be read further; `*` where there is none (RFC 3501 7.1.3)."""
    found = re.match(rb'([^\x00-\x20\x7f-\xff(){%*"\\+]+)(?: |\Z)', text)
    return found.group(1).decode("ascii") if found else "*"
