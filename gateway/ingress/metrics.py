"""What Prometheus sees of the doors: how much, how fast, how full. Never who.

Label values come from closed sets (doors, reply codes, regions), never from a peer.
"""

from __future__ import annotations

from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


@final
class IngressMetrics:
    """The ingress metrics in one registry; make one for each registry, since names are unique in it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted: Final = Counter(
            "situs_ingress_messages_accepted", "Messages acknowledged.", ["door"], registry=registry
        )
        self.bytes: Final = Counter(
            "situs_ingress_message_bytes", "Octets of acknowledged messages.", ["door"], registry=registry
        )
        self.refused: Final = Counter(
            "situs_ingress_refused",
            "Replies of 400 and above, by what was refused.",
            ["door", "reason"],
            registry=registry,
        )
        self.stored: Final = Counter(
            "situs_ingress_copies_stored", "Recipients' copies made durable.", ["region"], registry=registry
        )
        self.deferred: Final = Counter(
            "situs_ingress_copies_deferred",
            "Recipients' copies put off, by home region.",
            ["region"],
            registry=registry,
        )
        self.store_seconds: Final = Histogram(
            "situs_ingress_store_seconds",
            "Time to seal and store one copy.",
            ["region"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.sessions: Final = Gauge(
            "situs_ingress_sessions",
            "Open sessions.",
            ["door"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.memory: Final = Gauge(
            "situs_ingress_memory_bytes",
            "Mail in flight, as charged.",
            registry=registry,
            multiprocess_mode="livesum",
        )
