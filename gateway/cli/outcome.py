"""How a command ends: the exit statuses of the command line, as exceptions.

    0   done
    1   `AnswerIsNo`   the answer is no: a refused order, a stray object, a broken log
    2   `UsageFault`   wrong usage or configuration; nothing was done
    75  `TryAgain`     a temporary failure (EX_TEMPFAIL of sysexits.h), try again

Each prints one line on standard error. A traceback is never an answer to a user.
"""

from __future__ import annotations

import click


class UsageFault(click.ClickException):
    """Wrong usage or configuration: names the thing and what was expected."""

    exit_code = 2


class AnswerIsNo(click.ClickException):
    """The command worked, and what it found is a no."""

    exit_code = 1


class TryAgain(click.ClickException):
    """Something that may work later: a region is down, a lock is taken."""

    exit_code = 75
