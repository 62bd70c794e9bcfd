"""Promise 2: ingress can write, never read.

A real ingress process delivers to a mailbox and lives on. Everything that it holds is tried on what
it wrote: its configuration, its credentials, the directory's record, every octet of its memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pytest

from storage.errors import Corrupt, Forbidden, KeyRefused
from storage.keyring import Keyholder, Keyring
from storage.keys import PrivateKey, Purpose
from storage.keyservice import KeyFile
from storage.located import Located
from storage.mailbox import append
from storage.region import KeyFileSettings, RegionStore
from storage.sealing import Binding, open_content, read_message_header
from tests.engines import DEPLOYMENT, IRELAND, VIRGINIA, Settle, keys_of
from tests.storage.grounds import AOIFE, DIRECTORY_KEY, World, envelope, opened, world
from tests.storage.hpke_oracle import Secrets, secrets_of

MAILS: Final = 12
ROOT: Final = Path(__file__).resolve().parents[2]

# glibc fills what is freed (mallopt(3), M_PERTURB), and Python gives back to glibc what it frees. What a
# thread's cache takes is not filled: without such a cache, what is left does not hang on what came after it.
OVERWRITING: Final = {
    "PYTHONMALLOC": "malloc",
    "MALLOC_PERTURB_": "170",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}

ON_LINUX: Final = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="another process's memory is read through Linux's /proc"
)


@asynccontextmanager
async def ingress(earth: World, environment: Mapping[str, str]) -> AsyncIterator[int]:
    """The process id of an ingress process whose deliveries have ended."""
    regions = [
        {
            "code": str(settings.region.code),
            "country": str(settings.region.country),
            "endpoint": settings.endpoint,
            "bucket": settings.bucket,
            "audit_bucket": settings.audit_bucket,
            "keys": asdict(keys_of(settings)),
            "audit_retention_days": settings.audit_retention_days,
        }
        for settings in (earth.place(VIRGINIA).settings, earth.place(IRELAND).settings)
    ]
    task = {
        "regions": regions,
        "directory_key": DIRECTORY_KEY.hex(),
        "recipient": str(AOIFE),
        "mails": MAILS,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.storage.ingress_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    await process.stdin.drain()
    try:
        assert (await process.stdout.readline()).strip() == b"ended"
        yield process.pid
    finally:
        process.stdin.close()
        await process.wait()


def found_in_memory(pid: int, needles: Iterable[bytes]) -> set[bytes]:
    """Which of the octet strings stand in a child process's writable memory (Linux)."""
    wanted, found = set(needles), set[bytes]()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if not mode.startswith("rw"):
                continue
            start, end = (int(edge, 16) for edge in span.split("-"))
            octets = os.pread(memory.fileno(), end - start, start)
            found.update(needle for needle in wanted - found if needle in octets)
    return found


async def private_keys(home: RegionStore, located: Located) -> dict[Purpose, PrivateKey]:
    keyring = await Keyring.load(home.mail, home.keys, Keyholder(home.region.code, located.account))
    return {purpose: await keyring.private(purpose, 1, opens="") for purpose in Purpose}


async def secrets_of_the_deliveries(home: RegionStore, located: Located) -> list[Secrets]:
    """What the writer must have had in memory for a moment, for each frame of each message."""
    private = await private_keys(home, located)
    found = []
    async for listed in home.mail.list(f"mail/{located.account}/"):
        sealed = (await home.mail.get(listed.key)).body
        binding = Binding(home.region.code, listed.key)
        header = read_message_header(binding, sealed)
        for purpose, start in ((Purpose.TRAFFIC, 21), (Purpose.CONTENT, header.traffic_end)):
            info = binding.info(header.octets, purpose)
            found.append(secrets_of(private[purpose].seeds, sealed[start : start + 1120], info))
    return found


@asynccontextmanager
async def delivered(
    settle: Settle, environment: Mapping[str, str]
) -> AsyncIterator[tuple[World, Located, int]]:
    """Aoife's mailbox in Ireland after an ingress process in Virginia has filled it, and its pid."""
    async with world(settle, (VIRGINIA, IRELAND), deadline=10) as earth:
        await earth.directory.create(AOIFE, IRELAND.code)
        located = await earth.directory.locate(AOIFE)
        async with ingress(earth, environment) as pid:
            assert len(await opened(earth.ground.home(located), located)) == MAILS  # at home they open
            yield earth, located, pid


async def long_lived_secrets(earth: World, located: Located) -> set[bytes]:
    """What opens mail for as long as it exists: the region's key, and the account's private keys."""
    service = earth.place(IRELAND).settings.key_service
    assert isinstance(service, KeyFileSettings)
    private = await private_keys(earth.ground.home(located), located)
    seeds = [key.seeds for key in private.values()]
    return {service.path.read_bytes(), *(each[n : n + 32] for each in seeds for n in (0, 32, 64))}


@ON_LINUX
async def test_an_ingress_process_holds_no_key_that_opens_mail(settle: Settle) -> None:
    async with delivered(settle, {}) as (earth, located, pid):
        wanted = await long_lived_secrets(earth, located)
        # The search finds what is there: the directory key, and an account's public key.
        present = {DIRECTORY_KEY, located.keys.content.raw[:64]}
        assert found_in_memory(pid, wanted | present) == present


@ON_LINUX
async def test_nothing_of_a_delivery_that_has_ended_is_left_in_memory(settle: Settle) -> None:
    """Neither the words nor one of the secrets that sealed them: in an allocator that overwrites what
    is given back. (Without it, some of the last few deliveries' are still there: storage/README.md.)"""
    async with delivered(settle, OVERWRITING) as (earth, located, pid):
        home = earth.ground.home(located)
        words = {content.strip() for _, content in (await opened(home, located)).values()}
        momentary = {s for each in await secrets_of_the_deliveries(home, located) for s in each.all()}
        assert len(momentary) == MAILS * 2 * 4
        present = {DIRECTORY_KEY}
        found = found_in_memory(pid, words | momentary | await long_lived_secrets(earth, located) | present)
        assert found == present


async def test_what_an_ingress_process_can_fetch_opens_nothing(settle: Settle) -> None:
    """Its credentials may even read the bucket (they need not: DESIGN 3): it has no key service, and no
    other region's, nor any key that it makes up, opens the keyring that it finds there."""
    async with world(settle, (VIRGINIA, IRELAND), deadline=10) as earth:
        await earth.directory.create(AOIFE, IRELAND.code)
        located = await earth.directory.locate(AOIFE)
        settings = replace(earth.place(IRELAND).settings, key_service=None)
        ireland = await RegionStore.open(settings, DEPLOYMENT)
        message = await append(ireland, located, envelope(), b"the words\r\n")
        with pytest.raises(Forbidden):
            ireland.keys  # noqa: B018
        for service in (earth.store(VIRGINIA).keys, KeyFile(bytes(32)), KeyFile(DIRECTORY_KEY)):
            keyring = await Keyring.load(ireland.mail, service, Keyholder(IRELAND.code, located.account))
            for purpose in Purpose:
                with pytest.raises(KeyRefused):
                    await keyring.private(purpose, 1, opens="")
        key = f"mail/{located.account}/{message}"
        sealed = (await ireland.mail.get(key)).body
        for guess in (DIRECTORY_KEY * 3, located.keys.content.raw[:96], bytes(96), sealed[:96]):
            with pytest.raises(Corrupt):
                open_content(PrivateKey(1, Purpose.CONTENT, guess), Binding(IRELAND.code, key), sealed)
