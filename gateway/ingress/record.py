"""The one log line of a session: what happened, by ids and counts; never who, from where or about what."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, final

import structlog

from gateway.ingress.replies import Reply

_log: Final = structlog.get_logger("situs.ingress")
# A connection that is used for thousands of messages gets a line for each so many of them.
_MESSAGES_IN_A_LINE: Final = 100


@final
@dataclass(slots=True)
class SessionRecord:
    """Filled while the session lasts. `session` is the first part of its deliveries' ids."""

    door: str
    session: str = field(default_factory=lambda: secrets.token_hex(6))
    tls: str | None = None
    proxied: bool = False
    commands: int = 0
    errors: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    messages: list[dict[str, object]] = field(default_factory=list)
    deliveries: int = 0
    part: int = 1
    began: float = field(default_factory=perf_counter)

    def delivery_id(self) -> str:
        """A name for the next message: stands in its trace, in its replies' log and here."""
        self.deliveries += 1
        return f"{self.session}.{self.deliveries}"

    def refusal(self, reply: Reply) -> None:
        """Counts a reply of 400 and above by its codes."""
        name = f"{reply.code} {reply.status}"
        self.replies[name] = self.replies.get(name, 0) + 1

    def message(self, delivery: str, octets: int, stored: list[str], deferred: int, refused: int) -> None:
        """Adds a message, and writes a line where this one is full."""
        self.messages.append(
            {
                "delivery": delivery,
                "octets": octets,
                "stored": stored,
                "deferred": deferred,
                "refused": refused,
            }
        )
        if len(self.messages) >= _MESSAGES_IN_A_LINE:
            self.write("goes on")
            self.part += 1
            self.messages, self.replies = [], {}

    def write(self, ended: str) -> None:
        """Writes the line. `ended` says in a word why."""
        _log.info(
            "session",
            session=self.session,
            part=self.part,
            door=self.door,
            tls=self.tls,
            proxied=self.proxied,
            commands=self.commands,
            errors=self.errors,
            refusals=self.replies,
            messages=self.messages,
            seconds=round(perf_counter() - self.began, 3),
            ended=ended,
        )
