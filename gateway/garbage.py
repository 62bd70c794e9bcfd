"""Python's search for reference cycles, set for a server that runs for long.

A session is some dozens of objects that end with it, and few of them are cycles. By default the
collector looks through the youngest after every 700, and now and then through all that was ever
imported: a twentieth of the time that taking a message in takes.
"""

from __future__ import annotations

import gc
from typing import Final

_YOUNGEST: Final = 20_000  # objects: some MiB at the most


def look_less_often() -> None:
    """Call once, when all is loaded that will stay for as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST)
