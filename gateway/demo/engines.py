"""The S3 servers that a demo or a test stands its regions on: real processes, one a region.

Each is started, waited for and stopped by its own process id, and none outlives the process that
started it: they watch their standard input (see `moto_region`, `weed_region`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.demo.weed_region import ACCESS_KEY_ENV, SECRET_KEY_ENV, STOP_WITHIN

_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG", "SYSTEMROOT", "VIRTUAL_ENV")


class EngineNotStarted(Exception):
    """The engine's process ended before it was ready; the text is what it said."""


@dataclass(frozen=True, slots=True)
class EngineProcess:
    """A running S3 server: how to reach it, and the process id to kill for a crash test."""

    endpoint: str
    access_key_id: str
    pid: int
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key pair. Every region has its own."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def fresh(cls) -> Credentials:
        return cls("SITUS" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30))


class RunningEngine:
    """An engine that was started and can be stopped. The process that holds it is its life."""

    def __init__(self, keeper: subprocess.Popen[bytes], engine: EngineProcess) -> None:
        self._keeper: Final = keeper
        self.engine: Final = engine

    def stop(self) -> None:
        """Ask the engine to end, and see that it does."""
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(STOP_WITHIN + 5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """The engine's crash: SIGKILL, no farewell."""
        # Once the keeper is gone the engine is, and its process id may be somebody else's.
        if self._keeper.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.engine.pid, signal.SIGKILL)
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait(STOP_WITHIN + 5)


def start_moto(credentials: Credentials, *, port: int = 0) -> RunningEngine:
    """A moto server (S3, KMS, CloudFormation) on 127.0.0.1, in memory. Raises EngineNotStarted."""
    return _start(["gateway.demo.moto_region", "--port", str(port)], credentials)


def start_seaweedfs(credentials: Credentials, state: Path) -> RunningEngine:
    """A SeaweedFS with its data in `state`, kept over restarts. Raises EngineNotStarted."""
    state.mkdir(parents=True, exist_ok=True)
    return _start(["gateway.demo.weed_region", "--state", str(state)], credentials)


@contextlib.asynccontextmanager
async def moto(credentials: Credentials, *, port: int = 0) -> AsyncIterator[EngineProcess]:
    """`start_moto` for as long as the context is open."""
    running = await asyncio.to_thread(start_moto, credentials, port=port)
    try:
        yield running.engine
    finally:
        await asyncio.to_thread(running.stop)


@contextlib.asynccontextmanager
async def seaweedfs(credentials: Credentials, state: Path) -> AsyncIterator[EngineProcess]:
    """`start_seaweedfs` for as long as the context is open."""
    running = await asyncio.to_thread(start_seaweedfs, credentials, state)
    try:
        yield running.engine
    finally:
        await asyncio.to_thread(running.stop)


def _start(module: list[str], credentials: Credentials) -> RunningEngine:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # By environment, not by argument: `ps` shows arguments to every user of the machine.
    environment[ACCESS_KEY_ENV] = credentials.access_key_id
    environment[SECRET_KEY_ENV] = credentials.secret_access_key
    with tempfile.TemporaryFile() as complaints:
        keeper = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            # The modules are found as in this process, wherever it was started.
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # a Ctrl-C is the parent's to handle: engines stop last
        )
        assert keeper.stdout is not None
        ready = keeper.stdout.readline()
        if not ready:
            keeper.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise EngineNotStarted(f"{module[0]}: {said[-1] if said else 'ended without a word'}")
    told = json.loads(ready)
    engine = EngineProcess(
        endpoint=f"http://127.0.0.1:{told['port']}",
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key,
        pid=told.get("pid", keeper.pid),
    )
    return RunningEngine(keeper, engine)
