"""What a custodian asks to be held, out of the words of a request: whose mail, which of it, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from gateway.disclosure.attempt import Attempt
from gateway.disclosure.hold_models import HoldQuery, HoldRequest
from gateway.disclosure.problems import Kind, Problem, fault
from policy.address import Address, AddressError, parse_domain
from policy.clearance import Clearance, NotCleared, Role
from policy.geography import GeographyError, Region, RegionCode
from policy.hold import DomainScope, HoldScope, MailboxScope, MatterScope
from policy.hold_query import QueryError, TrafficQuery
from storage.errors import UnknownAddress
from storage.located import Located

_T = TypeVar("_T")


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """A scope that the asker may hold. `alone`: the one mailbox that an order could name."""

    scope: HoldScope
    by: Clearance
    alone: tuple[Address, Region] | None = None


async def asked_scope(attempt: Attempt, body: HoldRequest) -> Asked:
    """Raises Problem: 422 for words that mean nothing, 403 where the asker is not cleared. No clearance
    and no mailbox are one answer by one way, as at intake."""
    if body.domain is not None and body.region is not None:
        domain = _parsed("domain", body.domain, parse_domain)
        by = _cleared(attempt, _parsed("region", body.region, RegionCode.parse))
        attempt.enter(attempt.office.chambers[by.region], None)
        return Asked(DomainScope(domain), by)
    if body.address is not None:
        address = _parsed("address", body.address, Address.parse)
        located, by = await _located(attempt, address)
        attempt.enter(attempt.office.chambers[by.region], located.account)
        return Asked(MailboxScope(str(located.account), address), by, (address, located.home))
    several = enumerate(body.addresses or (), start=1)
    found = [await _one_of(attempt, number, text) for number, text in several]
    by = found[0][1]
    attempt.enter(attempt.office.chambers[by.region], None)
    if any(located.home.code != by.region for located, _ in found):
        raise fault("addresses", "are at home in several regions: place one hold in each")
    return Asked(MatterScope(body.matter or "", frozenset(str(one.account) for one, _ in found)), by)


def asked_query(query: HoldQuery | None) -> TrafficQuery | None:
    """Raises Problem 422."""
    if query is None:
        return None
    try:
        return TrafficQuery(
            frozenset(_several("query.parties", query.parties, Address.parse)),
            frozenset(_several("query.domains", query.domains, parse_domain)),
            frozenset(query.message_ids),
        )
    except QueryError as error:
        raise fault("query", str(error).removeprefix("query: ")) from None


async def _one_of(attempt: Attempt, number: int, text: str) -> tuple[Located, Clearance]:
    """As `_located`; the problem says which of several it was, and no more than it would alone."""
    try:
        return await _located(attempt, _parsed("addresses", text, Address.parse))
    except Problem as problem:
        if problem.kind is not Kind.CLEARANCE:
            raise
        raise Problem(Kind.CLEARANCE, f"addresses: number {number}: {Kind.CLEARANCE.title}") from None


async def _located(attempt: Attempt, address: Address) -> tuple[Located, Clearance]:
    attempt.concerns(address)
    try:
        located = await attempt.office.directory.find(address)
        return located, attempt.asker.cleared(Role.CUSTODIAN, located.home.code)
    except (UnknownAddress, NotCleared):
        raise Problem(Kind.CLEARANCE) from None


def _cleared(attempt: Attempt, region: RegionCode) -> Clearance:
    try:
        return attempt.asker.cleared(Role.CUSTODIAN, region)
    except NotCleared:
        raise Problem(Kind.CLEARANCE) from None


def _several(field: str, texts: Sequence[str], parse: Callable[[str], _T]) -> list[_T]:
    return [_parsed(field, text, parse) for text in texts]


def _parsed(field: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except (AddressError, GeographyError) as error:
        raise fault(field, str(error)) from None
