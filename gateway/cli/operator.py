"""`situs operator`: who works at the gateway. A token is printed once, and never again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import click

from gateway.cli.configured import config_option
from gateway.cli.errand import run
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.house import House
from policy.clearance import Operator, Role, RolesConflict
from policy.geography import GeographyError, RegionCode
from storage.audit.entry import Entry, Event
from storage.operators import OperatorRecord, OperatorRegister, Token, person

_LONGEST_DAYS: Final = 365

Registers = dict[RegionCode, OperatorRegister]


@click.group()
def operator() -> None:
    """Who works at the gateway, in which role, for which region."""


@operator.command()
@click.argument("name")
@click.option(
    "--role", "roles", type=click.Choice([str(role) for role in Role]), multiple=True, required=True
)
@click.option("--region", "codes", metavar="CODE", multiple=True, required=True)
@click.option(
    "--days",
    type=click.IntRange(1, _LONGEST_DAYS),
    default=90,
    show_default=True,
    help="How long the token is valid.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@config_option
def add(
    config: Config, name: str, roles: tuple[str, ...], codes: tuple[str, ...], days: int, as_json: bool
) -> None:
    """Add NAME, and print the token.

    The record goes into each region that it clears for; a region that this configuration does not
    serve is somebody else's to clear for.
    """
    regions = [_region(config, code) for code in codes]
    try:
        person(name)
    except ValueError as error:
        raise UsageFault(f"NAME: {error}") from None

    async def work(house: House) -> None:
        registers = await _registers(house, regions)
        held = frozenset(Role(role) for role in roles)
        await _refuse_conflict(registers, name, held, house.clock())
        token, now = Token.new(), house.clock()
        record = OperatorRecord(
            token.id, name, held, frozenset(regions), token.hash(), now, now + timedelta(days=days)
        )
        for region, register in registers.items():
            await _note(house, region, Event.OPERATOR_ADDED, name)
            await register.add(record)
        if as_json:
            click.echo(json.dumps(_told(record) | {"token": token.text}))
        else:
            click.echo(token.text)
            click.echo("This token is shown once. At rest there is only its hash.", err=True)

    run(config, work)


@operator.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@config_option
def list_(config: Config, as_json: bool) -> None:
    """List the operators of the regions served here; revoked and expired ones too."""

    async def work(house: House) -> None:
        now, found = house.clock(), {}
        for register in (await _registers(house, config.serves)).values():
            found.update({record.id: record for record in await register.list()})
        records = sorted(found.values(), key=lambda record: (record.name, record.created))
        if as_json:
            click.echo(json.dumps({"operators": [_told(record) for record in records]}))
            return
        for record in records:
            click.echo(
                f"{record.id}  {record.name:<24} {_state(record, now):<8} until {record.expires:%Y-%m-%d}  "
                f"{','.join(sorted(record.roles))}  {','.join(sorted(map(str, record.regions)))}"
            )

    run(config, work)


@operator.command()
@click.argument("who", metavar="NAME|ID")
@config_option
def revoke(config: Config, who: str) -> None:
    """End a token, by its id, or every token of a person. Takes effect within 15 seconds."""

    async def work(house: House) -> None:
        ended = set()
        for region, register in (await _registers(house, config.serves)).items():
            for record in await register.list():
                if record.revoked is None and (record.id == who or person(record.name) == person(who)):
                    await _note(house, region, Event.OPERATOR_REVOKED, record.name)
                    await register.revoke(record.id, house.clock())
                    ended.add(record.id)
        if not ended:
            raise AnswerIsNo(f"{who}: no token in force has this id, and nobody who has one this name")
        for token_id in sorted(ended):
            click.echo(f"{token_id} revoked")

    run(config, work)


def _region(config: Config, code: str) -> RegionCode:
    try:
        region = RegionCode.parse(code)
    except GeographyError as error:
        raise UsageFault(f"--region: {error}") from None
    if region not in config.serves:
        raise UsageFault(
            f"--region {region}: {config.path} does not serve it ({', '.join(map(str, config.serves))})"
        )
    return region


async def _registers(house: House, regions: Sequence[RegionCode]) -> Registers:
    return {region: OperatorRegister((await house.chamber(region)).vault) for region in regions}


async def _refuse_conflict(registers: Registers, name: str, roles: frozenset[Role], now: datetime) -> None:
    """Two tokens are one person: what no one may hold at once, no two tokens of theirs may either."""
    held = roles
    for register in registers.values():
        for record in await register.list():
            if record.in_force(now) and person(record.name) == person(name):
                held |= record.roles
    try:
        Operator(person(name), held, frozenset(registers))
    except RolesConflict as error:
        raise UsageFault(f"{name}: {error}") from None


async def _note(house: House, region: RegionCode, event: Event, name: str) -> None:
    """The entry comes first: a clearance without an entry must not exist."""
    chamber = await house.chamber(region)
    pseudonym = chamber.pseudonyms.operator(person(name))
    await chamber.log.append(Entry(time=house.clock(), event=event, region=region, operator=pseudonym))


def _state(record: OperatorRecord, now: datetime) -> str:
    if record.revoked is not None:
        return "revoked"
    return "in force" if record.in_force(now) else "expired"


def _told(record: OperatorRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "roles": sorted(record.roles),
        "regions": sorted(map(str, record.regions)),
        "created": record.created.isoformat(),
        "expires": record.expires.isoformat(),
        "revoked": record.revoked.isoformat() if record.revoked else None,
    }
