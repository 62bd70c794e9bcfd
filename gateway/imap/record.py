"""The one log line of a session: what was done, in counts; never who, from where or about what."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, final

import structlog

_log: Final = structlog.get_logger("situs.imap")


@final
@dataclass(slots=True)
class SessionRecord:
    """Filled while the session lasts. `home` is the region's code once somebody has signed in."""

    session: str = field(default_factory=lambda: secrets.token_hex(6))
    tls: str | None = None
    proxied: bool = False
    home: str | None = None
    commands: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    octets: int = 0
    began: float = field(default_factory=perf_counter)

    def write(self, ended: str) -> None:
        """Writes the line. `ended` says in a word why."""
        _log.info(
            "session",
            session=self.session,
            door="imap",
            tls=self.tls,
            proxied=self.proxied,
            home=self.home,
            commands=dict(self.commands),
            refusals=dict(self.refusals),
            errors=self.errors,
            octets=self.octets,
            seconds=round(perf_counter() - self.began, 3),
            ended=ended,
        )
