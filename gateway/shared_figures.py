"""One answer to `/metrics` for all workers: the figures of each lie in files that any of them adds up.

prometheus_client keeps them there where its environment variable names a directory before it is first
imported: so the parent makes the directory and starts the workers with it. A worker that has ended
goes on counting in the sums, and no longer in what is open now. The files hold metric names, labels
from closed sets and numbers: nothing that a peer has said.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

PROMETHEUS_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"  # of what `prometheus_text` returns
_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"


@final
class SharedFigures:
    """The parent's directory for its workers' figures: fresh, and gone with the parent.

    Under systemd it lies in the unit's own runtime directory, in memory; else where temporary files lie.
    """

    def __init__(self) -> None:
        parent = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._path: Final = Path(tempfile.mkdtemp(prefix="situs-figures-", dir=parent or None))
        self.environment: Final = {**os.environ, _DIRECTORY: str(self._path)}

    def ended(self, pid: int) -> None:
        """A worker has ended: its sessions and its mail in flight are none any more."""
        mark_process_dead(pid, str(self._path))  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def are_shared() -> bool:
    """Whether this process is one of several that count together."""
    return _DIRECTORY in os.environ


def shared_file(name: str) -> Path | None:
    """A file that all workers of one parent name alike, and that goes with it; None for a process alone."""
    return Path(os.environ[_DIRECTORY]) / name if are_shared() else None


def prometheus_text(registry: CollectorRegistry) -> bytes:
    """What `registry` has; in a worker, what all of them have."""
    if not are_shared():
        return generate_latest(registry)
    together = CollectorRegistry()
    MultiProcessCollector(together, os.environ[_DIRECTORY])  # type: ignore[no-untyped-call]
    return generate_latest(together)
