"""The optional look at a message before it is accepted: what a content check is asked and may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from gateway.ingress.replies import Reply
from gateway.ingress.trace import Arrival


@final
@dataclass(frozen=True, slots=True)
class Passed:
    """The message may come in, as `content`: with the check's own header fields, without forged ones."""

    content: bytes


@final
@dataclass(frozen=True, slots=True)
class Held:
    """The message is refused, or put off, with `reply`."""

    reply: Reply


class ContentCheck(Protocol):
    """What a door asks about each message before it is stored."""

    async def look(self, arrival: Arrival, recipients: tuple[str, ...], content: bytes) -> Passed | Held:
        """Never raises for a check that cannot be reached: that is a verdict too, as configured."""
