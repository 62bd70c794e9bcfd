"""How the process of a command ends: with its status and all of its words, and with nothing after them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What an interpreter that is taken down would still do. `situs` leaves before that: see `console`.
WITNESS = (
    "import atexit, sys; atexit.register(print, 'taken down');"
    "from gateway.cli import console; sys.argv[0] = 'situs'; console()"
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITNESS, *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--help"], 0), (["law", "explain", "no-such-law"], 2), (["no-such-command"], 2)],
)
def test_it_leaves_with_its_status_and_all_its_words(words: list[str], status: int) -> None:
    ended = run(*words)
    assert ended.returncode == status, ended.stderr
    assert (ended.stdout if status == 0 else ended.stderr).endswith("\n")
    assert "taken down" not in ended.stdout


def test_what_nobody_foresaw_is_told_and_is_a_failure() -> None:
    broken = WITNESS.replace("console()", "import gateway.cli as c; c.main = lambda: 1 / 0; console()")
    ended = subprocess.run(
        [sys.executable, "-c", broken], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    assert "taken down" not in ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_words_that_could_not_be_written_are_no_success() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", "--version"], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert ended.returncode != 0
