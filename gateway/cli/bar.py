"""A progress bar on standard error, where somebody is there to look at it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Final, Self, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


@final
class Bar(AbstractContextManager["Bar"]):
    """n of `total` (None: nobody knows), for as long as the context is open."""

    def __init__(self, what: str, total: int | None) -> None:
        self._progress: Final = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task: Final = self._progress.add_task(what, total=total)

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def stands(self, count: int, total: int | None = None) -> None:
        """So many are done, of a total that may have become known."""
        self._progress.update(self._task, completed=count, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()
