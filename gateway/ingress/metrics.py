"""What Prometheus sees of the doors: how much, how fast, how full. Never who.

Label values come from closed sets (doors, reply codes, regions), never from a peer. Finding a
labelled figure costs more than counting with it: those of a door and of a region are found once.
"""

from __future__ import annotations

from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from policy.geography import RegionCode

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


@final
class DoorFigures:
    """The figures of one door."""

    def __init__(self, metrics: IngressMetrics, door: str) -> None:
        self.accepted: Final = metrics.accepted.labels(door)
        self.bytes: Final = metrics.bytes.labels(door)
        self.sessions: Final = metrics.sessions.labels(door)


@final
class RegionFigures:
    """The figures of one home region."""

    def __init__(self, metrics: IngressMetrics, region: RegionCode) -> None:
        code = str(region)
        self.stored: Final = metrics.stored.labels(code)
        self.deferred: Final = metrics.deferred.labels(code)
        self.store_seconds: Final = metrics.store_seconds.labels(code)


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
        self._doors: Final[dict[str, DoorFigures]] = {}
        self._regions: Final[dict[RegionCode, RegionFigures]] = {}

    def door(self, name: str) -> DoorFigures:
        found = self._doors.get(name)
        if found is None:
            found = self._doors[name] = DoorFigures(self, name)
        return found

    def region(self, code: RegionCode) -> RegionFigures:
        found = self._regions.get(code)
        if found is None:
            found = self._regions[code] = RegionFigures(self, code)
        return found
