"""Legal holds: what must not be deleted, for whom, until when, and who may say that it is over.

Pure matching and pure transitions. A hold answers one question, `may this be deleted?`, and in
doubt it says no: a message whose traffic data cannot be read matches every query, a whole account
is held by any hold that touches a part of it.

Several holds on one mailbox are independent: it is held while any of them keeps it (LAW.md,
"Legal holds"). Placing and prolonging take one custodian, releasing and shortening two people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, final

from policy.address import Address
from policy.clearance import Clearance, NotCleared, Role, SamePerson
from policy.geography import Jurisdiction, RegionCode
from policy.hold_query import Traffic, TrafficQuery
from policy.order import Timespan
from policy.rules import AtExpiry

# The delay hold of Microsoft Exchange: a mailbox whose last hold was removed stays on hold for 30
# days, so that a release by mistake can be taken back before anything is gone.
# https://learn.microsoft.com/purview/ediscovery-identify-a-hold-on-an-exchange-online-mailbox
DELAY_HOLD: Final = timedelta(days=30)
_LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)

_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
_REASON_LIMIT: Final = 1000
_MATTER_LIMIT: Final = 256  # as the order's claim `matter`


class HoldError(ValueError):
    """A hold, or a change to one, breaks a rule. `field` names what, `rule` what was expected."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field: Final = field
        self.rule: Final = rule


class HoldState(HoldError):
    """The hold is not in a state in which that can be done to it."""


class TwoPeopleNeeded(HoldState):
    """One custodian alone may not end or shorten a hold."""


@final
@dataclass(frozen=True, slots=True, order=True)
class HoldId:
    """32 hexadecimal digits; sorts by the time of placing (a UUIDv7)."""

    value: str

    @classmethod
    def parse(cls, text: str) -> HoldId:
        """Raises HoldError for anything else."""
        if not _ID.match(text):
            raise HoldError("hold", f"{text[:80]!r} is not a hold's reference (32 hexadecimal digits)")
        return cls(text)

    def __str__(self) -> str:
        return self.value


@final
@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox as a hold sees it: a name that never changes, and every address that leads there."""

    account: str
    addresses: frozenset[Address]


@final
@dataclass(frozen=True, slots=True)
class MailboxScope:
    """One account, however its aliases change. `address` is what the custodian asked for."""

    account: str
    address: Address


@final
@dataclass(frozen=True, slots=True)
class DomainScope:
    """Every account of the region with an address in the domain, those to come too."""

    domain: str  # as `Address.domain` writes it


@final
@dataclass(frozen=True, slots=True)
class MatterScope:
    """The accounts that have been named in a matter; more can be enrolled while it lasts."""

    matter: str
    accounts: frozenset[str]


HoldScope = MailboxScope | DomainScope | MatterScope


def _after_delay(moment: datetime) -> datetime:
    """With the delay hold after it. Somebody's "for ever" is 9999-12-31: there a hold ends with the
    calendar, and does not stop the whole register, which every deletion reads."""
    return min(moment, _LAST_MOMENT - DELAY_HOLD) + DELAY_HOLD


@final
@dataclass(frozen=True, slots=True)
class OrderBasis:
    """An authority's order obliges us to preserve. `digest` is of the order as received."""

    instrument: str
    reference: str
    issuer: str
    issuing_state: Jurisdiction
    digest: str


@final
@dataclass(frozen=True, slots=True)
class OwnLitigation:
    """The provider's own duty to keep evidence."""

    reason: str


Basis = OrderBasis | OwnLitigation


@final
@dataclass(frozen=True, slots=True)
class Proposal:
    """What one custodian would do, and a second one has to confirm: release (`until` None) or shorten."""

    by: str
    at: datetime
    reason: str
    until: datetime | None = None


@final
@dataclass(frozen=True, slots=True)
class Release:
    """Who ended the hold, and when."""

    at: datetime
    proposed_by: str
    confirmed_by: str
    reason: str


class Phase(StrEnum):
    """Where a hold stands. Everything is kept in all of them but the last."""

    IN_FORCE = "in force"
    RELEASE_PROPOSED = "release proposed"
    GRACE = "grace"  # released, and the delay hold still runs
    ENDED = "ended"


