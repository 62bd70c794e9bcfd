"""`situs operator`: who works at the gateway. A token is printed once, and never again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509

from gateway.cli.configured import config_option
from gateway.cli.errand import about, run
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.house import House
from policy.clearance import Operator, Role, RolesConflict
from policy.geography import GeographyError, RegionCode
from policy.trust import spki_sha256
from storage.audit.entry import Entry, Event
from storage.operators import HeldKey, OperatorRecord, OperatorRegister, Subject, Token, one_script, person

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
@click.option(
    "--oidc", "subject", metavar="SUBJECT", help="Signs in with the configured issuer, as this `sub`."
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Holds the key of this TLS client certificate (PEM).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@config_option
def add(
    config: Config,
    name: str,
    roles: tuple[str, ...],
    codes: tuple[str, ...],
    days: int,
    subject: str | None,
    certificate: Path | None,
    as_json: bool,
) -> None:
    """Add NAME, and print the token; with --oidc or --certificate there is none to print.

    The record goes into each region that it clears for; a region that this configuration does not
    serve is somebody else's to clear for.
    """
    regions = [_region(config, code) for code in codes]
    try:
        person(name)
        one_script(name)
    except ValueError as error:
        raise UsageFault(f"NAME: {error}") from None
    credential = _credential(config, subject, certificate)
    kept = credential.hash() if isinstance(credential, Token) else credential.kept

    async def work(house: House) -> None:
        held, now = frozenset(Role(role) for role in roles), house.clock()
        everywhere = await _registers(house, config.serves)
        await _refuse_conflict(everywhere, name, held, now)
        record = OperatorRecord(
            credential.id,
            name,
            held,
            frozenset(regions),
            kept,
            now,
            now + timedelta(days=days),
            hint=credential.hint,
        )
        for region in sorted(record.regions):
            await _note(house, region, Event.OPERATOR_ADDED, name)
            await about(name, everywhere[region].add(record))
        _show(record, credential, as_json)

    run(config, work)


def _credential(config: Config, subject: str | None, certificate: Path | None) -> Token | Subject | HeldKey:
    """How the operator will show who they are: a token is made here, the rest is somebody else's to give."""
    if subject is not None and certificate is not None:
        raise UsageFault("--oidc and --certificate: one of them is expected")
    if subject is not None:
        if config.oidc is None:
            raise UsageFault(f"--oidc: {config.path} has no [gateway.oidc]")
        return Subject(config.oidc.issuer, subject)
    if certificate is not None:
        try:
            return HeldKey(spki_sha256(x509.load_pem_x509_certificate(certificate.read_bytes())))
        except OSError as error:
            raise UsageFault(f"{certificate}: {error.strerror}") from None
        except ValueError:
            raise UsageFault(f"{certificate}: a PEM certificate is expected") from None
    return Token.new()


def _show(record: OperatorRecord, credential: Token | Subject | HeldKey, as_json: bool) -> None:
    token = credential.text if isinstance(credential, Token) else None
    if as_json:
        click.echo(json.dumps(_told(record) | ({"token": token} if token else {})))
    elif token:
        click.echo(token)
        click.echo("This token is shown once. At rest there is only its hash.", err=True)
    else:
        click.echo(f"{record.id} added")


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
    try:
        named = person(who)
    except ValueError as error:
        raise UsageFault(f"NAME|ID: {error}") from None

    async def work(house: House) -> None:
        ended = set()
        for region, register in (await _registers(house, config.serves)).items():
            for record in await register.list():
                if record.revoked is None and (record.id == who or person(record.name) == named):
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
    """Two tokens are one person: what no one may hold at once, no two tokens of theirs may either.

    Nor in two regions: the rule is about a person, and the lawbook that an administrator keeps is one for all
    of them. While a region that is served here cannot be read nobody can say, and nobody is added.
    """
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
