"""A small deployment with its `situs.toml`, and the command line run on it in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from gateway.cli import main
from gateway.config import load_config
from gateway.demo.engines import EngineProcess
from gateway.secret_files import make_missing
from policy.geography import Region
from storage.provision import provision


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Its one JSON object on standard output, and nothing else there."""
        told: dict[str, Any] = json.loads(self.out)
        return told


def situs(config: Path, *words: str, stdin: str = "") -> Ended:
    """Run `situs WORDS --config CONFIG`, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["situs", *words, "--config", str(config)]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as ending:
            status = int(ending.code or 0)
    assert "Traceback" not in err.getvalue()
    return Ended(status, out.getvalue(), err.getvalue())


def write_deployment(
    path: Path,
    engines: Mapping[Region, EngineProcess],
    *,
    registrar: Region,
    down: frozenset[Region] = frozenset(),
    like: str | None = None,
) -> str:
    """Write a `situs.toml` for the regions, at `path`; returns the buckets' name.

    `like` is the name of an earlier one's buckets. A region in `down` is reached at a port where nobody
    listens.
    """
    name = like or f"situs-{secrets.token_hex(6)}"
    codes = [str(region.code) for region in engines]
    lines = [
        'deployment = "test"',
        f"serves = {json.dumps(codes)}",
        'provider_entities = ["IE"]',
        "[directory]",
        'key_file = "secrets/directory.key"',
        f'registrar = "{registrar.code}"',
        f'reads = "{registrar.code}"',
        "[law]",
        'trust = "trust"',
        "[gateway]",
        'listen = "127.0.0.1:0"',
        f'seat = "{registrar.code}"',
    ]
    for region, engine in engines.items():
        lines += [
            f"[regions.{region.code}]",
            f'country = "{region.country}"',
            f'endpoint = "{"http://127.0.0.1:9" if region in down else engine.endpoint}"',
            f'bucket = "{name}-mail"',
            f'audit_bucket = "{name}-audit"',
            f'access_key_id = "{engine.access_key_id}"',
            f'secret_access_key = "{engine.secret_access_key}"',
            f"[regions.{region.code}.keys]",
            'service = "file"',
            f'path = "secrets/{region.code}.key"',
            f"[regions.{region.code}.audit]",
            f'signing_key_file = "secrets/{region.code}.audit.key"',
            f'pseudonym_key_file = "secrets/{region.code}.pseudonym.key"',
        ]
    path.write_text("\n".join(lines) + "\n")
    return name


def provision_deployment(path: Path) -> None:
    """Make its secrets, buckets and keys."""
    config = load_config(path)

    async def make() -> None:
        await asyncio.gather(
            *(provision(settings, config.deployment) for settings in config.regions.values())
        )

    for code in config.regions:
        make_missing(config, code)
    asyncio.run(make())
