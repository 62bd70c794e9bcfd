"""One mail transaction: from MAIL to the end of its data (RFC 5321 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from gateway.ingress.delivery import Recipient, Result
from gateway.ingress.memory import Receiving
from gateway.ingress.replies import SOME_NOT_STORED, Reply
from policy.address import Address


@final
@dataclass(slots=True)
class Transaction:
    """What the peer has said so far. `chunks` is there once BDAT has begun (RFC 3030 2)."""

    sender: str
    smtputf8: bool
    receiving: Receiving
    accepted: list[Address] = field(default_factory=list)
    recipients: dict[Address, Recipient] = field(default_factory=dict)
    chunks: bytearray | None = None
    chunks_until: float = 0.0
    failed: Reply | None = None
    """A chunk was refused: so is all that follows, until RSET (RFC 3030 4.2)."""

    def accept(self, address: Address, recipient: Recipient) -> None:
        """A mailbox named twice is one recipient, and on LMTP still gets two replies."""
        self.accepted.append(address)
        self.recipients.setdefault(address, recipient)


def reply_each(transaction: Transaction, results: tuple[Result, ...]) -> list[Reply]:
    """RFC 2033 4.2: one reply for each successful RCPT, in their order."""
    by_address = dict(zip(transaction.recipients, results, strict=True))
    return [
        result if isinstance(result, Reply) else stored(result)
        for result in (by_address[address] for address in transaction.accepted)
    ]


def reply_for_all(results: tuple[Result, ...]) -> Reply:
    """One reply for one message: 250 only when every copy is durable.

    SMTP cannot say that half of it worked (RFC 5321 4.2.5): then the peer sends all of it again,
    and whoever has a copy already is shown one.
    """
    refusals = {result for result in results if isinstance(result, Reply)}
    if not refusals:
        return stored(*results)
    if len(refusals) == 1 and all(isinstance(result, Reply) for result in results):
        return refusals.pop()
    return SOME_NOT_STORED


def stored(*results: Result) -> Reply:
    """The copies' names at rest: what a support call can be answered by."""
    return Reply(250, "2.6.0", tuple(f"stored as {result}" for result in results))
