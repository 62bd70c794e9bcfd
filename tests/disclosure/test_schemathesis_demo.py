"""Schemathesis on what a newcomer has running: `situs demo` as its own process, every check, no failure.

`test_schemathesis` goes deeper, with one operator of many roles. Here are several regions, people with the
roles that people have, and somebody who is nobody.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disclosure.test_schemathesis import CONFIG
from tests.gateway.demos import RunningDemo, running_demo

EXAMPLES = 2  # of each operation, after the coverage phase's thousand


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo") / "state") as running:
        yield running


@pytest.mark.timeout(700)
@pytest.mark.parametrize("role", [None, "intake"], ids=["nobody", "intake"])
async def test_the_demo_answers_as_it_is_described(demo: RunningDemo, role: str | None) -> None:
    schemathesis = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file", str(CONFIG),
        "run", f"{demo.card.gateway}/openapi.json",
        *(["--header", f"Authorization: Bearer {token_of(demo, role)}"] if role else []),
        "--checks", "all", "--continue-on-failure", "--phases", "examples,coverage,fuzzing",
        "--max-examples", str(EXAMPLES), "--seed", "7", "--warnings", "off", "--no-color",
        "--request-timeout", "60", "--max-response-time", "60",  # a busy machine is no fault
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await asyncio.wait_for(schemathesis.communicate(), 600))[0].decode()
    assert schemathesis.returncode == 0, output
    tested = re.search(r"Tested: (\d+)", output)
    assert tested is not None, output
    with urllib.request.urlopen(f"{demo.card.gateway}/openapi.json") as answer:
        operations = json.load(answer)["paths"]
    del operations["/openapi.json"]  # read to begin with, and not tested once more
    assert int(tested.group(1)) == sum(len(methods) for methods in operations.values())


def token_of(demo: RunningDemo, role: str) -> str:
    return next(
        each.token for each in demo.card.operators if role in each.roles and "eu-west-1" in each.regions
    )
