"""Programs that are not ours and that tests compare ours with.

A machine without them still runs the suite, and says what it left out. With
`SITUS_REQUIRE_PEERS=1`, as in continuous integration, a missing one is a failure.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(command: str) -> str:
    """The command's path. Without it the test is skipped, with the reason, or fails."""
    found = shutil.which(command)
    if found is None:
        leave_out(f"the command `{command}` is not on this machine")
    return found


def leave_out(reason: str) -> NoReturn:
    """The test cannot run here: skipped with the reason, or failed where peers are required."""
    if os.environ.get("SITUS_REQUIRE_PEERS") == "1":
        pytest.fail(f"{reason}, and SITUS_REQUIRE_PEERS=1 asks for it", pytrace=False)
    pytest.skip(reason)
