"""A Situs that takes in mail as fast as it can, and is killed: run by test_crash.py.

On its standard input, one JSON line: the region, the directory key, the recipient, the first
number. Each mail has a number of its own and is tried once. What is acknowledged is printed as
`number message-id`, after the store has said so and not before; a failure is printed as `number -`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import Any, Final

from policy.address import Address
from policy.geography import Jurisdiction, Region, RegionCode
from storage.credentials import StaticKeys
from storage.errors import Unavailable
from storage.lookup import Lookup
from storage.mailbox import append
from storage.region import Ground, RegionSettings
from tests.engines import DEPLOYMENT
from tests.storage.grounds import envelope

IN_FLIGHT: Final = 16


async def write(task: dict[str, Any]) -> None:
    where = Region(RegionCode.parse(task["code"]), Jurisdiction.parse(task["country"]))
    settings = RegionSettings(
        region=where, credentials=StaticKeys(**task["keys"]), key_service=None, **task["settings"]
    )
    async with await Ground.open([settings], DEPLOYMENT) as ground:
        lookup = Lookup(ground, bytes.fromhex(task["directory_key"]), where.code, where.code)
        located = await lookup.locate(Address.parse(task["recipient"]))
        home = ground.home(located)
        numbers = itertools.count(task["first"])

        async def writer() -> None:
            for number in numbers:
                try:
                    message = await append(home, located, envelope(), b"number %d\r\n" % number)
                except Unavailable:
                    print(number, "-", flush=True)
                    await asyncio.sleep(0.05)
                else:
                    print(number, message, flush=True)

        await asyncio.gather(*(writer() for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(write(json.loads(sys.stdin.readline())))
