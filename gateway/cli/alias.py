"""`situs alias`: other addresses of an account, and what nobody else in a domain has."""

from __future__ import annotations

import json

import click

from gateway.cli.configured import config_option
from gateway.cli.errand import about, note, parse_address, run
from gateway.cli.outcome import AnswerIsNo
from gateway.config import Config
from gateway.house import House
from policy.address import Address
from storage.accounts import Account
from storage.audit.entry import Event


@click.group()
def alias() -> None:
    """Other names of an account. `@DOMAIN` stands for all that nobody else in the domain has."""


@alias.command()
@click.argument("alias_", metavar="ALIAS")
@click.argument("address")
@config_option
def add(alias_: str, address: str, config: Config) -> None:
    """Let mail for ALIAS go to the account whose own address is ADDRESS."""
    name, owner = _name(alias_), parse_address(address)

    async def work(house: House) -> Account:
        located = await about(address, house.directory.home_now(owner))
        await note(house, located.home.code, Event.ACCOUNT_CHANGED, located.account)
        if isinstance(name, Address):
            return await house.directory.add_alias(name, owner)
        await house.directory.set_catch_all(name, owner)
        return await house.directory.show(owner)

    account = run(config, lambda house: about(alias_, work(house)))
    click.echo(f"{alias_} -> {account.address}")


@alias.command()
@click.argument("alias_", metavar="ALIAS")
@config_option
def remove(alias_: str, config: Config) -> None:
    """Take ALIAS away from the account that has it."""
    name = _name(alias_)

    async def work(house: House) -> None:
        if isinstance(name, Address):
            located = await house.directory.find(name)
            await note(house, located.home.code, Event.ACCOUNT_CHANGED, located.account)
            await house.directory.remove_alias(name)
            return
        taker = await house.directory.catch_all(name)
        if taker is None:
            raise AnswerIsNo(f"{alias_}: the domain has no catch-all")
        await note(house, taker.home.code, Event.ACCOUNT_CHANGED, taker.account)
        await house.directory.set_catch_all(name, None)

    run(config, lambda house: about(alias_, work(house)))
    click.echo(f"{alias_} removed")


@alias.command(name="list")
@click.argument("address", required=False)
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@config_option
def list_(address: str | None, json_: bool, config: Config) -> None:
    """List the aliases and catch-alls of ADDRESS, or of every account in every region."""
    owner = parse_address(address) if address else None

    async def work(house: House) -> list[tuple[str, str]]:
        if owner is not None:
            return _pairs(await about(owner, house.directory.show(owner)))
        found = []
        for region in house.config.regions:
            async for account in house.directory.list(region):
                found += _pairs(account)
        return sorted(found)

    pairs = run(config, work)
    if json_:
        click.echo(json.dumps({"aliases": [{"alias": name, "address": to} for name, to in pairs]}))
    else:
        for name, to in pairs:
            click.echo(f"{name} -> {to}")


def _pairs(account: Account) -> list[tuple[str, str]]:
    names = [str(each) for each in account.aliases] + [f"@{domain}" for domain in account.catch_alls]
    return [(name, str(account.address)) for name in names]


def _name(text: str) -> Address | str:
    """An address, or the domain of a catch-all as `Address.domain` writes it. Raises UsageFault."""
    return parse_address(f"x{text}").domain if text.startswith("@") else parse_address(text)
