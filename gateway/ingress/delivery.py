"""One message, from its last octet to its last durable copy.

Each recipient's copy goes to that recipient's home and to no other place, all of them at the
same time. What has begun is not undone by a peer that leaves: the delivery is a task of the
process, and the session only waits for it. If the peer is gone when a copy becomes durable, it
will send the message again, and its owner is shown one (see `Unacknowledged`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Final, final

import structlog

from gateway.ingress import trace
from gateway.ingress.reception import Reception
from gateway.ingress.replies import Reply, for_error
from gateway.ingress.screening import Held
from gateway.ingress.trace import Arrival
from storage.errors import StorageError
from storage.identity import MessageId
from storage.located import Located
from storage.traffic import Envelope

_log: Final = structlog.get_logger("situs.ingress")


@final
@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted recipient: the mailbox as it was written, and what the directory said of it."""

    mailbox: str
    located: Located


Result = MessageId | Reply
"""What became of one copy: its name at rest, or the reply that says why there is none."""


async def deliver(
    reception: Reception, arrival: Arrival, recipients: tuple[Recipient, ...], content: bytes
) -> tuple[Result, ...]:
    """Stores a copy for each recipient; one result for each, in their order.

    Ends within the store timeout. Cancelling it does not cancel what it has begun.
    """
    task = asyncio.get_running_loop().create_task(_deliver(reception, arrival, recipients, content))
    reception.storing.add(task)
    task.add_done_callback(reception.storing.discard)
    return await asyncio.shield(task)


async def _deliver(
    reception: Reception, arrival: Arrival, recipients: tuple[Recipient, ...], content: bytes
) -> tuple[Result, ...]:
    until = asyncio.get_running_loop().time() + reception.limits.store_timeout
    if reception.check is not None:
        verdict = await reception.check.look(arrival, tuple(each.mailbox for each in recipients), content)
        if isinstance(verdict, Held):
            return tuple(verdict.reply for _ in recipients)
        content = verdict.content
    content = trace.header(arrival, reception.hostname) + content
    if len(recipients) == 1:
        return (await _store(reception, arrival, recipients[0], content, until),)
    return tuple(
        await asyncio.gather(*(_store(reception, arrival, each, content, until) for each in recipients))
    )


async def _store(
    reception: Reception, arrival: Arrival, recipient: Recipient, content: bytes, until: float
) -> Result:
    metrics, region = reception.metrics, str(recipient.located.home.code)
    envelope = Envelope(
        sender=arrival.sender,
        recipient=recipient.mailbox,
        peer=str(arrival.peer) if arrival.peer is not None else "unix",
        helo=arrival.helo,
        received_at=arrival.received_at,
        protocol=arrival.protocol,
    )
    began = perf_counter()
    try:
        async with asyncio.timeout_at(until), reception.memory.storing(len(content)):
            message = await reception.post.store(recipient.located, envelope, content)
    except (StorageError, TimeoutError) as error:
        reply = for_error(error)
        if not reply.refuses:
            metrics.deferred.labels(region).inc()
        _log.warning("copy not stored", delivery=arrival.delivery, region=region, error=type(error).__name__)
        return reply
    except Exception as error:
        # A fault of ours. Its text may hold what the peer sent, so that its kind and place must do.
        metrics.deferred.labels(region).inc()
        _log.error("copy not stored: fault", delivery=arrival.delivery, region=region, error=where(error))
        return for_error(error)
    metrics.stored.labels(region).inc()
    metrics.store_seconds.labels(region).observe(perf_counter() - began)
    return message


def where(error: BaseException) -> str:
    """An exception's kind and place, without its text: `KeyError at mailbox.py:58`."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" at {last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}" if last else ""
    return f"{type(error).__name__}{place}"
