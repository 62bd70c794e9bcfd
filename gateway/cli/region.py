"""`situs region`: make a region, and say whether it is what the fence asks for."""

from __future__ import annotations

import asyncio
import json

import click

from gateway.cli.configured import config_option
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.secret_files import make_missing
from policy.geography import GeographyError, RegionCode
from storage.proof import Check
from storage.provision import check as check_region
from storage.provision import provision as provision_region


@click.group()
def region() -> None:
    """Provision and check a region."""


@region.command()
@click.argument("code")
@config_option
def provision(code: str, config: Config) -> None:
    """Create a region's buckets, locks, marker, secrets and keys: whatever it lacks.

    Run twice it changes nothing. A bucket that belongs to another region or deployment, or that
    holds objects and no marker, is left as it is (exit 2).
    """
    chosen = configured(config, code)
    for path in make_missing(config, chosen):
        click.echo(f"made {path}", err=True)
    settings = config.regions[chosen]
    asyncio.run(provision_region(settings, config.deployment))
    click.echo(f"region {settings.region}: {settings.bucket} and {settings.audit_bucket} are provisioned")


@region.command()
@click.argument("code", required=False)
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@config_option
def check(code: str | None, json_: bool, config: Config) -> None:
    """Say of a region, or of all, whether everything that the fence asks for holds (else exit 1)."""
    codes = [configured(config, code)] if code else list(config.regions)

    async def run() -> list[tuple[Check, ...]]:
        regions = [config.regions[one] for one in codes]
        return list(await asyncio.gather(*(check_region(one, config.deployment) for one in regions)))

    found = dict(zip(codes, asyncio.run(run()), strict=True))
    if json_:
        click.echo(json.dumps({str(one): as_json(checks) for one, checks in found.items()}, indent=2))
    else:
        for one, checks in found.items():
            for line in checks:
                click.echo(f"{'ok  ' if line.ok else 'FAIL'}  {one}  {line.name}: {line.detail}")
    if failed := [str(one) for one, checks in found.items() if not all(line.ok for line in checks)]:
        raise AnswerIsNo(f"{', '.join(failed)}: not what the fence asks for")


def configured(config: Config, text: str) -> RegionCode:
    """A region of the configuration by its code. Raises UsageFault."""
    try:
        code = RegionCode.parse(text)
    except GeographyError as error:
        raise UsageFault(str(error)) from None
    if code not in config.regions:
        known = ", ".join(str(one) for one in config.regions)
        raise UsageFault(f"{code}: not one of the regions in {config.path} ({known})")
    return code


def as_json(checks: tuple[Check, ...]) -> dict[str, object]:
    """A region's checks as `--json` prints them."""
    return {
        "ok": all(line.ok for line in checks),
        "checks": [{"name": line.name, "ok": line.ok, "detail": line.detail} for line in checks],
    }
