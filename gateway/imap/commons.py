"""What all the sessions of the owners' door share: who may come in, and the counts against the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from gateway.bell import Bells
from gateway.imap.metrics import ImapMetrics
from gateway.imap.signing_in import SignIn
from gateway.ingress.admission import Admission
from gateway.ingress.limits import Limits
from gateway.ingress.memory import Memory


@final
@dataclass(frozen=True, slots=True)
class Commons:
    """Make one for a process and hand it to every door of this kind.

    `memory` is the bound that messages in flight are charged to, one for all the doors of a process;
    `landing` is where the event loop puts what it reads (see `gateway.ingress.wire`).
    `poll_seconds`: how soon a client that waits hears of what another process did.
    """

    hostname: str
    sign_in: SignIn
    bells: Bells
    limits: Limits
    memory: Memory
    landing: memoryview
    admission: Admission
    metrics: ImapMetrics
    poll_seconds: float
