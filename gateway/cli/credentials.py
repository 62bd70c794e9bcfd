"""Who is at the keyboard: a command that two people have to give is given by people, not by a shell.

The token is the one that `situs operator add` printed. It comes from a file or the environment, never
from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.house import House
from policy.clearance import Clearance, NotCleared, Operator, Role, clear
from policy.geography import RegionCode
from storage.errors import NotFound
from storage.operators import OperatorRegister, Token, person

_ENVIRONMENT: Final = "SITUS_TOKEN"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def token_option(command: _Command) -> _Command:
    """Adds `--token-file FILE`, and passes the parsed `token: Token`."""
    return click.option(
        "--token-file",
        "token",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        callback=_read,
        help="A file with your operator token; else $SITUS_TOKEN.",
    )(command)


async def cleared(house: House, token: Token, role: Role, region: RegionCode) -> Clearance:
    """The clearance of whoever holds the token. Raises AnswerIsNo where there is none.

    The record in the region itself counts, as everywhere: a region clears its own people.
    """
    register = OperatorRegister((await house.chamber(region)).vault)
    try:
        record = await register.get(token.id)
    except NotFound:
        raise AnswerIsNo(f"this token is not known in {region}") from None
    if not record.in_force(house.clock()) or not await asyncio.to_thread(token.matches, record.credential):
        raise AnswerIsNo(f"this token is not valid in {region}")
    try:
        return clear(Operator(person(record.name), record.roles, record.regions), role, region)
    except NotCleared as error:
        raise AnswerIsNo(str(error)) from None


def _read(context: click.Context, parameter: click.Parameter, value: Path | None) -> Token:
    text = value.read_text() if value is not None else os.environ.get(_ENVIRONMENT, "")
    if not text.strip():
        raise UsageFault(f"--token-file FILE or ${_ENVIRONMENT} is expected: your operator token")
    token = Token.parse(text.strip())
    if token is None:
        raise UsageFault(f"{value or '$' + _ENVIRONMENT}: not an operator token (situs_...)")
    return token
