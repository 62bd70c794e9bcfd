"""The `--config` option that every command which touches a store takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gateway.config import Config, load_config

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DEFAULT: Final = "situs.toml"


def _load(context: click.Context, parameter: click.Parameter, value: str) -> Config:
    return load_config(Path(value))


def config_option(command: _Command) -> _Command:
    """Adds `--config FILE` and passes the loaded `config: Config`. Raises ConfigError (exit 2)."""
    return click.option(
        "--config",
        metavar="FILE",
        default=_DEFAULT,
        envvar="SITUS_CONFIG",
        show_default=True,
        callback=_load,
        help="The configuration; else $SITUS_CONFIG.",
    )(command)
