"""Schemathesis, on the API's own description: every check, no failure."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from gateway.disclosure.terms import Terms
from policy.clearance import Role
from tests.disclosure.desk import IRELAND, gateway, order
from tests.engines import Settle

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 8  # of each operation, besides the coverage phase's hundreds


async def test_every_answer_is_as_described(settle: Settle) -> None:
    terms = Terms(attempts_a_minute=1_000_000, strangers_a_minute=1_000_000)
    async with gateway(settle, regions=(IRELAND,), terms=terms) as desk:
        roles = [Role.INTAKE, Role.APPROVER, Role.CUSTODIAN, Role.AUDITOR]
        await desk.employ("sam", roles, [IRELAND])
        await desk.granted(order(categories=["subscriber"]), requested=["subscriber"])
        schemathesis = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file", str(CONFIG),
            "run", f"http://127.0.0.1:{desk.client.port}/openapi.json",
            "--header", f"Authorization: Bearer {desk.tokens['sam']}",
            "--checks", "all", "--continue-on-failure", "--max-examples", str(EXAMPLES), "--seed", "7",
            "--warnings", "off", "--no-color",
            "--request-timeout", "60", "--max-response-time", "60",  # a busy machine is no fault
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await asyncio.wait_for(schemathesis.communicate(), 240))[0].decode()
        assert schemathesis.returncode == 0, output
        tested = re.search(r"Tested: (\d+)", output)
        assert tested is not None, output
        operations = (await desk.ask("GET", "/openapi.json", None)).json["paths"]
        del operations["/openapi.json"]  # read to begin with, and not tested once more
        assert int(tested.group(1)) == sum(len(methods) for methods in operations.values())
