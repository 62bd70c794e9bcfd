"""`situs retention`: how long mail is kept where no hold speaks."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

import click

from gateway.cli.configured import config_option
from gateway.cli.errand import run
from gateway.cli.outcome import UsageFault
from gateway.cli.region import configured
from gateway.config import Config
from gateway.house import House
from policy.geography import RegionCode
from policy.retention import Reach, Retention, RetentionError, RetentionRule, with_rule, without_rule
from storage.audit.entry import Entry, Event
from storage.retention import Sweeper, SweepReport, change_rules, read_rules

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
_region_option = click.option("--region", "code", metavar="CODE", required=True, help="The region.")
_for_option = click.option(
    "--for", "reach", type=click.Choice([str(one) for one in Reach]), default="region", show_default=True
)
_name_option = click.option("--name", default="", help="The label, account id or domain.")


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
    """Set the rule for a label, an account, a domain or the region, in place of an earlier one."""
    region = configured(config, code)
    try:
        rule = RetentionRule(Reach(reach), name, _days(after), _days(keep))
    except RetentionError as error:
        raise UsageFault(str(error)) from None

    async def work(house: House) -> Retention:
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
    region = configured(config, code)

    async def work(house: House) -> Retention:
        await _note(house, region)
        return await change_rules(
            await house.holds(region), partial(without_rule, reach=Reach(reach), name=name)
        )

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
    return timedelta(days=count) if count is not None else None


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
