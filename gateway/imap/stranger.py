"""Not authenticated (RFC 3501 3.1): who comes may secure the line, sign in, or leave."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final, final

from gateway.imap import commands
from gateway.imap import replies as say
from gateway.imap.anybody import Anybody
from gateway.imap.conversation import Conversation
from gateway.imap.reader import Reader
from gateway.imap.replies import Ended, Refused, Status
from gateway.imap.resident import Resident
from gateway.imap.scanner import Scanner
from gateway.imap.signing_in import Credentials, Owner
from gateway.imap.states import Answer
from gateway.ingress.tls import Certificate
from storage.errors import AccountClosed, AccountSuspended

_MOST_COMMANDS: Final = 100  # a client needs five before it signs in


@final
class Stranger:
    """A session in which nobody has signed in yet."""

    def __init__(self, conversation: Conversation, certificate: Certificate | None) -> None:
        self._conversation: Final = conversation
        self._certificate: Final = certificate
        self._anybody: Final = Anybody(conversation)
        self._commands = 0

    def command(self, verb: str) -> Callable[[Scanner], Awaitable[Answer]] | None:
        """See State."""
        match verb:
            case "STARTTLS":
                return self._starttls
            case "LOGIN":
                return self._login
            case "AUTHENTICATE":
                return self._authenticate
            case _:
                return self._anybody.command(verb)

    async def before(self) -> None:
        """See State."""
        self._commands += 1
        if self._commands > _MOST_COMMANDS:
            raise Ended(say.TOO_MANY_COMMANDS)

    async def after(self, verb: str) -> None:
        """See State. There is nothing that a stranger is told."""

    def close(self) -> None:
        """See State."""

    async def _starttls(self, scanner: Scanner) -> Answer:
        """RFC 3501 6.2.1. The session goes on with the handshake once the reply is out."""
        commands.plain(scanner)
        conversation = self._conversation
        if conversation.has_tls:
            raise Refused(say.TLS_ALREADY)
        if self._certificate is None:
            raise Refused(say.NO_TLS)
        if conversation.wire.buffer:
            # CVE-2011-0411: sent in the clear, to be read as if it had come under TLS.
            raise Ended(say.DATA_BEFORE_TLS)
        return Answer(say.ok("begin TLS now"), Securing(self, self._certificate))

    async def _login(self, scanner: Scanner) -> Answer:
        """RFC 3501 6.2.3."""
        self._need_privacy()
        found = commands.login(scanner)
        return await self._sign_in(Credentials(found.user, found.password))

    async def _authenticate(self, scanner: Scanner) -> Answer:
        """RFC 3501 6.2.2 with the mechanism PLAIN (RFC 4616)."""
        self._need_privacy()
        found = commands.authenticate(scanner)
        if found.mechanism != "PLAIN":
            raise Refused(say.NO_SUCH_MECHANISM)
        response = found.initial.encode("ascii") if found.initial is not None else await self._response()
        if response == b"*":
            raise Refused(say.CANCELLED)
        if response == b"=" and found.initial is not None:
            response = b""  # RFC 4959 3: an initial response that is empty
        return await self._sign_in(_plain(response))

    async def _response(self) -> bytes:
        self._conversation.say(b"+ \r\n")
        return await self._conversation.reader.line(self._conversation.limits.command_timeout)

    async def _sign_in(self, credentials: Credentials) -> Answer:
        conversation = self._conversation
        sign_ins = conversation.commons.metrics.sign_ins
        try:
            owner: Owner = await conversation.commons.sign_in.owner(conversation.peer, credentials)
        except Refused as refused:
            sign_ins.labels(_outcome(refused.status)).inc()
            raise
        except (AccountSuspended, AccountClosed):
            sign_ins.labels("not open").inc()
            raise
        sign_ins.labels("signed in").inc()
        conversation.record.home = str(owner.located.home.code)
        conversation.reader.signed_in = True
        return Answer(
            say.ok("signed in", f"CAPABILITY {conversation.capabilities()}"),
            Resident(conversation, owner, Reader),
        )

    def _need_privacy(self) -> None:
        # RFC 3501 6.2.3, 11.2: no password in the clear.
        if not self._conversation.is_private:
            raise Refused(say.TLS_FIRST)


@final
class Securing:
    """Between the reply to STARTTLS and the first command under TLS: the handshake, and nothing else."""

    def __init__(self, stranger: Stranger, certificate: Certificate) -> None:
        self.stranger: Final = stranger
        self.certificate: Final = certificate

    def command(self, verb: str) -> None:
        """See State: there is none."""

    async def before(self) -> None:
        """See State."""

    async def after(self, verb: str) -> None:
        """See State."""

    def close(self) -> None:
        """See State."""


def _outcome(status: Status) -> str:
    if status.code.startswith("REFERRAL") or not status.code:
        return "at home elsewhere"
    return "too many failures" if status is say.TOO_MANY_FAILURES else "refused"


def _plain(response: bytes) -> Credentials:
    """RFC 4616 2: `[authzid] NUL authcid NUL passwd`. Raises Refused."""
    try:
        message = base64.b64decode(response, validate=True)
    except binascii.Error:
        raise Refused(say.NO_BASE64) from None
    match message.split(b"\0"):
        case [authorized, user, password] if user and password:
            if authorized not in (b"", user):
                raise Refused(say.NOT_FOR_OTHERS)
            return Credentials(user, password)
        case _:
            raise Refused(say.bad("PLAIN is [authzid] NUL authcid NUL passwd (RFC 4616 2)"))
