"""What Prometheus sees of the owners' door: how much, how fast, how it ended. Never who.

Label values come from closed sets (commands, conditions), never from a client.
"""

from __future__ import annotations

from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@final
class ImapMetrics:
    """The owners' door's metrics in one registry; make one for each registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions: Final = Gauge(
            "situs_imap_sessions", "Open sessions.", registry=registry, multiprocess_mode="livesum"
        )
        self.sign_ins: Final = Counter(
            "situs_imap_sign_ins", "Attempts to sign in, by how they ended.", ["outcome"], registry=registry
        )
        self.commands: Final = Counter(
            "situs_imap_commands",
            "Commands, by name and how they ended.",
            ["command", "condition"],
            registry=registry,
        )
        self.seconds: Final = Histogram(
            "situs_imap_command_seconds",
            "Time from a command's last octet to its tagged reply.",
            ["command"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.octets: Final = Counter(
            "situs_imap_sent_bytes", "Octets of replies, before TLS.", registry=registry
        )
