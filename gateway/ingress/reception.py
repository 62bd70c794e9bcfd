"""What all the doors of one process share: the post, the limits, and the counts against them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, final

from prometheus_client import CollectorRegistry

from gateway.ingress.admission import Admission
from gateway.ingress.limits import Limits
from gateway.ingress.memory import Memory
from gateway.ingress.metrics import IngressMetrics
from gateway.ingress.screening import ContentCheck
from gateway.ingress.unacknowledged import Unacknowledged
from gateway.ingress.wire import MESSAGE_BLOCK
from gateway.post import Post
from gateway.shared_figures import are_shared
from policy.address import Address, parse_domain
from storage.identity import utc_now


@final
class Reception:
    """Make one for a process and hand it to every door, so that the limits hold over all of them.

    `hostname` greets and signs the trace. `postmaster` is who `RCPT TO:<postmaster>` means (RFC 5321 4.5.1):
    by default the postmaster of `hostname`, or of the domain above it that has mailboxes here. The metrics
    go into `registry`.
    """

    def __init__(
        self,
        post: Post,
        hostname: str,
        limits: Limits,
        *,
        clock: Callable[[], datetime] = utc_now,
        check: ContentCheck | None = None,
        postmaster: Address | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Raises AddressError for a host name that is none."""
        self.post: Final = post
        self.hostname: Final = hostname
        self.limits: Final = limits
        self.clock: Final = clock
        self.check: Final = check
        self.postmasters: Final = (postmaster,) if postmaster is not None else _postmasters(hostname)
        self.memory: Final = Memory(limits)
        self.admission: Final = Admission(limits)
        self.metrics: Final = IngressMetrics(registry or CollectorRegistry())
        if not are_shared():  # a function answers for its own process alone
            self.metrics.memory.set_function(lambda: self.memory.in_flight)
        # See `Wire`: one for all the connections of a process.
        self.landing: Final = memoryview(bytearray(MESSAGE_BLOCK))
        self.unacknowledged: Final = Unacknowledged()
        # Deliveries under way. They belong to the process: a session that ends does not end them.
        self.storing: Final[set[asyncio.Task[object]]] = set()


def _postmasters(hostname: str) -> tuple[Address, ...]:
    """`mx.example.ie` -> the postmasters of mx.example.ie and of example.ie: whoever there is comes first."""
    labels = parse_domain(hostname).split(".")
    return tuple(Address("postmaster", ".".join(labels[first:])) for first in range(max(1, len(labels) - 1)))
