"""One message, from its last octet to its last durable copy.

Each recipient's copy goes to that recipient's home and to no other place, all of them at the
same time. What has begun is not undone by a peer that leaves: the delivery is a task of the
process, and the session only waits for it. A peer that is not told 250 will send the message
again: copies that became durable all the same are kept in mind (`Unacknowledged`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, final

import structlog

from gateway.ingress import trace
from gateway.ingress.reception import Reception
from gateway.ingress.replies import CHECK_UNREACHABLE, Reply, for_error
from gateway.ingress.screening import Held
from gateway.ingress.trace import Arrival
from gateway.ingress.unacknowledged import delivery_key
from storage.errors import StorageError
from storage.identity import MessageId
from storage.located import Located
from storage.traffic import Envelope

_log: Final = structlog.get_logger("situs.ingress")
# A digest takes about a millisecond per MiB: from here on it would hold up every other session.
_LONG_ENOUGH_FOR_A_THREAD: Final = 1024 * 1024


@final
@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted recipient: the mailbox as it was written, and what the directory said of it."""

    mailbox: str
    located: Located


Result = MessageId | Reply
"""What became of one copy: its name at rest, or the reply that says why there is none."""


@final
@dataclass(slots=True)
class Delivery:
    """One message on its way to `recipients`; `message` is what the client sent, dots unstuffed."""

    reception: Reception
    arrival: Arrival
    recipients: tuple[Recipient, ...]
    message: bytes
    sent_sha256: str = field(init=False, default="")

    async def run(self) -> tuple[Result, ...]:
        """Stores a copy for each recipient; one result for each, in their order.

        Ends within the store timeout. Cancelling it does not cancel what it has begun.
        """
        task = asyncio.get_running_loop().create_task(self._deliver())
        self.reception.storing.add(task)
        task.add_done_callback(self.reception.storing.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._ended_unheard)
            raise

    def not_acknowledged(self, results: tuple[Result, ...]) -> None:
        """The peer was not told that these copies are durable, and will send them again."""
        for recipient, result in zip(self.recipients, results, strict=True):
            if isinstance(result, MessageId):
                self.reception.unacknowledged.remember(self._key(recipient), result)

    def _ended_unheard(self, task: asyncio.Task[tuple[Result, ...]]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.not_acknowledged(task.result())

    def _key(self, recipient: Recipient) -> bytes:
        return delivery_key(self.arrival.sender, recipient.mailbox, self.sent_sha256)

    async def _deliver(self) -> tuple[Result, ...]:
        until = asyncio.get_running_loop().time() + self.reception.limits.store_timeout
        content = self.message
        if len(content) < _LONG_ENOUGH_FOR_A_THREAD:
            self.sent_sha256 = _digest(content)
        else:
            self.sent_sha256 = await asyncio.to_thread(_digest, content)
        if self.reception.check is not None:
            mailboxes = tuple(each.mailbox for each in self.recipients)
            try:
                async with asyncio.timeout_at(until):
                    verdict = await self.reception.check.look(self.arrival, mailboxes, content)
            except TimeoutError:  # a check may be given more time than there is to store
                return (CHECK_UNREACHABLE,) * len(self.recipients)
            if isinstance(verdict, Held):
                return (verdict.reply,) * len(self.recipients)
            content = verdict.content
        traced = (trace.header(self.arrival, self.reception.hostname), content)
        if len(self.recipients) == 1:
            return (await self._copy(self.recipients[0], traced, until),)
        return tuple(await asyncio.gather(*(self._copy(each, traced, until) for each in self.recipients)))

    async def _copy(self, recipient: Recipient, traced: tuple[bytes, bytes], until: float) -> Result:
        unacknowledged = self.reception.unacknowledged
        if unacknowledged and (stored := unacknowledged.take(self._key(recipient))) is not None:
            return stored
        region = recipient.located.home.code
        figures = self.reception.metrics.region(region)
        began = perf_counter()
        try:
            async with asyncio.timeout_at(until), self.reception.memory.storing(len(self.message)):
                # Joined only now: a copy that waits for its turn takes no memory of its own.
                message = await self.reception.post.store(
                    recipient.located, self._envelope(recipient), b"".join(traced)
                )
        except Exception as error:
            reply = for_error(error)
            if not reply.refuses:
                figures.deferred.inc()
            # A fault of ours may hold in its text what the peer sent: its kind and place must do.
            expected = isinstance(error, StorageError | TimeoutError)
            _log.log(
                logging.WARNING if expected else logging.ERROR,
                "copy not stored",
                delivery=self.arrival.delivery,
                region=str(region),
                error=type(error).__name__ if expected else where(error),
            )
            return reply
        figures.stored.inc()
        figures.store_seconds.observe(perf_counter() - began)
        return message

    def _envelope(self, recipient: Recipient) -> Envelope:
        arrival = self.arrival
        return Envelope(
            sender=arrival.sender,
            recipient=recipient.mailbox,
            peer=str(arrival.peer) if arrival.peer is not None else "unix",
            helo=arrival.helo,
            received_at=arrival.received_at,
            protocol=arrival.protocol,
            sent_sha256=self.sent_sha256,
        )


def _digest(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()


def where(error: BaseException) -> str:
    """An exception's kind and place, without its text: `KeyError at mailbox.py:58`."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" at {last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}" if last else ""
    return f"{type(error).__name__}{place}"
