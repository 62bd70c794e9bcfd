"""`situs fence verify`: walk the regions, and print a signed report of what lies where."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click
import rfc8785
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.cli.configured import config_option
from gateway.cli.outcome import AnswerIsNo
from gateway.cli.region import as_json as checks_as_json
from gateway.cli.region import configured
from gateway.config import Config
from gateway.secret_files import read_key, read_signer
from policy.geography import RegionCode
from storage.audit.note import Note
from storage.directory_record import DirectoryKey
from storage.fence import MOST_LISTED, FenceWalk, Walk
from storage.fence import Progress as Tick
from storage.homes import Homes
from storage.identity import utc_now
from storage.objects import Bucket
from storage.passages import Passages

# The first line of the signed text. It can be no checkpoint's, whose first line is a log's name.
REPORT_TYPE: Final = "situs fence report v1"


@click.group()
def fence() -> None:
    """Prove that every object is at home."""


@fence.command()
@click.option("--region", "regions", metavar="CODE", multiple=True, help="A configured region; else all.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@config_option
def verify(regions: tuple[str, ...], json_: bool, config: Config) -> None:
    """Prove that each object lies under an account whose home this is.

    Walks every version of every object. What lies in two regions because its mailbox is being moved
    is named as moving. Exit status 1 if anything is out of place, or a region's fence does not hold;
    75 if a region cannot be walked to the end. The report is signed with the key of each region's
    audit log.
    """
    codes = [configured(config, text) for text in regions] or list(config.regions)
    started = utc_now()
    homes, walks = asyncio.run(_walk(config, codes))
    if json_:
        click.echo(json.dumps(_report(config, walks, homes, started), indent=2))
    else:
        _show(walks)
    for corrupt in homes.corrupt[:MOST_LISTED]:
        click.echo(f"{config.registrar}: {corrupt}", err=True)
    broken = [str(walk.settings.region.code) for walk in walks if not walk.at_home]
    if homes.corrupt:
        broken.append(f"the directory in {config.registrar}")
    if broken:
        raise AnswerIsNo(f"{', '.join(broken)}: not everything is at home")


async def _walk(config: Config, codes: Sequence[RegionCode]) -> tuple[Homes, list[Walk]]:
    """Read the directory, walk the regions side by side. Raises Unavailable, Forbidden, Rejected."""
    key = DirectoryKey(read_key(config.directory_key_file))
    registrar = config.regions[config.registrar]
    # Not a RegionStore, which would not open if the registrar's fence were broken: that is what the
    # walk is to find, and the directory's records prove themselves.
    bucket = Bucket(registrar.bucket, registrar.access, deadline=registrar.deadline_seconds)
    with _progress(codes) as (tick, read):
        homes = await Homes.read(bucket, key, read)
        walks = [FenceWalk(config.regions[code], config.deployment, tick) for code in codes]
        again = _Again(bucket, key)
        moves = Passages(list(config.regions.values()))
        return homes, list(await asyncio.gather(*(walk.run(homes, again.read, moves) for walk in walks)))


class _Again:
    """The directory, read a second time: once, however many regions ask for it."""

    def __init__(self, bucket: Bucket, key: DirectoryKey) -> None:
        self._bucket: Final = bucket
        self._key: Final = key

    async def read(self) -> Homes:
        return await Homes.read(self._bucket, self._key)


@contextmanager
def _progress(codes: Sequence[RegionCode]) -> Iterator[tuple[Tick, Any]]:
    """A line for each region on standard error, where somebody is looking.

    How many objects there are is not known before they have been listed: it counts, and says
    that it goes on.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        directory = bar.add_task("directory")
        tasks = {code: bar.add_task(str(code)) for code in codes}

        def tick(walk: Walk) -> None:
            code = walk.settings.region.code
            bar.update(
                tasks[code],
                description=f"{code}: {walk.versions:,} versions, {walk.keyrings:,} keyrings, "
                f"{walk.stray_count:,} strays",
            )

        yield tick, lambda count: bar.update(directory, description=f"directory: {count:,} accounts")


def _show(walks: Sequence[Walk]) -> None:
    table = Table("region", "versions", "bytes", "keyrings", "strays", "fence")
    for walk in walks:
        failed = [check for check in walk.checks if not check.ok]
        table.add_row(
            str(walk.settings.region),
            f"{walk.versions:,}",
            f"{walk.octets:,}",
            f"{walk.keyrings:,}",
            f"{walk.stray_count:,}",
            "holds" if not failed else f"{len(failed)} check(s) failed",
        )
    Console().print(table)
    for walk in walks:
        code = walk.settings.region.code
        for check in walk.checks:
            if not check.ok:
                click.echo(f"{code}: {check.name}: {check.detail}")
        for stray in walk.strays:
            click.echo(f"{code}: {stray.bucket}/{stray.key}: {stray.kind}: {stray.detail}")
        for one in walk.moving:
            move = one.move
            click.echo(
                f"{code}: account {move.account}: moving from {move.leaves} to {move.goes_to} since "
                f"{move.begun:%Y-%m-%d %H:%M} ({move.phase}): {one.versions:,} versions here"
            )
        if walk.stray_count > len(walk.strays):
            click.echo(f"{code}: and {walk.stray_count - len(walk.strays):,} more")


def _report(config: Config, walks: Sequence[Walk], homes: Homes, started: datetime) -> dict[str, object]:
    """What `--json` prints: the report, and a note with its digest, signed by each region's log key.

    The digest is of the report without `note`, in canonical JSON (RFC 8785).
    """
    report: dict[str, Any] = {
        "deployment": config.deployment,
        "started": started.isoformat(),
        "ended": utc_now().isoformat(),
        "ok": all(walk.at_home for walk in walks) and not homes.corrupt,
        "accounts": len(homes),
        "corrupt_directory_records": [corrupt.key for corrupt in homes.corrupt[:MOST_LISTED]],
        "regions": {str(walk.settings.region.code): _region(walk) for walk in walks},
    }
    text = f"{REPORT_TYPE}\nsha256:{hashlib.sha256(rfc8785.dumps(report)).hexdigest()}\n"
    signers = [read_signer(config, walk.settings.region.code) for walk in walks]
    note = Note(text, tuple(signer.sign(text) for signer in signers))
    return {**report, "note": note.serialise().decode()}


def _region(walk: Walk) -> dict[str, object]:
    return {
        "country": str(walk.settings.region.country),
        **checks_as_json(walk.checks),
        "ok": walk.at_home,
        "versions": walk.versions,
        "bytes": walk.octets,
        "keyrings": walk.keyrings,
        "stray_count": walk.stray_count,
        "strays": [
            {
                "bucket": stray.bucket,
                "key": stray.key,
                "version": stray.version,
                "kind": str(stray.kind),
                "detail": stray.detail,
            }
            for stray in walk.strays
        ],
        "moving": [
            {
                "account": str(one.move.account),
                "leaves": str(one.move.leaves),
                "goes_to": str(one.move.goes_to),
                "phase": str(one.move.phase),
                "begun": one.move.begun.isoformat(),
                "versions": one.versions,
            }
            for one in walk.moving
        ],
    }
