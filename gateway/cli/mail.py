"""`situs mail`: the owner's own mail, in and out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import click

from gateway.cli.bar import Bar
from gateway.cli.configured import config_option
from gateway.cli.errand import about, note, parse_address, run
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.house import House
from gateway.mail_export import ExportExists, Format, Written, write_export
from gateway.mail_sources import SourceError, count_maildir, read_maildir, read_mbox
from storage.audit.entry import Event
from storage.errors import AccountClosed, AccountSuspended
from storage.exporting import owners_mail
from storage.importing import Found, announce, import_message
from storage.in_order import in_order

_AT_ONCE: Final = 16

_json_option = click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")


@click.group()
def mail() -> None:
    """The owner's own mail, in and out."""


@mail.command(name="import")
@click.argument("address")
@click.option("--maildir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--mbox", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_json_option
@config_option
def import_(address: str, maildir: Path | None, mbox: Path | None, json_: bool, config: Config) -> None:
    """Bring mail into ADDRESS out of a Maildir or an mbox, with its dates and flags.

    Run again, it passes over what is there and goes on with the rest.
    """
    wanted = parse_address(address)
    if (maildir is None) == (mbox is None):
        raise UsageFault("--maildir DIR or --mbox FILE is expected, and one of them")
    counts = {"imported": 0, "there_already": 0}

    async def tell_the_folders(house: House) -> None:
        located = await house.directory.locate(wanted)
        await announce(house.ground.home(located), located, house.clock())

    async def work(house: House) -> None:
        await tell_the_folders(house)
        source = read_maildir(maildir) if maildir else read_mbox(mbox) if mbox else iter(())
        total = count_maildir(maildir) if maildir else None

        async def one(found: Found) -> bool:
            # From memory, mostly; a mailbox that moves during a long import takes it where it is.
            located = await house.directory.locate(wanted)
            home = house.ground.home(located)
            return await import_message(home, located, str(wanted), found)

        with Bar("importing", total) as bar:
            async for fresh in in_order(_read_ahead(source), one, _AT_ONCE):
                counts["imported" if fresh else "there_already"] += 1
                bar.advance()
        await tell_the_folders(house)  # of what came since somebody looked

    try:
        run(config, lambda house: about(wanted, work(house)))
    except (SourceError, OSError) as error:
        raise UsageFault(str(error)) from None
    except (AccountSuspended, AccountClosed) as error:
        raise AnswerIsNo(f"{wanted}: {error}") from None
    _tell(json_, counts, f"{counts['imported']} imported, {counts['there_already']} there already")


@mail.command()
@click.argument("address")
@click.option("--to", "directory", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format", "format_", type=click.Choice([str(one) for one in Format]), default=Format.EML.value
)
@_json_option
@config_option
def export(address: str, directory: Path, format_: str, json_: bool, config: Config) -> None:
    """Write the mail of ADDRESS to a directory, with a manifest (GDPR Art. 15 and 20).

    What its owner has deleted is not there. Exit status 1 if a message could not be opened: the
    manifest names it, and everything else is there.
    """
    wanted = parse_address(address)

    async def work(house: House) -> Written:
        located = await house.directory.find(wanted)
        home = house.ground.home(located)
        # No law is asked, since the mail is the owner's; all the more is it written down first.
        await note(house, located.home.code, Event.MAIL_EXPORTED, located.account)
        told = {
            "account": str(located.account),
            "address": str(wanted),
            "region": str(located.home.code),
            "exported_at": house.clock().isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        with Bar("exporting", None) as bar:
            return await write_export(
                owners_mail(home, located),
                directory,
                Format(format_),
                told=told,
                progress=lambda _: bar.advance(),
            )

    try:
        written = run(config, lambda house: about(wanted, work(house)))
    except (ExportExists, OSError) as error:
        raise UsageFault(str(error)) from None
    told = {"messages": len(written.messages), "octets": written.octets, "errors": len(written.errors)}
    _tell(json_, told, f"{len(written.messages)} messages, {written.octets} octets in {directory}")
    if written.errors:
        raise AnswerIsNo(f"{len(written.errors)} messages could not be opened; the manifest names them")


async def _read_ahead(source: Iterator[Found]) -> AsyncIterator[Found]:
    """Files are read in a thread: a slow disk must not hold up what is in flight."""
    while (found := await asyncio.to_thread(next, source, None)) is not None:
        yield found


def _tell(json_: bool, counts: dict[str, int], line: str) -> None:
    click.echo(json.dumps(counts) if json_ else line)
