"""`situs account erase` and `move`, and what closing asks first: whether a hold forbids it."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from gateway.cli.bar import Bar
from gateway.cli.configured import config_option
from gateway.cli.errand import about, parse_address, run
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.cli.region import configured
from gateway.config import Config
from gateway.disclosure.docket import Docket
from gateway.disclosure.lifecycle import AwaitingApproval, AwaitingDisclosure, AwaitingPreservation
from gateway.house import House
from gateway.secret_files import read_signer
from policy.geography import RegionCode
from storage.erasure import SETTLE, Certificate, Erasure
from storage.holds import Held
from storage.located import AccountStatus, Located
from storage.mailboxes import mailbox_of
from storage.relocation import MoveRefused, ReasonExpected, Relocation, Site
from storage.unheld import Unheld, refuse_if_held

_T = TypeVar("_T")

_OPEN = (AwaitingApproval, AwaitingDisclosure, AwaitingPreservation)

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")


@click.command()
@click.argument("address")
@_json_option
@config_option
def erase(address: str, json_: bool, config: Config) -> None:
    """Erase the account of ADDRESS for good (GDPR Art. 17), and print a signed certificate.

    The account must be closed. Refused under hold, and while it is on its way to another region. The
    keys go first: no copy of the mail, wherever it may be, can be opened any more, and no record of it in
    the regions where it has lived. Run again, it goes on where it stopped.
    """
    wanted = parse_address(address)

    async def work(house: House) -> Certificate:
        located = await house.directory.find(wanted)
        if located.status is not AccountStatus.CLOSED:
            raise AnswerIsNo(f"{wanted}: the account takes mail; `situs account close` it first")
        code = located.home.code
        store, register = (await house.chamber(code)).store, await house.holds(code)
        with Bar("erasing: messages", None) as bar:
            erasure = Erasure(store, register, read_signer(config, code), house.holds, settle=SETTLE)
            return await erasure.erase(
                located.account, getpass.getuser(), lambda now: bar.stands(now.messages)
            )

    certificate = run(config, lambda house: about(wanted, refusing(work(house))))
    if json_:
        click.echo(json.dumps({"certificate": certificate.note.decode(), "digest": certificate.digest}))
    else:
        click.echo(certificate.note.decode(), nl=False)


@click.command()
@click.argument("address")
@click.option("--to", "code", metavar="CODE", required=True, help="The region that becomes its home.")
@click.option("--reason", metavar="TEXT", default="", help="Why: it is kept in the record of both regions.")
@_json_option
@config_option
def move(address: str, code: str, reason: str, json_: bool, config: Config) -> None:
    """Move the mailbox of ADDRESS to another region, with everything in it.

    Refused under hold or while a disclosure is open. Mail is asked to come again for about a minute
    before the home changes. Run again, it goes on where it stopped.
    """
    wanted, to = parse_address(address), configured(config, code)

    async def work(house: House) -> None:
        async def site(region: RegionCode) -> Site:
            return Site((await house.chamber(region)).store, await house.holds(region))

        relocation = Relocation(house.directory, config.serves, site, disclosure_open(house), settle=SETTLE)
        with Bar("moving: messages", None) as bar:
            await relocation.move(wanted, to, reason, getpass.getuser(), lambda now: bar.stands(now.messages))

    run(config, lambda house: about(wanted, refusing(work(house))))
    told = {"address": str(wanted), "home": code}
    click.echo(json.dumps(told) if json_ else f"{wanted} is at home in {code}")


def disclosure_open(house: House) -> Callable[[Located], Awaitable[bool]]:
    """Whether a disclosure of a mailbox is waiting for somebody, in the region where it is at home."""

    async def is_open(located: Located) -> bool:
        docket = Docket((await house.chamber(located.home.code)).vault)
        async for filed in docket.all():
            disclosure = filed.disclosure
            if isinstance(disclosure, _OPEN) and disclosure.case.account == str(located.account):
                return True
        return False

    return is_open


async def unheld(house: House, located: Located) -> Unheld:
    """Closing is the first step of an erasure. Raises AnswerIsNo with the holds that forbid it."""
    register = await house.holds(located.home.code)
    mailbox = await mailbox_of((await house.chamber(located.home.code)).store, located.account)
    return await refusing(refuse_if_held(register, mailbox, "closure", getpass.getuser()))


async def refusing(work: Awaitable[_T]) -> _T:
    """A hold's no, and a move's, is exit status 1, with what forbids it."""
    try:
        return await work
    except Held as error:
        raise AnswerIsNo(f"{error}: {', '.join(map(str, error.holds))}") from None
    except ReasonExpected as error:
        raise UsageFault(f"--reason: {error}") from None
    except MoveRefused as error:
        raise AnswerIsNo(str(error)) from None