@final
@dataclass(frozen=True, slots=True)
class Item:
    """What somebody wants to delete. `received_at` None: not a message but a part of the account
    itself (its keys, its record), which any hold on the account keeps. `traffic` None: not read."""

    received_at: datetime | None = None
    traffic: Traffic | None = None


ACCOUNT_ITSELF: Final = Item()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold. Times are aware UTC; `until` None is open-ended."""

    id: HoldId
    region: RegionCode
    scope: HoldScope
    basis: Basis
    placed_by: str
    placed_at: datetime
    timespan: Timespan | None = None
    query: TrafficQuery | None = None
    matter: str | None = None
    until: datetime | None = None
    at_expiry: AtExpiry = AtExpiry.LAPSE
    proposal: Proposal | None = None
    release: Release | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.placed_at:
            raise HoldError("until", "must be later than the moment of placing")
        if self.at_expiry is AtExpiry.DESTROY and self.until is None:
            raise HoldError("until", "a hold that destroys at its expiry needs one")
        if self.matter is not None:
            _printable("matter", self.matter, _MATTER_LIMIT)
        if isinstance(self.basis, OwnLitigation):
            _printable("basis.reason", self.basis.reason, _REASON_LIMIT)

    @property
    def keeps_until(self) -> datetime | None:
        """The moment from which this hold forbids nothing any more; None: no such moment is known.

        A release is followed by the delay hold, and so is the expiry of our own litigation hold.
        A preservation that an authority ordered ends with its term, to the day: what it kept may
        not be kept longer on its account (Reg. (EU) 2023/1543 Art. 11(1): "the preservation shall
        cease"; Criminal Code (Canada) s. 487.0194: destroyed as soon as feasible).
        """
        ends: list[datetime] = []
        if self.release is not None:
            ends.append(_after_delay(self.release.at))
        if self.until is not None:
            lapses_at_once = isinstance(self.basis, OrderBasis) or self.at_expiry is AtExpiry.DESTROY
            ends.append(self.until if lapses_at_once else _after_delay(self.until))
        return min(ends, default=None)

    def keeps(self, now: datetime) -> bool:
        """Whether this hold forbids anything at `now`."""
        end = self.keeps_until
        return end is None or now < end

    def phase(self, now: datetime) -> Phase:
        if not self.keeps(now):
            return Phase.ENDED
        if self.release is not None or (self.until is not None and now >= self.until):
            return Phase.GRACE
        return Phase.RELEASE_PROPOSED if self.proposal is not None else Phase.IN_FORCE

    def touches(self, mailbox: Mailbox) -> bool:
        """Whether the mailbox is in scope, at whatever time."""
        match self.scope:
            case MailboxScope(account=account):
                return account == mailbox.account
            case DomainScope(domain=domain):
                return any(address.domain == domain for address in mailbox.addresses)
            case MatterScope(accounts=accounts):
                return mailbox.account in accounts

    def covers(self, item: Item) -> bool:
        """Whether a thing in a mailbox in scope is meant. In doubt it is."""
        if item.received_at is None:
            return True  # without its keys and its record nothing of the account can be shown
        if self.timespan is not None and item.received_at not in self.timespan:
            return False
        return self.query is None or item.traffic is None or self.query.matches(item.traffic)

    def holds(self, mailbox: Mailbox, item: Item, now: datetime) -> bool:
        """Whether this hold forbids deleting the thing at `now`."""
        return self.keeps(now) and self.touches(mailbox) and self.covers(item)


def forbidding(holds: Iterable[Hold], mailbox: Mailbox, item: Item, now: datetime) -> tuple[Hold, ...]:
    """The holds by which this may not be deleted at `now`; none, and it may."""
    return tuple(hold for hold in holds if hold.holds(mailbox, item, now))


def is_held(holds: Iterable[Hold], mailbox: Mailbox, item: Item, now: datetime) -> bool:
    """Whether any of these holds forbids deleting the thing at `now`."""
    return any(hold.holds(mailbox, item, now) for hold in holds)


def require_placer(clearance: Clearance, region: RegionCode, basis: Basis) -> None:
    """Who may place a hold: a custodian; where an order obliges us, whoever brings the order too.

    Raises NotCleared.
    """
    roles = {Role.CUSTODIAN, Role.INTAKE} if isinstance(basis, OrderBasis) else {Role.CUSTODIAN}
    if clearance.role not in roles or clearance.region != region:
        raise NotCleared(f"a custodian's clearance for {region} is needed")


def propose_end(
    hold: Hold, custodian: Clearance, reason: str, now: datetime, *, until: datetime | None = None
) -> Hold:
    """The first of two people: release (`until` None), or an earlier end. Changes nothing that is kept.

    A later proposal replaces an earlier one, and needs a second person of its own. Raises
    NotCleared, HoldState, HoldError.
    """
    _require_custodian(hold, custodian)
    _require_open(hold, now)
    _printable("reason", reason, _REASON_LIMIT)
    if until is not None:
        if until <= now:
            raise HoldError("until", "must lie in the future; release the hold instead")
        if hold.until is not None and until >= hold.until:
            raise HoldError("until", "is no earlier than the hold's end; prolong it instead")
    return replace(hold, proposal=Proposal(custodian.operator.name, now, reason, until))


def confirm_end(hold: Hold, custodian: Clearance, now: datetime, seen: Proposal | None = None) -> Hold:
    """The second of two people, who confirms what they have `seen` (None: whatever is proposed).

    Raises SamePerson, NotCleared, and HoldState where nothing is proposed, or something else by now.
    """
    _require_custodian(hold, custodian)
    _require_open(hold, now)
    proposal = hold.proposal
    if proposal is None:
        raise TwoPeopleNeeded("release", "one custodian proposes and another confirms; nothing is proposed")
    if seen is not None and proposal != seen:
        raise HoldState("release", "another end is proposed by now than the one that was seen")
    if _person(proposal.by) == _person(custodian.operator.name):
        raise SamePerson("the one who proposed to end a hold cannot confirm it")
    # A shorter term that has run out while nobody confirmed it is a release at this moment.
    if proposal.until is not None and proposal.until > now:
        return replace(hold, until=proposal.until, proposal=None)
    release = Release(now, proposal.by, custodian.operator.name, proposal.reason)
    return replace(hold, proposal=None, release=release)


def reject_end(hold: Hold, custodian: Clearance) -> Hold:
    """Takes a proposal off the table: anybody's, the proposer's own too. Raises NotCleared, HoldState."""
    _require_custodian(hold, custodian)
    if hold.proposal is None:
        raise HoldState("release", "nothing is proposed")
    return replace(hold, proposal=None)


def prolong(hold: Hold, custodian: Clearance, until: datetime | None, now: datetime) -> Hold:
    """A later end, or none. One person suffices: more is kept, not less.

    Raises NotCleared, HoldState, and TwoPeopleNeeded for an end that is not later.
    """
    require_placer(custodian, hold.region, hold.basis)
    _require_open(hold, now)
    if until is not None and (hold.until is None or until <= hold.until):
        raise TwoPeopleNeeded("until", "is no later than the hold's end: shortening takes two people")
    return replace(hold, until=until, proposal=None)


def enrol(hold: Hold, custodian: Clearance, account: str, now: datetime) -> Hold:
    """One more account in a matter's hold. Raises NotCleared, HoldState."""
    require_placer(custodian, hold.region, hold.basis)
    _require_open(hold, now)
    if not isinstance(hold.scope, MatterScope):
        raise HoldState("scope", "only a matter's hold takes in more accounts")
    return replace(hold, scope=MatterScope(hold.scope.matter, hold.scope.accounts | {account}))


def _require_custodian(hold: Hold, clearance: Clearance) -> None:
    if clearance.role is not Role.CUSTODIAN or clearance.region != hold.region:
        raise NotCleared(f"a custodian's clearance for {hold.region} is needed")


def _require_open(hold: Hold, now: datetime) -> None:
    if hold.release is not None:
        raise HoldState("hold", "has been released")
    if hold.until is not None and now >= hold.until:
        raise HoldState("hold", "has expired")


def _person(name: str) -> str:
    return " ".join(name.casefold().split())


def _printable(field: str, text: str, limit: int) -> None:
    if not text.strip() or len(text) > limit or not text.isprintable():
        raise HoldError(field, f"1 to {limit} printable characters are expected")
