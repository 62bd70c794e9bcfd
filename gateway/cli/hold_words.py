"""The words of `situs hold`: what is typed becomes types, and a hold becomes lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from gateway.cli.errand import parse_address
from gateway.cli.outcome import AnswerIsNo, UsageFault
from policy.address import AddressError, parse_domain
from policy.clearance import NotCleared, SamePerson
from policy.hold import Hold, HoldError, HoldId
from policy.hold_query import TrafficQuery
from policy.order import ClaimError, Timespan, parse_moment
from storage.hold_documents import describe_hold
from storage.identity import utc_now

_T = TypeVar("_T")
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 1, 1, tzinfo=UTC)


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """RFC 3339, or a date alone, which is its midnight in UTC. Raises UsageFault."""
    if value is None:
        return None
    text = f"{value}T00:00:00Z" if len(value) == 10 else value
    try:
        return parse_moment(text, f"--{(parameter.name or '').replace('_', '-')}")
    except ClaimError as error:
        raise UsageFault(str(error)) from None


def span_of(start: datetime | None, end: datetime | None) -> Timespan | None:
    """Half open; either end may be left out. Raises UsageFault."""
    if start is None and end is None:
        return None
    try:
        return Timespan(start or _BEGINNING, end or _END)
    except ClaimError as error:
        raise UsageFault(f"--received-from, --received-before: {error.rule}") from None


def query_of(
    parties: Sequence[str], domains: Sequence[str], message_ids: Sequence[str]
) -> TrafficQuery | None:
    """Raises UsageFault for what is no address."""
    if not (parties or domains or message_ids):
        return None
    if not all(wanted.strip("<> ") for wanted in message_ids):
        raise UsageFault("--message-id: an id is expected")
    return TrafficQuery(
        frozenset(map(parse_address, parties)),
        frozenset(map(parse_domain_name, domains)),
        frozenset(message_ids),
    )


def parse_domain_name(text: str) -> str:
    """Raises UsageFault."""
    try:
        return parse_domain(text)
    except AddressError as error:
        raise UsageFault(f"{text}: {error}") from None


def parse_hold(text: str) -> HoldId:
    try:
        return HoldId.parse(text)
    except HoldError as error:
        raise UsageFault(str(error)) from None


async def told(work: Awaitable[_T]) -> _T:
    """A rule that says no is an answer: exit status 1, and the rule."""
    try:
        return await work
    except (HoldError, NotCleared, SamePerson) as error:
        raise AnswerIsNo(str(error)) from None


def show_hold(hold: Hold, json_: bool, *, coverage: Mapping[str, Any] | None = None) -> None:
    """One hold, with what is known of its objects where that was asked."""
    described = describe_hold(hold, utc_now()) | ({"coverage": dict(coverage)} if coverage else {})
    if json_:
        click.echo(json.dumps(described))
        return
    for name, value in described.items():
        if value:
            click.echo(f"{name:<12} {_words(value)}")


def tell(holds: Sequence[Hold], json_: bool) -> None:
    """Several, one on a line."""
    now = utc_now()
    described = [describe_hold(hold, now) for hold in holds]
    if json_:
        click.echo(json.dumps({"holds": described}))
        return
    for one in described:
        end = one["keeps_until"] or "no end"
        click.echo(f"{one['id']}  {one['region']:<14} {one['phase']:<16} {end:<20} {_words(one['scope'])}")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
