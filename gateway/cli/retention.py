"""`situs retention`: how long mail is kept where no hold speaks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

import click

from gateway.cli.configured import config_option
from gateway.cli.errand import about, parse_address, run
from gateway.cli.hold_words import parse_domain_name
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.cli.region import configured
from gateway.config import Config
from gateway.house import House
from policy.geography import RegionCode
from policy.retention import Reach, Retention, RetentionError, RetentionRule, with_rule, without_rule
from storage.audit.entry import Entry, Event
from storage.identity import AccountId, IdentityError
from storage.retention import Sweeper, SweepReport, change_rules, read_rules

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
_region_option = click.option("--region", "code", metavar="CODE", required=True, help="The region.")
_for_option = click.option(
    "--for", "reach", type=click.Choice([str(one) for one in Reach]), default="region", show_default=True
)
_name_option = click.option("--name", default="", help="The label, the account (address or id), the domain.")
_BEYOND: Final = 1_000_000  # days: more than any rule may say, and what a timedelta still holds


@click.group()
def retention() -> None:
    """How long mail is kept where no hold speaks: hold over label over account over domain over region."""


@retention.command(name="set")
@_region_option
@_for_option
@_name_option
@click.option("--delete-after", "after", type=int, metavar="DAYS", help="What is older goes.")
@click.option("--keep-at-least", "keep", type=int, metavar="DAYS", help="What is younger stays.")
@_json_option
@config_option
def set_(
    config: Config, code: str, reach: str, name: str, after: int | None, keep: int | None, json_: bool
) -> None:
    """Set the rule for a label, an account, a domain or the region, in place of an earlier one.

    The closest rule decides alone: one for an account that says neither --delete-after nor --keep-at-least
    takes it out of the region's rule.
    """
    region = configured(config, code)
    try:
        asked = RetentionRule(Reach(reach), _written(Reach(reach), name), _days(after), _days(keep))
    except RetentionError as error:
        raise UsageFault(str(error)) from None

    async def work(house: House) -> Retention:
        rule = replace(asked, name=await _found(house, region, asked.reach, asked.name))
        await _note(house, region)
        return await change_rules(await house.holds(region), partial(with_rule, rule=rule))

    _show(run(config, work), json_)


@retention.command()
@_region_option
@_for_option
@_name_option
@_json_option
@config_option
def remove(config: Config, code: str, reach: str, name: str, json_: bool) -> None:
    """Remove a rule. Without any, mail stays until its owner deletes it."""
    region, wanted = configured(config, code), Reach(reach)
    written = _written(wanted, name)

    async def work(house: House) -> Retention:
        register = await house.holds(region)
        whose = await _found(house, region, wanted, written)
        standing = (await read_rules(register))[0]
        if without_rule(standing, wanted, whose) == standing:
            raise AnswerIsNo(f"{region} has no rule for {' '.join((wanted, name)).strip()}")
        await _note(house, region)
        return await change_rules(register, partial(without_rule, reach=wanted, name=whose))

    _show(run(config, work), json_)


@retention.command(name="list")
@_region_option
@_json_option
@config_option
def list_(config: Config, code: str, json_: bool) -> None:
    """List a region's rules."""
    region = configured(config, code)

    async def work(house: House) -> Retention:
        return (await read_rules(await house.holds(region)))[0]

    _show(run(config, work), json_)


@retention.command()
@_region_option
@_json_option
@config_option
def sweep(config: Config, code: str, json_: bool) -> None:
    """Sweep the region's accounts that were not swept today, and say what was done."""
    region = configured(config, code)

    async def work(house: House) -> SweepReport:
        store = (await house.chamber(region)).store
        return await Sweeper(store, await house.holds(region)).sweep()

    report = run(config, work).to_json()
    if json_:
        click.echo(json.dumps(report))
        return
    for name, value in report.items():
        click.echo(f"{name:<10} {value}")


async def _note(house: House, region: RegionCode) -> None:
    """Commit that the rules change, before they do: what they let go of may have been evidence."""
    log = (await house.chamber(region)).log
    await log.append(Entry(time=house.clock(), event=Event.RETENTION_CHANGED, region=region))


def _days(count: int | None) -> timedelta | None:
    return timedelta(days=max(min(count, _BEYOND), 0)) if count is not None else None


def _written(reach: Reach, name: str) -> str:
    """As it has to be written to be found: a rule for `Example.IE` would be a rule for nobody.

    Raises UsageFault. An account's address is left for `_found`.
    """
    match reach:
        case Reach.DOMAIN if name:
            return parse_domain_name(name)
        case Reach.ACCOUNT if "@" in name:
            return str(parse_address(name))
        case Reach.ACCOUNT if name:
            try:
                return str(AccountId.parse(name))
            except IdentityError as error:
                raise UsageFault(f"--name: {error}") from None
        case _:
            return name


async def _found(house: House, region: RegionCode, reach: Reach, name: str) -> str:
    """The account's id for its address. Raises AnswerIsNo where it is not at home in the region."""
    if reach is not Reach.ACCOUNT or "@" not in name:
        return name
    address = parse_address(name)
    located = await about(address, house.directory.find(address))
    if located.home.code != region:
        raise AnswerIsNo(f"{address} is at home in {located.home.code}, the rule would be of {region}")
    return str(located.account)


def _show(rules: Retention, json_: bool) -> None:
    described = [
        {
            "for": str(rule.reach),
            "name": rule.name,
            "delete_after": rule.delete_after.days if rule.delete_after else None,
            "keep_at_least": rule.keep_at_least.days if rule.keep_at_least else None,
        }
        for rule in rules.rules
    ]
    if json_:
        click.echo(json.dumps({"rules": described}))
        return
    for one in described:
        click.echo("  ".join(f"{name} {value}" for name, value in one.items() if value))
