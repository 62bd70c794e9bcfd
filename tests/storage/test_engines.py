"""The S3 servers of demo and tests: theirs alone, and gone when whoever started them is gone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gateway.demo import engines
from gateway.demo.engines import (
    Credentials,
    EngineNotStarted,
    RunningEngine,
    start_moto,
    start_seaweedfs,
)
from gateway.demo.weed_region import command, ports_for
from storage.control import s3_client
from storage.credentials import StaticKeys
from storage.errors import Forbidden
from storage.objects import Access, Bucket
from storage.provision import check, provision
from tests.engines import DEPLOYMENT, IRELAND, EngineKind, Engines, settings_on

# Starts one of each kind, says who they are, and is killed.
PARENT = """
import json, sys
from pathlib import Path
from gateway.demo.engines import Credentials, start_moto, start_seaweedfs
running = [start_moto(Credentials.fresh()), start_seaweedfs(Credentials.fresh(), Path(sys.argv[1]))]
print(json.dumps([[one.engine.pid, one.engine.endpoint] for one in running]), flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_dead(*pids: int) -> None:
    async with asyncio.timeout(20):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.05)


async def test_no_engine_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "state")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    started = json.loads(await parent.stdout.readline())
    assert all(is_alive(pid) for pid, _ in started)
    parent.kill()
    await parent.wait()
    await until_dead(*(pid for pid, _ in started))
    for _, endpoint in started:
        with pytest.raises(OSError):
            urllib.request.urlopen(endpoint, timeout=1)


async def test_stopping_and_killing_end_the_process() -> None:
    """(Of SeaweedFS the restarts below say the same.)"""
    for end in (RunningEngine.stop, RunningEngine.kill):
        running = await asyncio.to_thread(start_moto, Credentials.fresh())
        await asyncio.to_thread(end, running)
        await until_dead(running.engine.pid)


async def test_the_contexts_start_and_stop_and_no_argument_shows_a_secret(tmp_path: Path) -> None:
    one, two = Credentials.fresh(), Credentials.fresh()
    async with engines.moto(one) as moto, engines.seaweedfs(two, tmp_path) as weed:
        for engine in (moto, weed):
            await provision(settings_on(engine, IRELAND, tmp_path), DEPLOYMENT)
        shown = subprocess.run(["ps", "-ww", "-A", "-o", "args="], capture_output=True, text=True, check=True)
        assert "gateway.demo.moto_region" in shown.stdout
        assert (tmp_path / "s3.json").stat().st_mode & 0o777 == 0o600
        for secret in (one.secret_access_key, two.secret_access_key):
            assert secret not in shown.stdout + repr((moto, weed, one, two))
    await until_dead(moto.pid, weed.pid)


async def test_seaweedfs_keeps_its_objects_its_locks_and_its_ports_over_a_restart(tmp_path: Path) -> None:
    credentials = Credentials.fresh()
    running = await asyncio.to_thread(start_seaweedfs, credentials, tmp_path / "weed")
    settings = settings_on(running.engine, IRELAND, tmp_path)
    try:
        await provision(settings, DEPLOYMENT)
        bucket = Bucket(settings.bucket, settings.access)
        await bucket.put_if_absent("mail/a/1", b"kept", legal_hold=True)
        for ending in (RunningEngine.stop, RunningEngine.kill):
            await asyncio.to_thread(ending, running)
            running = await asyncio.to_thread(start_seaweedfs, credentials, tmp_path / "weed")
            assert running.engine.endpoint == settings.endpoint
            assert all(line.ok for line in await check(settings, DEPLOYMENT))
            assert (await bucket.get("mail/a/1")).body == b"kept"
        held = s3_client(settings).get_object_legal_hold(Bucket=settings.bucket, Key="mail/a/1")
        assert held["LegalHold"]["Status"] == "ON"
    finally:
        await asyncio.to_thread(running.kill)


@pytest.mark.parametrize("kind", list(EngineKind), ids=str)
async def test_each_region_has_its_own_objects_and_its_own_credentials(
    kind: EngineKind, tmp_path: Path
) -> None:
    one, two = await asyncio.gather(
        *(asyncio.to_thread(Engines.start, kind, tmp_path / name) for name in ("one", "two"))
    )
    try:
        settings = settings_on(one.engine, IRELAND, tmp_path)
        await provision(settings, DEPLOYMENT)
        keys = StaticKeys(two.engine.access_key_id, two.engine.secret_access_key)
        abroad = Access(IRELAND.code, one.engine.endpoint, keys)
        with pytest.raises(Forbidden):
            await Bucket(settings.bucket, abroad, deadline=3).put_if_absent("mail/a/1", b"x")
        other = settings_on(two.engine, IRELAND, tmp_path)
        assert s3_client(other).list_buckets()["Buckets"] == []
    finally:
        one.kill()
        two.kill()


def test_seaweedfs_listens_on_loopback_and_reports_to_nobody(tmp_path: Path) -> None:
    words = command(tmp_path, ports_for(tmp_path))
    assert {"-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"} <= set(words)
    assert {"-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"} <= set(words)


def test_ports_are_kept_and_a_taken_one_is_replaced(tmp_path: Path) -> None:
    ports = ports_for(tmp_path)
    assert len(set(ports.values())) == 8
    assert ports_for(tmp_path) == ports
    with socket.create_server(("127.0.0.1", ports["s3"])):
        assert ports_for(tmp_path)["s3"] != ports["s3"]


def test_an_engine_that_cannot_start_says_why() -> None:
    in_use = r"moto_region: .*([Aa]ddress already in use|Port \d+ is in use)"
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(EngineNotStarted, match=in_use),
    ):
        start_moto(Credentials.fresh(), port=taken.getsockname()[1])


def test_a_second_seaweedfs_on_the_same_state_says_why(tmp_path: Path) -> None:
    running = start_seaweedfs(Credentials.fresh(), tmp_path)
    try:
        with pytest.raises(EngineNotStarted, match=r"weed did not start: .*resource temporarily unavailable"):
            start_seaweedfs(Credentials.fresh(), tmp_path)
    finally:
        running.kill()


def test_a_kill_that_comes_late_hits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process id may be somebody else's by then."""
    running = start_moto(Credentials.fresh())
    running.stop()
    monkeypatch.setattr(os, "kill", lambda pid, _: pytest.fail(f"killed {pid}"))
    running.kill()
