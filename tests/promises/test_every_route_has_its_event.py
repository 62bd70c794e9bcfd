"""Whatever can be done to a mailbox, a hold, an operator or the law leaves an entry in the log.

The table below names, for every HTTP route and every command, the events that it may end in, or
why it needs none. A route or command that is not in the table fails the test, and so does an
event that nothing ends in: a new door cannot be opened without saying what it leaves behind.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click
import pytest
import pytest_asyncio
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.cli import situs
from gateway.readiness import Readiness, watching_app
from policy.clearance import Role
from storage.audit.entry import Event
from tests.disclosure.desk import Gateway, gateway
from tests.engines import Engines, settings_on

ROOT: Final = Path(__file__).resolve().parents[2]

# What any attempt at a disclosure route may end in before it comes to anything.
ATTEMPT: Final = frozenset(
    {
        Event.ATTEMPT_UNAUTHENTICATED,
        Event.ATTEMPT_MALFORMED,
        Event.ATTEMPT_NOT_CLEARED,
        Event.ATTEMPT_FAILED,
    }
)
PUBLIC: Final = "open to anybody: tells nothing that is not published anyway"

Ends = frozenset[Event] | str

ROUTES: Final[dict[str, Ends]] = {
    "POST /v1/disclosures": ATTEMPT
    | {Event.ATTEMPT_UNVERIFIED, Event.ATTEMPT_REPLAYED, Event.DISCLOSURE_DECIDED, Event.HOLD_PLACED},
    "GET /v1/disclosures": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "GET /v1/disclosures/{id}": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "POST /v1/disclosures/{id}:approve": ATTEMPT
    | {
        Event.ATTEMPT_UNVERIFIED,
        Event.DISCLOSURE_APPROVED,
        Event.DISCLOSURE_RELEASED,
        Event.DISCLOSURE_COMPLETED,
        Event.DISCLOSURE_CANCELLED,
    },
    "POST /v1/disclosures/{id}:reject": ATTEMPT | {Event.DISCLOSURE_REJECTED},
    "POST /v1/disclosures/{id}:answer": ATTEMPT | {Event.DISCLOSURE_ANSWERED, Event.DISCLOSURE_CANCELLED},
    "POST /v1/disclosures/{id}:validate": ATTEMPT
    | {Event.DISCLOSURE_VALIDATED, Event.HOLD_CHANGED, Event.ATTEMPT_UNVERIFIED},
    "POST /v1/disclosures/{id}:confirm": ATTEMPT | {Event.DISCLOSURE_CONFIRMED, Event.HOLD_CHANGED},
    "GET /v1/disclosures/{id}/package": ATTEMPT | {Event.PACKAGE_FETCHED},
    "GET /v1/disclosures/{id}/package/{part}": ATTEMPT | {Event.PACKAGE_FETCHED},
    "GET /v1/orders": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "GET /v1/orders/{order}": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "POST /v1/holds": ATTEMPT | {Event.HOLD_PLACED},
    "GET /v1/holds": ATTEMPT | {Event.HOLD_VIEWED},
    "GET /v1/holds/{id}": ATTEMPT | {Event.HOLD_VIEWED},
    "POST /v1/holds/{id}:release": ATTEMPT | {Event.HOLD_CHANGED, Event.HOLD_RELEASED},
    "POST /v1/holds/{id}:reject": ATTEMPT | {Event.HOLD_CHANGED},
    "POST /v1/holds/{id}:prolong": ATTEMPT | {Event.HOLD_CHANGED},
    "GET /v1/audit/{region}/entries": ATTEMPT,
    "GET /v1/audit/{region}/entries/{index}/proof": ATTEMPT,
    "GET /v1/audit/{region}/checkpoint": PUBLIC,
    "GET /v1/audit/{region}/{tile}": PUBLIC,
    "GET /v1/law": PUBLIC,
    "GET /v1/transparency": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /metrics": PUBLIC,
    "GET /healthz/live": PUBLIC,
    "GET /healthz/ready": PUBLIC,
    "GET /console": PUBLIC,
    "GET /console/sign-in": PUBLIC,
    "POST /console/sign-in": ATTEMPT,
    "POST /console/sign-out": ATTEMPT,
    "GET /console/disclosures": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "POST /console/disclosures": ATTEMPT
    | {
        Event.ATTEMPT_UNVERIFIED,
        Event.ATTEMPT_REPLAYED,
        Event.DISCLOSURE_DECIDED,
        Event.DISCLOSURE_VIEWED,
        Event.HOLD_PLACED,
    },
    "GET /console/disclosures/{id}": ATTEMPT | {Event.DISCLOSURE_VIEWED},
    "POST /console/disclosures/{id}/approve": ATTEMPT
    | {
        Event.ATTEMPT_UNVERIFIED,
        Event.DISCLOSURE_APPROVED,
        Event.DISCLOSURE_RELEASED,
        Event.DISCLOSURE_COMPLETED,
        Event.DISCLOSURE_CANCELLED,
    },
    "POST /console/disclosures/{id}/reject": ATTEMPT | {Event.DISCLOSURE_REJECTED, Event.DISCLOSURE_VIEWED},
    "POST /console/disclosures/{id}/answer": ATTEMPT
    | {Event.DISCLOSURE_ANSWERED, Event.DISCLOSURE_CANCELLED, Event.DISCLOSURE_VIEWED},
    "POST /console/disclosures/{id}/validate": ATTEMPT
    | {Event.DISCLOSURE_VALIDATED, Event.HOLD_CHANGED, Event.ATTEMPT_UNVERIFIED, Event.DISCLOSURE_VIEWED},
    "POST /console/disclosures/{id}/confirm": ATTEMPT
    | {Event.DISCLOSURE_CONFIRMED, Event.HOLD_CHANGED, Event.DISCLOSURE_VIEWED},
    "GET /console/disclosures/{id}/package": ATTEMPT | {Event.PACKAGE_FETCHED},
    "GET /console/disclosures/{id}/package/{part}": ATTEMPT | {Event.PACKAGE_FETCHED},
    "GET /console/holds": ATTEMPT | {Event.HOLD_VIEWED},
    "POST /console/holds": ATTEMPT | {Event.HOLD_PLACED, Event.HOLD_VIEWED},
    "GET /console/holds/{id}": ATTEMPT | {Event.HOLD_VIEWED},
    "POST /console/holds/{id}/release": ATTEMPT
    | {Event.HOLD_CHANGED, Event.HOLD_RELEASED, Event.HOLD_VIEWED},
    "POST /console/holds/{id}/prolong": ATTEMPT | {Event.HOLD_CHANGED, Event.HOLD_VIEWED},
    "POST /console/holds/{id}/keep": ATTEMPT | {Event.HOLD_CHANGED},
    "GET /console/audit": ATTEMPT,
    "GET /console/audit/{region}": ATTEMPT,
    "GET /console/audit/{region}/{index}": ATTEMPT,
    "GET /console/transparency": PUBLIC,
    "GET /console/law": PUBLIC,
    "GET /console/static/{name}": PUBLIC,
}

NO_STORE: Final = "touches no store"
LOG_ITSELF: Final = "reads the log, which is public"
OWN_HOST: Final = "whoever runs it holds the configuration's secrets; reads no mail and changes nothing"
COPIES: Final = "brings copies of records together; who has an account, and where, stays as it was"

COMMANDS: Final[dict[str, Ends]] = {
    "account create": frozenset({Event.ACCOUNT_CREATED}),
    "account import": frozenset({Event.ACCOUNT_CREATED, Event.ACCOUNT_CHANGED}),
    "account show": OWN_HOST,
    "account list": OWN_HOST,
    "account suspend": frozenset({Event.ACCOUNT_SUSPENDED}),
    "account resume": frozenset({Event.ACCOUNT_CHANGED}),
    "account close": frozenset({Event.ACCOUNT_CLOSED}),
    "account erase": frozenset({Event.ACCOUNT_ERASED, Event.DELETION_REFUSED}),
    "account move": frozenset({Event.ACCOUNT_MOVED, Event.DELETION_REFUSED}),
    "account rotate-keys": frozenset({Event.ACCOUNT_CHANGED}),
    "alias add": frozenset({Event.ACCOUNT_CHANGED}),
    "alias remove": frozenset({Event.ACCOUNT_CHANGED}),
    "alias list": OWN_HOST,
    "audit verify": LOG_ITSELF,
    "audit list": frozenset({Event.AUDIT_READ}),
    "audit prove": LOG_ITSELF,
    "audit check": NO_STORE,
    "audit export": frozenset({Event.AUDIT_EXPORTED}),
    "audit witness": NO_STORE,
    "demo": "is made of the others",
    "directory sync": COPIES,
    "fence verify": OWN_HOST,
    "hold place": frozenset({Event.HOLD_PLACED}),
    "hold list": frozenset({Event.HOLD_VIEWED}),
    "hold status": frozenset({Event.HOLD_VIEWED}),
    "hold cover": "puts on locks that the hold asks for already",
    "hold release": frozenset({Event.HOLD_CHANGED, Event.HOLD_RELEASED}),
    "hold prolong": frozenset({Event.HOLD_CHANGED}),
    "hold enrol": frozenset({Event.HOLD_CHANGED}),
    "law list": NO_STORE,
    "law show": NO_STORE,
    "law check": NO_STORE,
    "law explain": NO_STORE,
    "law save": NO_STORE,
    "mail import": "brings mail in, as SMTP does, and reads none",
    "mail export": frozenset({Event.MAIL_EXPORTED}),
    "operator add": frozenset({Event.OPERATOR_ADDED}),
    "operator list": OWN_HOST,
    "operator revoke": frozenset({Event.OPERATOR_REVOKED}),
    "order sign": NO_STORE,
    "order verify": NO_STORE,
    "package verify": NO_STORE,
    "region provision": "makes the bucket that the log will stand in",
    "region check": OWN_HOST,
    "report transparency": LOG_ITSELF,
    "retention list": OWN_HOST,
    "retention set": frozenset({Event.RETENTION_CHANGED}),
    "retention remove": frozenset({Event.RETENTION_CHANGED}),
    "retention sweep": "does what the rules say, as the server does by itself",
    "serve": frozenset({Event.SERVER_STARTED, Event.LAWBOOK_CHANGED, Event.TRUST_CHANGED}),
}

# What time and the store's own work end in, with nobody at a door: `gateway.disclosure.housekeeping`
# and the movers, sweepers and erasers of `storage`.
BY_ITSELF: Final = frozenset(
    {
        Event.DISCLOSURE_EXPIRED,
        Event.DISCLOSURE_RESUMED,
        Event.HOLD_RELEASED,
        Event.DELETION_REFUSED,
        Event.ACCOUNT_MOVED,
        Event.ACCOUNT_ERASED,
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    keys = tmp_path_factory.mktemp("keys")
    async with gateway(lambda kind, region: settings_on(engines.of(kind, region), region, keys)) as built:
        yield built


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> set[str]:
    if not isinstance(group, click.Group):
        return {" ".join(path)}
    context = click.Context(group)
    found: set[str] = set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= _commands(command, (*path, name))
    return found


def _routes(app: web.Application) -> set[str]:
    return {
        f"{route.method} {re.sub(r':[^}]+}', '}', route.resource.canonical)}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def test_every_command_says_what_it_leaves_in_the_log() -> None:
    assert _commands(situs) == set(COMMANDS)


@pytest.mark.asyncio(loop_scope="module")
async def test_every_route_says_what_it_leaves_in_the_log(desk: Gateway) -> None:
    assert _routes(desk.app) == set(ROUTES)
    watching = watching_app(CollectorRegistry(), Readiness(), asyncio.Event().wait)
    assert {ROUTES[route] for route in _routes(watching)} == {PUBLIC}


def test_every_event_has_something_that_ends_in_it() -> None:
    named = set(BY_ITSELF)
    for ends in (*ROUTES.values(), *COMMANDS.values()):
        if not isinstance(ends, str):
            named |= ends
    assert named == set(Event)


def test_every_event_is_written_by_some_code() -> None:
    """A word in a table commits nothing: each event stands in the code of a door or of the ground."""
    code = "".join(
        path.read_text()
        for package in ("gateway", "storage")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "entry.py"
    )
    assert {event.name for event in Event if f"Event.{event.name}" not in code} == set()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", [route for route, ends in ROUTES.items() if not isinstance(ends, str)])
async def test_a_stranger_at_any_door_is_an_entry(desk: Gateway, route: str) -> None:
    """Asked without a token, each route answers 401 and leaves one entry, in the seat's log."""
    method, path = route.split(" ")
    log = desk.chamber().log
    before = await log.size()
    region = str(desk.office.seat)
    answer = await desk.ask(method, path.format(id="x", order="x", part="p", region=region, index="0"), None)
    assert answer.status == 401
    if path.startswith("/console"):
        assert f"entry {before} of the log of {region}" in answer.body.decode()
    else:
        assert answer.json["audit"] == {"region": region, "index": before}
    (left,) = await log.entries(before, 10)
    assert (left.event, left.operator, left.account) == (Event.ATTEMPT_UNAUTHENTICATED, None, None)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", [route for route, ends in ROUTES.items() if isinstance(ends, str)])
async def test_a_public_door_leaves_nothing(desk: Gateway, route: str) -> None:
    method, path = route.split(" ")
    log = desk.chamber().log
    await desk.employ("nobody", [Role.AUDITOR], [])
    before = await log.size()
    region = str(desk.office.seat)
    await desk.ask(method, path.format(region=region, tile="tile/0/000", name="console.css"), "nobody")
    assert await log.size() == before
