"""A process that goes on with the packages of a region, and kills itself at a step: it has no time to
say anything to anybody. Started by `test_making` with what it needs in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from gateway.disclosure.desk import Desk
from gateway.disclosure.housekeeping import Housekeeping
from gateway.disclosure.making import Making, Step
from gateway.disclosure.release import Releases
from gateway.disclosure.terms import Terms
from policy.geography import Jurisdiction
from policy.trust import Authority, JurisdictionTrust
from policy.verification import Trust
from storage.directory import Directory
from storage.region import Ground, RegionSettings
from tests.disclosure.desk import IRELAND, open_office
from tests.engines import DEPLOYMENT
from tests.storage.grounds import DIRECTORY_KEY, World


@dataclass
class Errand:
    """What the process works on, and the step that it does not survive, `written` or not."""

    settings: RegionSettings
    terms: Terms
    now: datetime
    anchors: list[bytes]
    crls: list[bytes]
    authorities: list[Authority]
    step: int
    written: bool

    @classmethod
    def of(
        cls,
        settings: RegionSettings,
        terms: Terms,
        now: datetime,
        irish: JurisdictionTrust,
        step: int,
        written: bool,
    ) -> Errand:
        return cls(
            settings,
            terms,
            now,
            [each.public_bytes(Encoding.DER) for each in irish.anchors],
            [each.public_bytes(Encoding.DER) for each in irish.crls],
            list(irish.authorities),
            step,
            written,
        )

    def trust(self) -> Trust:
        irish = JurisdictionTrust(
            tuple(map(x509.load_der_x509_certificate, self.anchors)),
            tuple(map(x509.load_der_x509_crl, self.crls)),
            tuple(self.authorities),
        )
        return Trust({Jurisdiction("IE"): irish})


async def main(errand: Errand) -> None:
    record = Making.record

    async def dying(self: Making, number: int, step: Step) -> None:
        if number == errand.step and not errand.written:
            os.kill(os.getpid(), signal.SIGKILL)
        await record(self, number, step)
        if number == errand.step:
            os.kill(os.getpid(), signal.SIGKILL)

    Making.record = dying  # type: ignore[method-assign]
    async with contextlib.AsyncExitStack() as stack:
        ground = await stack.enter_async_context(await Ground.open([errand.settings], DEPLOYMENT))
        world = World(ground, Directory(ground, DIRECTORY_KEY, IRELAND.code, IRELAND.code), {})
        office = await open_office(
            stack, world, [IRELAND], lambda: errand.now, errand.terms, errand.trust, 10.0
        )
        desk = Desk(office, time.monotonic, CollectorRegistry())
        releases = Releases(desk)
        await Housekeeping(desk, releases, desk.metrics).round(office.chambers[IRELAND.code])
        await releases.idle()


if __name__ == "__main__":
    errand = pickle.loads(Path(sys.argv[1]).read_bytes())
    asyncio.run(main(errand))
    sys.stdout.flush()
    os._exit(0)
