"""An ingress process in another country, as small as one can be: finds a mailbox, fills it, waits.

On its standard input, one JSON line: the regions (without any key service), the directory key, the
recipient and how many mails to deliver. It prints `ended` when the deliveries have ended and
nothing of them is referred to any more, and stays alive until its input closes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import sys
from typing import Any

from policy.address import Address
from policy.geography import Jurisdiction, Region, RegionCode
from storage.credentials import StaticKeys
from storage.lookup import Lookup
from storage.mailbox import append
from storage.region import Ground, RegionSettings
from tests.engines import DEPLOYMENT
from tests.storage.grounds import envelope


async def deliver(task: dict[str, Any]) -> None:
    settings = [
        RegionSettings(
            region=Region(RegionCode.parse(each.pop("code")), Jurisdiction.parse(each.pop("country"))),
            credentials=StaticKeys(**each.pop("keys")),
            key_service=None,
            **each,
        )
        for each in task["regions"]
    ]
    ground = await Ground.open(settings, DEPLOYMENT)
    code = settings[0].region.code
    lookup = Lookup(ground, bytes.fromhex(task["directory_key"]), code, code)
    located = await lookup.locate(Address.parse(task["recipient"]))
    home = ground.home(located)
    for _ in range(task["mails"]):
        # Random, so that neither side of the test has the words from anywhere else.
        await append(home, located, envelope(), secrets.token_hex(40).encode() + b"\r\n")
    # What a process of long standing holds: all but the deliveries themselves.
    globals()["held"] = (settings, ground, lookup, located, home)


if __name__ == "__main__":
    asyncio.run(deliver(json.loads(sys.stdin.readline())))
    gc.collect()
    print("ended", flush=True)
    sys.stdin.read()
