"""`situs account`: make accounts, look at them, and end them."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from gateway.cli.account_ending import erase, move, unheld
from gateway.cli.account_import import import_accounts
from gateway.cli.configured import config_option
from gateway.cli.errand import about, note, parse_address, run
from gateway.cli.outcome import AnswerIsNo, TryAgain, UsageFault
from gateway.cli.region import configured
from gateway.config import Config
from gateway.house import House
from policy.address import Address
from storage.accounts import Account, SubscriberFault, parse_display_name, parse_password
from storage.audit.entry import Event
from storage.directory import Directory

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")


@click.group()
def account() -> None:
    """Create, show, suspend and close accounts."""


account.add_command(erase)
account.add_command(move)


@account.command()
@click.argument("address")
@click.option("--home", metavar="CODE", required=True, help="The region that the mailbox is to lie in.")
@click.option("--name", default="", help="The owner's name, for the subscriber record.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_json_option
@config_option
def create(address: str, home: str, name: str, password_stdin: bool, json_: bool, config: Config) -> None:
    """Make an account for ADDRESS, at home in a region and nowhere else."""
    wanted, region = parse_address(address), configured(config, home)
    try:
        display_name = parse_display_name(name)
        password = parse_password(_password()) if password_stdin else None
    except SubscriberFault as fault:
        raise UsageFault(str(fault)) from None

    async def work(house: House) -> Account:
        return await house.directory.create(
            wanted,
            region,
            password=password,
            display_name=display_name,
            first=lambda made: note(house, region, Event.ACCOUNT_CREATED, made),
        )

    _print(run(config, lambda house: about(wanted, work(house))), json_)


@account.command()
@click.argument("address")
@_json_option
@config_option
def show(address: str, json_: bool, config: Config) -> None:
    """Show the account of ADDRESS, which may be an alias. Read in the account's home."""
    wanted = parse_address(address)
    _print(run(config, lambda house: about(wanted, house.directory.show(wanted))), json_)


@account.command(name="list")
@click.option("--home", "homes", metavar="CODE", multiple=True, help="A region; else all of them.")
@_json_option
@config_option
def list_(homes: tuple[str, ...], json_: bool, config: Config) -> None:
    """List the accounts at home in a region, each read there."""
    regions = [configured(config, code) for code in homes] or list(config.regions)

    async def work(house: House) -> list[Account]:
        found = []
        for region in regions:
            async for each in house.directory.list(region):
                if json_:
                    found.append(each)
                else:
                    click.echo(_line(each))
        return found

    found = run(config, work)
    if json_:
        click.echo(json.dumps({"accounts": [each.to_json() for each in found]}))


@account.command()
@click.argument("address")
@_json_option
@config_option
def suspend(address: str, json_: bool, config: Config) -> None:
    """Let ADDRESS take no mail for now: senders are told to try again."""
    _change(config, address, json_, Event.ACCOUNT_SUSPENDED, Directory.suspend)


@account.command()
@click.argument("address")
@_json_option
@config_option
def resume(address: str, json_: bool, config: Config) -> None:
    """Let ADDRESS take mail again."""
    _change(config, address, json_, Event.ACCOUNT_CHANGED, Directory.resume)


@account.command()
@click.argument("address")
@_json_option
@config_option
def close(address: str, json_: bool, config: Config) -> None:
    """Let ADDRESS take no mail any more. What is stored stays; the address is never given again.

    Refused under hold.
    """
    wanted = parse_address(address)

    async def work(house: House) -> Account:
        located = await house.directory.find(wanted)
        proof = await unheld(house, located)
        await note(house, located.home.code, Event.ACCOUNT_CLOSED, located.account)
        return await house.directory.close(wanted, proof)

    _print(run(config, lambda house: about(wanted, work(house))), json_)


@account.command(name="rotate-keys")
@click.argument("address")
@_json_option
@config_option
def rotate_keys(address: str, json_: bool, config: Config) -> None:
    """Seal new mail of ADDRESS to new keys. What is stored opens under its own."""
    _change(config, address, json_, Event.ACCOUNT_CHANGED, Directory.rotate)


@account.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_json_option
@config_option
def import_(file: Path, json_: bool, config: Config) -> None:
    """Make the accounts of a CSV file: address,home and, if they are there, display_name,password.

    The first line names the columns. Lines that fail are named and left out; running it again
    passes over what is there and goes on with the rest. Exit status 75 if only a region that is down
    was in the way, 1 if a line is wrong.
    """
    result = run(config, lambda house: import_accounts(house, file))
    for fault in result.faults:
        click.echo(fault, err=True)
    if json_:
        click.echo(json.dumps(result.to_json()))
    else:
        click.echo(f"{result.made} made, {result.there} there already, {len(result.faults)} failed")
    if result.wrong:
        raise AnswerIsNo(f"{file}: {result.wrong} lines are wrong")
    if result.faults:
        raise TryAgain(f"{file}: {len(result.faults)} lines could not be done now; run it again")


def _change(
    config: Config,
    address: str,
    json_: bool,
    event: Event,
    change: Callable[[Directory, Address], Awaitable[Account]],
) -> None:
    wanted = parse_address(address)

    async def work(house: House) -> Account:
        located = await house.directory.find(wanted)
        await note(house, located.home.code, event, located.account)
        return await change(house.directory, wanted)

    _print(run(config, lambda house: about(wanted, work(house))), json_)


def _password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageFault("--password-stdin: a line with a password is expected on standard input")
    return password


def _print(account: Account, json_: bool) -> None:
    if json_:
        click.echo(json.dumps(account.to_json()))
        return
    for name, value in account.to_json().items():
        if value:
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{name:<13} {shown}")


def _line(account: Account) -> str:
    return f"{account.home.code!s:<14} {account.status:<9} {account.id}  {account.address}"
