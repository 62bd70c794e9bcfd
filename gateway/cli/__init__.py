"""The `situs` command. Each group of commands is a module of its own, loaded when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final, NoReturn, cast

import click

from gateway.cli.outcome import TryAgain, UsageFault
from gateway.config import ConfigError
from storage.errors import FenceBroken, Forbidden, StorageError, Unavailable

# command -> (module, name in it, one line for `situs --help`)
_COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "account": ("gateway.cli.account", "account", "Create, show, suspend and close accounts."),
    "alias": ("gateway.cli.alias", "alias", "Other names of an account."),
    "audit": ("gateway.cli.audit", "audit", "Verify, list and prove the audit log."),
    "demo": ("gateway.cli.demo", "demo", "Start several regions on this machine."),
    "directory": ("gateway.cli.directory", "directory", "Bring the regions' copies together."),
    "fence": ("gateway.cli.fence", "fence", "Prove that every object is at home."),
    "hold": ("gateway.cli.hold", "hold", "Legal holds."),
    "law": ("gateway.cli.law", "law", "Read the lawbook; explain a decision."),
    "mail": ("gateway.cli.mail", "mail", "The owner's own mail, in and out."),
    "operator": ("gateway.cli.operator", "operator", "Who works at the gateway."),
    "order": ("gateway.cli.order", "order", "Sign and verify lawful orders."),
    "package": ("gateway.cli.package", "package", "Check a disclosure package."),
    "region": ("gateway.cli.region", "region", "Provision and check a region."),
    "report": ("gateway.cli.report", "report", "Transparency figures out of the log."),
    "retention": ("gateway.cli.retention", "retention", "How long mail is kept where no hold speaks."),
    "serve": ("gateway.cli.serve", "serve", "Run the server."),
}


class _Commands(click.Group):
    """Imports a command's module when it is used: `situs law` needs no S3 client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        return cast(click.Command, getattr(importlib.import_module(module), name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in sorted(_COMMANDS)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="situs")
def situs() -> None:
    """Mail that lies under the law of its place."""


def console() -> NoReturn:
    """The console script: runs the command and leaves with its status, at once.

    Not by way of the interpreter's own end: a thread of the S3 client may still be letting go of an
    answer then, and CPython before 3.14 ends a thread that asks for the lock of an interpreter which is
    being taken down (https://docs.python.org/3.11/c-api/init.html#c.PyGILState_Ensure). A thread in Rust
    answers that with abort(), and the command that did its work would end with status 134.
    """
    status = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads any more: the status that the interpreter itself would give
            status = 120
    os._exit(status)


def main() -> None:
    """Runs the command, turns our errors into one line and an exit status.

    Raises:
        SystemExit: with a status other than 0, of those in `gateway.cli.outcome`.
    """
    try:
        situs.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (ConfigError, FenceBroken, Forbidden) as error:
        _end(UsageFault(str(error)))
    except Unavailable as error:
        _end(TryAgain(str(error)))
    except StorageError as error:
        _end(UsageFault(str(error)))


def _end(fault: click.ClickException) -> None:
    fault.show()
    sys.exit(fault.exit_code)
