"""`situs law`: read the lawbook, check an operator's own, explain a decision. Opens no store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.cli.lawtext import law_summary, show_assessment, show_instrument, show_law
from gateway.cli.outcome import UsageFault
from gateway.config import ConfigError, load_config
from gateway.law import lawbook_files, packaged_lawbook, save_lawbook
from policy.assessment import Outcome
from policy.explain import Scenario, explain
from policy.geography import Jurisdiction
from policy.lawbook import Lawbook, LawbookError, read_lawbook
from policy.order import ClaimError
from policy.rules import Law

_FILE = click.Path(path_type=Path)
_LARGEST_SCENARIO = 1 << 20
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _lawbook_options(command: _Command) -> _Command:
    command = click.option(
        "--config", metavar="FILE", type=_FILE, help="Use the lawbook of this situs.toml."
    )(command)
    return click.option(
        "--lawbook",
        "directory",
        metavar="DIR",
        type=_FILE,
        help="Files over the shipped lawbook, or a whole one as `save` wrote it.",
    )(command)


@click.group()
def law() -> None:
    """Read the lawbook, check one of your own, explain a decision."""


@law.command("list")
@_lawbook_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def list_(directory: Path | None, config: Path | None, as_json: bool) -> None:
    """The jurisdictions that the lawbook knows."""
    lawbook = _lawbook(directory, config)
    rows = [law_summary(item) for item in lawbook.laws]
    if as_json:
        _print_json({"lawbook": lawbook.digest, "jurisdictions": rows})
        return
    click.echo(f"{'code':<5} {'name':<26} {'kind':<9} {'unconfirmed':>11}  instruments")
    for row in rows:
        first, *rest = row["instruments"] or ["(none)"]
        click.echo(f"{row['code']:<5} {row['name']:<26} {row['kind']:<9} {row['unconfirmed']:>11}  {first}")
        for name in rest:
            click.echo(f"{'':<55}{name}")
    click.echo(f"lawbook {lawbook.digest}")


@law.command()
@click.argument("code")
@_lawbook_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def show(code: str, directory: Path | None, config: Path | None, as_json: bool) -> None:
    """Print a jurisdiction (IE), an instrument (ie.production-order) or `*` (what is the same anywhere)."""
    lawbook = _lawbook(directory, config)
    instrument = lawbook.instrument(code)
    if instrument is not None:
        found, lines = _plain(instrument), show_instrument(instrument)
    else:
        item = _law(lawbook, code)
        found, lines = _plain(item), show_law(item, lawbook)
    if as_json:
        _print_json({"lawbook": lawbook.digest, "law": found})
        return
    for line in lines:
        click.echo(line)


@law.command()
@click.argument("directory", type=_FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def check(directory: Path | None, as_json: bool) -> None:
    """Check DIR's files, over the shipped lawbook unless DIR is a whole one. Every fault at once."""
    try:
        lawbook = read_lawbook(_files(directory))
    except LawbookError as error:
        if as_json:
            faults = [asdict(fault) for fault in error.faults]
            _print_json({"ok": False, "faults": faults, "lawbook": None})
        else:
            for fault in error.faults:
                click.echo(str(fault), err=True)
        raise UsageFault(f"{directory or 'lawbook'}: {len(error.faults)} fault(s)") from None
    summaries = [law_summary(item) for item in lawbook.laws]
    instruments = sum(len(row["instruments"]) for row in summaries)
    unconfirmed = sum(row["unconfirmed"] for row in summaries)
    if as_json:
        counts = {"jurisdictions": len(summaries), "instruments": instruments, "unconfirmed": unconfirmed}
        _print_json({"ok": True, "faults": [], "lawbook": lawbook.digest, **counts})
        return
    click.echo(
        f"{len(summaries)} jurisdictions, {instruments} instruments; {unconfirmed} rules not confirmed"
    )
    click.echo(f"lawbook {lawbook.digest}")


@law.command("explain")
@click.argument("file", type=_FILE)
@_lawbook_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def explain_(file: Path, directory: Path | None, config: Path | None, as_json: bool) -> None:
    """Decide the scenario in FILE (`-`: standard input) from claims alone. Exit 1 for a refused order."""
    lawbook = _lawbook(directory, config)
    try:
        assessment = explain(Scenario.parse(_scenario(file), lawbook), lawbook)
    except ClaimError as error:
        raise UsageFault(f"{file}: {error}") from None
    if as_json:
        _print_json(assessment.to_json())
    else:
        for line in show_assessment(assessment):
            click.echo(line)
    if assessment.outcome is Outcome.REFUSE:
        click.get_current_context().exit(1)


@law.command()
@click.argument("into", metavar="DIR", type=_FILE)
@_lawbook_options
def save(into: Path, directory: Path | None, config: Path | None) -> None:
    """Write the whole lawbook into DIR, to decide again under it years later (`explain --lawbook DIR`)."""
    lawbook = _lawbook(directory, config)
    try:
        save_lawbook(_files(_source(directory, config)), into)
    except ConfigError as error:
        raise UsageFault(str(error)) from None
    click.echo(f"lawbook {lawbook.digest}")


def _source(directory: Path | None, config: Path | None) -> Path | None:
    if directory is not None and config is not None:
        raise UsageFault("give --lawbook or --config, not both")
    if config is None:
        return directory
    try:
        return load_config(config).lawbook
    except ConfigError as error:
        raise UsageFault(str(error)) from None


def _lawbook(directory: Path | None, config: Path | None) -> Lawbook:
    try:
        return packaged_lawbook(_source(directory, config))
    except ConfigError as error:
        raise UsageFault(str(error)) from None


def _files(directory: Path | None) -> dict[str, bytes]:
    try:
        return lawbook_files(directory)
    except ConfigError as error:
        raise UsageFault(str(error)) from None


def _law(lawbook: Lawbook, code: str) -> Law:
    """By code, in capitals or not; `*` and `mla` are what is the same anywhere."""
    wanted = None if code.lower() in ("*", "mla") else Jurisdiction(code.upper())
    item = lawbook.law(wanted)
    if item is None:
        known = ", ".join(str(each.code or "*") for each in lawbook.laws)
        raise UsageFault(f"{code}: no jurisdiction and no instrument of the lawbook; it knows {known}")
    return item


def _scenario(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as stream:
            raw: bytes = stream.read(_LARGEST_SCENARIO + 1)
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror}") from None
    if len(raw) > _LARGEST_SCENARIO:
        raise UsageFault(f"{file}: a scenario is at most {_LARGEST_SCENARIO} octets")
    return raw


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))


def _plain(value: Any) -> Any:
    """A rule as JSON: sets sorted, places, times and spans as text."""
    if is_dataclass(value) and not isinstance(value, Jurisdiction):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
