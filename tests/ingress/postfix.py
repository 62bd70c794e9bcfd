"""A Postfix of the test's own, with the configuration that operators are given."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers import require

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "postfix"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Postfix:
    """`deploy/postfix` with other directories, ports and waiting times, and nothing else changed.

    Needs root, as Postfix does. Its directory is outside pytest's: Postfix's own users must reach it.
    """

    def __init__(self, transport: str, **overrides: str) -> None:
        self.port = free_port()
        self._transport = transport
        self._overrides = overrides
        self._place = Path(tempfile.mkdtemp(prefix="situs-postfix-"))
        self._etc = self._place / "etc"

    async def __aenter__(self) -> Self:
        require("postfix")
        self._place.chmod(0o755)
        for name in ("etc", "spool", "lib"):
            (self._place / name).mkdir()
        shutil.chown(self._place / "lib", "postfix")
        shutil.copy(_DEPLOY / "main.cf", self._etc)
        master = (_DEPLOY / "master.cf").read_text()
        assert master.count("\nsmtp      inet") == 1
        listen = f"\n127.0.0.1:{self.port} inet"
        (self._etc / "master.cf").write_text(master.replace("\nsmtp      inet", listen))
        settings = {
            "queue_directory": str(self._place / "spool"),
            "data_directory": str(self._place / "lib"),
            "maillog_file": str(self._place / "mail.log"),
            "maillog_file_prefixes": str(self._place),
            "inet_interfaces": "127.0.0.1",
            "virtual_transport": self._transport,
            **self._overrides,
        }
        await self._run("postconf", "-e", *(f"{name}={value}" for name, value in settings.items()))
        await self._run("postfix", "start")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._run("postfix", "stop")
        shutil.rmtree(self._place, ignore_errors=True)

    async def flush(self) -> None:
        """Try everything that waits, now."""
        await self._run("postqueue", "-f")

    async def queue(self) -> list[dict[str, object]]:
        """What waits."""
        return [json.loads(line) for line in (await self._run("postqueue", "-j")).splitlines()]

    async def settled(self, waiting: int, seconds: float) -> None:
        """Until so many messages wait, and each of them has been tried and put off."""
        async with asyncio.timeout(seconds):
            while True:
                queue = await self.queue()
                if len(queue) == waiting and all(entry["queue_name"] == "deferred" for entry in queue):
                    return
                await asyncio.sleep(0.2)

    def log(self) -> list[str]:
        """Postfix's own log."""
        return (self._place / "mail.log").read_text().splitlines()

    async def _run(self, command: str, *arguments: str) -> str:
        def run() -> str:
            done = subprocess.run(
                [require(command), "-c", str(self._etc), *arguments],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command} {arguments}: {done.stderr}"
            return done.stdout

        return await asyncio.to_thread(run)
