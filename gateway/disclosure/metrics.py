"""Figures for whoever watches the gateway: Prometheus text, without a name or an address in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.disclosure.models import Status
from gateway.shared_figures import prometheus_text
from policy.geography import RegionCode
from storage.audit.entry import Entry

_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_CLOCKS: Final = ("nearly due", "overdue")


@final
class Metrics:
    """One process's figures: the gateway's own, and whatever else is counted into `registry`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry: Final = registry or CollectorRegistry()
        self._entries: Final = Counter(
            "situs_audit_entries",
            "Entries that this process has committed for the gateway.",
            ("region", "event", "outcome"),
            registry=self._registry,
        )
        # Workers read these from the same bucket: the latest to have looked is right, not their sum.
        self._disclosures: Final = Gauge(
            "situs_disclosures",
            "Disclosures by status.",
            ("region", "status"),
            registry=self._registry,
            multiprocess_mode="livemostrecent",
        )
        self._clocks: Final = Gauge(
            "situs_disclosures_due",
            "Open disclosures whose deadline is near or past.",
            ("region", "clock"),
            registry=self._registry,
            multiprocess_mode="livemostrecent",
        )
        self._answers: Final = Histogram(
            "situs_http_seconds",
            "Time from a request's head to its answer.",
            ("method", "route", "status"),
            registry=self._registry,
        )

    def committed(self, entry: Entry) -> None:
        self._entries.labels(str(entry.region), entry.event.value, entry.outcome or "none").inc()

    def disclosures(self, region: RegionCode, counts: Mapping[str, int], clocks: Mapping[str, int]) -> None:
        for status in Status:
            self._disclosures.labels(str(region), status.value).set(counts.get(status, 0))
        for clock in _CLOCKS:
            self._clocks.labels(str(region), clock).set(clocks.get(clock, 0))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        # A caller chooses the method's name: whatever is not ours must not become a series.
        known = method if method in _METHODS else "other"
        self._answers.labels(known, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        return prometheus_text(self._registry)


METRICS: Final = web.AppKey("metrics", Metrics)
