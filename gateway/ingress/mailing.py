"""MAIL, RCPT, DATA and BDAT: one mail transaction after the other, each told to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, final

import structlog

from gateway.ingress import commands, message
from gateway.ingress import replies as say
from gateway.ingress.commands import Refused
from gateway.ingress.delivery import Delivery, Recipient, Result, where
from gateway.ingress.memory import Receiving
from gateway.ingress.reading import read_chunk, read_dotted
from gateway.ingress.replies import Reply
from gateway.ingress.transaction import Transaction, reply_each, reply_for_all
from gateway.ingress.visit import Ended, Visit
from policy.address import Address
from storage.errors import UnknownAddress
from storage.located import Located

_log: Final = structlog.get_logger("situs.ingress")


@final
class Mailing:
    """The transactions of one session, one at a time. Commands raise Refused and Ended."""

    def __init__(self, visit: Visit) -> None:
        self._visit: Final = visit
        self._transaction: Transaction | None = None

    def reset(self) -> None:
        """Forgets the transaction, and gives back what it holds."""
        if self._transaction is not None:
            self._transaction.receiving.release()
            self._transaction = None

    async def obey(self, verb: str, argument: str) -> None:
        """One command. Raises Refused for a verb that is none."""
        command = _VERBS.get(verb)
        if command is None:
            raise Refused(say.UNKNOWN_COMMAND)
        if verb != "BDAT" and self._transaction is not None and self._transaction.chunks is not None:
            raise Refused(say.BDAT_GOES_ON)
        await command(self, argument)

    async def _mail(self, argument: str) -> None:
        visit = self._visit
        if not visit.hello:
            raise Refused(say.HELLO_FIRST)
        if visit.settings.require_tls and not visit.has_tls:
            raise Refused(say.TLS_FIRST)
        if self._transaction is not None:
            raise Refused(say.NESTED_MAIL)
        mail = commands.mail(argument)
        memory = visit.reception.memory
        if mail.size is not None:
            if mail.size > visit.limits.message_size:
                raise Refused(say.TOO_LARGE)
            if not memory.has_room_for(mail.size):
                raise Refused(say.NO_ROOM)
        self._transaction = Transaction(mail.sender, mail.smtputf8, Receiving(memory))
        visit.reply(say.SENDER_OK)

    async def _rcpt(self, argument: str) -> None:
        visit, transaction = self._visit, self._open_transaction()
        rcpt = commands.rcpt(argument, smtputf8=transaction.smtputf8)
        addresses = (rcpt.address,) if rcpt.address is not None else visit.reception.postmasters
        # Postmaster is always accepted (RFC 5321 4.5.1), also as one too many.
        for_postmaster = rcpt.address is None or rcpt.address.local == "postmaster"
        if len(transaction.accepted) >= visit.limits.recipients and not for_postmaster:
            raise Refused(say.TOO_MANY_RECIPIENTS)
        located = visit.reception.post.remembered(addresses[0])
        address, located = (addresses[0], located) if located else await self._looked_up(addresses)
        mailbox = rcpt.mailbox if rcpt.address is not None else str(address)
        transaction.accept(address, Recipient(mailbox, located))
        visit.reply(say.RECIPIENT_OK)

    async def _looked_up(self, addresses: tuple[Address, ...]) -> tuple[Address, Located]:
        visit = self._visit
        try:
            async with asyncio.timeout(visit.limits.lookup_timeout):
                return await self._first_known(addresses)
        except Exception as error:
            reply = say.for_error(error)
            if reply is say.OUR_FAULT:
                _log.error("lookup failed: fault", session=visit.record.session, error=where(error))
            raise Refused(reply) from None

    async def _first_known(self, addresses: tuple[Address, ...]) -> tuple[Address, Located]:
        """Raises what `Post.locate` raises, of the last address where nobody has any."""
        *others, last = addresses
        for address in others:
            with suppress(UnknownAddress):
                return address, await self._visit.reception.post.locate(address)
        return last, await self._visit.reception.post.locate(last)

    async def _data(self, argument: str) -> None:
        commands.nothing(argument)
        visit, transaction = self._visit, self._open_transaction()
        if not transaction.accepted:
            raise Refused(say.RCPT_FIRST)
        visit.reply(say.START_MAIL)
        until = asyncio.get_running_loop().time() + visit.limits.message_timeout
        content = await read_dotted(visit.wire, visit.limits, transaction.receiving, until)
        await self._conclude(transaction, say.TOO_LARGE if content is None else content)

    async def _bdat(self, argument: str) -> None:
        visit, transaction = self._visit, self._transaction
        bdat = commands.bdat(argument)
        if bdat is None:
            # What follows might be a message or a command: it must be read as neither.
            raise Ended(say.BAD_BDAT)
        until = asyncio.get_running_loop().time() + visit.limits.message_timeout
        if transaction is None or not transaction.accepted:
            await read_chunk(visit.wire, bdat.size, visit.limits, until, into=None)
            raise Refused(say.MAIL_FIRST if transaction is None else say.RCPT_FIRST)
        if transaction.chunks is None:
            transaction.chunks, transaction.chunks_until = bytearray(), until
        size = len(transaction.chunks) + bdat.size
        if size > visit.limits.message_size:
            transaction.failed = transaction.failed or say.TOO_LARGE
        if transaction.failed is None:
            transaction.receiving.hold(size)
        else:
            transaction.chunks.clear()
            transaction.receiving.release()
        into = transaction.chunks if transaction.failed is None else None
        await read_chunk(visit.wire, bdat.size, visit.limits, transaction.chunks_until, into)
        if bdat.last:
            await self._conclude(transaction, transaction.failed or bytes(transaction.chunks))
        else:
            visit.reply(transaction.failed or say.CHUNK_OK)

    def _open_transaction(self) -> Transaction:
        if self._transaction is None:
            raise Refused(say.MAIL_FIRST)
        return self._transaction

    async def _conclude(self, transaction: Transaction, content: bytes | Reply) -> None:
        """The message has ended: store it, or refuse it, and say what became of it."""
        visit = self._visit
        delivery = visit.record.delivery_id()
        transaction.chunks = None
        if isinstance(content, bytes):
            refusal = message.fault(content, visit.limits)
            results = (
                await self._deliver(transaction, delivery, content)
                if refusal is None
                else (refusal,) * len(transaction.recipients)
            )
            self._count(delivery, len(content), results)
        else:
            results = (content,) * len(transaction.recipients)
            self._count(delivery, 0, results)
        self.reset()
        if visit.dialect.reply_each:
            visit.reply(*reply_each(transaction, results))
        else:
            visit.reply(reply_for_all(results))

    async def _deliver(self, transaction: Transaction, delivery: str, content: bytes) -> tuple[Result, ...]:
        visit = self._visit
        if visit.reception.check is not None:
            transaction.receiving.hold(2 * len(content))  # a check makes a message of its own from it
        arrival = visit.arrival(transaction.sender, delivery, smtputf8=transaction.smtputf8)
        on_its_way = Delivery(visit.reception, arrival, tuple(transaction.recipients.values()), content)
        results = await on_its_way.run()
        # A peer that has closed its side may have left altogether: it cannot be known until it is told.
        heard = not visit.wire.ended and not visit.wire.gone
        whole = visit.dialect.reply_each or not any(isinstance(result, Reply) for result in results)
        if not (heard and whole):
            on_its_way.not_acknowledged(results)
        return results

    def _count(self, delivery: str, octets: int, results: tuple[Result, ...]) -> None:
        visit = self._visit
        stored = [str(result) for result in results if not isinstance(result, Reply)]
        refused = sum(isinstance(result, Reply) and result.refuses for result in results)
        visit.record.message(delivery, octets, stored, len(results) - len(stored) - refused, refused)
        if len(stored) == len(results) or (stored and visit.dialect.reply_each):
            figures = visit.reception.metrics.door(visit.dialect.name)
            figures.accepted.inc()
            figures.bytes.inc(octets)
            visit.record.errors = 0  # the limit is for peers that get nowhere


_VERBS: Final[dict[str, Callable[[Mailing, str], Awaitable[None]]]] = {
    "MAIL": Mailing._mail,
    "RCPT": Mailing._rcpt,
    "DATA": Mailing._data,
    "BDAT": Mailing._bdat,
}
