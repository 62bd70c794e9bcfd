"""What a hold means: LAW.md, "Legal holds: how the field behaves", line by line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.address import Address
from policy.clearance import NotCleared, Role, SamePerson
from policy.hold import (
    ACCOUNT_ITSELF,
    DELAY_HOLD,
    Basis,
    DomainScope,
    Hold,
    HoldError,
    HoldId,
    HoldScope,
    HoldState,
    Item,
    Mailbox,
    MailboxScope,
    MatterScope,
    Phase,
    TwoPeopleNeeded,
    confirm_end,
    enrol,
    forbidding,
    is_held,
    prolong,
    propose_end,
    reject_end,
    require_placer,
)
from policy.hold_query import QueryError, TrafficQuery
from policy.order import Timespan
from policy.rules import AtExpiry
from tests.holds.people import AOIFE, DE, EPOC_PR, IE, LIAM, LITIGATION, NORA, NOW, cleared

DAY = timedelta(days=1)
ACCOUNT = "a" * 32
MAILBOX = Mailbox(ACCOUNT, frozenset({AOIFE, Address.parse("a.byrne@example.com")}))
OTHER = Mailbox("b" * 32, frozenset({Address.parse("brian@example.ie")}))
YESTERDAY = Item(NOW - DAY)
WHOLE = MailboxScope(ACCOUNT, AOIFE)


def hold(
    *,
    scope: HoldScope = WHOLE,
    basis: Basis = LITIGATION,
    timespan: Timespan | None = None,
    query: TrafficQuery | None = None,
    until: datetime | None = None,
    at_expiry: AtExpiry = AtExpiry.LAPSE,
) -> Hold:
    return Hold(
        id=HoldId("0" * 32),
        region=IE,
        scope=scope,
        basis=basis,
        placed_by="nora",
        placed_at=NOW,
        timespan=timespan,
        query=query,
        until=until,
        at_expiry=at_expiry,
    )


@dataclass(frozen=True)
class Mail:
    """Traffic data with what a test gives it."""

    sender: str = "brian@example.ie"
    recipient: str = "aoife@example.ie"
    message_id: str | None = "<1@example.ie>"
    from_: str | None = "Brian <brian@example.ie>"
    to: str | None = "aoife@example.ie"
    cc: str | None = None
    cut: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("scope", "mailbox", "touched"),
    [
        (MailboxScope(ACCOUNT, AOIFE), MAILBOX, True),
        (MailboxScope(ACCOUNT, AOIFE), OTHER, False),
        # The account counts, not the address: taking an alias away must not end a hold.
        (MailboxScope(ACCOUNT, AOIFE), Mailbox(ACCOUNT, frozenset()), True),
        (DomainScope("example.ie"), MAILBOX, True),
        (DomainScope("example.ie"), OTHER, True),
        (DomainScope("example.com"), MAILBOX, True),  # by its alias
        (DomainScope("example.com"), OTHER, False),
        (MatterScope("2026/1", frozenset({ACCOUNT})), MAILBOX, True),
        (MatterScope("2026/1", frozenset({ACCOUNT})), OTHER, False),
    ],
)
def test_scope(scope: HoldScope, mailbox: Mailbox, touched: bool) -> None:
    assert hold(scope=scope).touches(mailbox) is touched


def test_a_timespan_is_half_open_and_the_account_itself_is_always_held() -> None:
    held = hold(timespan=Timespan(NOW - DAY, NOW))
    assert held.holds(MAILBOX, Item(NOW - DAY), NOW)
    assert not held.holds(MAILBOX, Item(NOW), NOW)
    assert held.holds(MAILBOX, ACCOUNT_ITSELF, NOW)


def test_later_mail_that_matches_is_caught_too() -> None:
    held = hold(timespan=Timespan(NOW - DAY, NOW + 9 * DAY))
    assert held.holds(MAILBOX, Item(NOW + 5 * DAY), NOW + 6 * DAY)


@pytest.mark.parametrize(
    ("query", "mail", "matches"),
    [
        (TrafficQuery(parties=frozenset({AOIFE})), Mail(), True),
        (TrafficQuery(parties=frozenset({AOIFE})), Mail(recipient="x@y.ie", to="Aoife@Example.IE"), True),
        (TrafficQuery(parties=frozenset({AOIFE})), Mail(recipient="x@y.ie", to="t-aoife@example.ie"), False),
        (
            TrafficQuery(parties=frozenset({AOIFE})),
            Mail(recipient="x@y.ie", to="aoife@example.ie.evil"),
            False,
        ),
        (
            TrafficQuery(parties=frozenset({AOIFE})),
            Mail(recipient="x@y.ie", to="b@y.ie, aoife@example.ie."),
            True,
        ),
        (
            TrafficQuery(parties=frozenset({AOIFE})),
            Mail(recipient="x@y.ie", to=None, cc="<aoife@example.ie>"),
            True,
        ),
        (TrafficQuery(parties=frozenset({AOIFE})), Mail(recipient="x@y.ie", to="x@y.ie", cut=("to",)), True),
        (TrafficQuery(domains=frozenset({"example.ie"})), Mail(), True),
        (TrafficQuery(domains=frozenset({"ample.ie"})), Mail(), False),
        (TrafficQuery(domains=frozenset({"ie"})), Mail(), True),
        (TrafficQuery(domains=frozenset({"xn--bcher-kva.example"})), Mail(to="a@bücher.example"), True),
        (TrafficQuery(message_ids=frozenset({"1@example.ie"})), Mail(), True),
        (TrafficQuery(message_ids=frozenset({"2@example.ie"})), Mail(), False),
        (TrafficQuery(message_ids=frozenset({"2@example.ie"})), Mail(cut=("message_id",)), True),
        # Every part has to match.
        (TrafficQuery(frozenset({AOIFE}), message_ids=frozenset({"2@example.ie"})), Mail(), False),
    ],
)
def test_query(query: TrafficQuery, mail: Mail, matches: bool) -> None:
    held = hold(query=query)
    assert held.holds(MAILBOX, Item(NOW, mail), NOW) is matches
    assert held.holds(MAILBOX, Item(NOW), NOW), "unread traffic data is a doubt, and a doubt keeps"


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(QueryError):
        TrafficQuery()


@pytest.mark.parametrize("day", [30, 31])
def test_an_end_at_the_end_of_the_calendar_stops_no_register(day: int) -> None:
    for_ever = datetime(9999, 12, day, 23, 59, tzinfo=UTC)
    held = hold(until=for_ever)
    assert held.keeps(for_ever - DAY)
    assert held.phase(NOW) is Phase.IN_FORCE
    assert held.keeps_until is not None
    assert held.keeps_until >= for_ever


def test_several_holds_keep_while_any_is_in_force() -> None:
    first, second = hold(), replace(hold(), id=HoldId("1" * 32))
    ended = confirm_end(propose_end(first, NORA, "settled", NOW), LIAM, NOW)
    late = NOW + DELAY_HOLD
    assert forbidding([ended, second], MAILBOX, YESTERDAY, late) == (second,)
    assert not is_held([ended], MAILBOX, YESTERDAY, late)


def test_a_release_takes_two_people_and_a_grace_period() -> None:
    proposed = propose_end(hold(), NORA, "settled", NOW)
    assert proposed.phase(NOW) is Phase.RELEASE_PROPOSED
    assert proposed.keeps_until is None, "one person changes nothing that is kept"
    for same in (NORA, cleared("Nora"), cleared(" nora ")):
        with pytest.raises(SamePerson):
            confirm_end(proposed, same, NOW)
    released = confirm_end(proposed, LIAM, NOW)
    assert released.phase(NOW) is Phase.GRACE
    assert released.holds(MAILBOX, YESTERDAY, NOW + DELAY_HOLD - timedelta(microseconds=1))
    assert not released.holds(MAILBOX, YESTERDAY, NOW + DELAY_HOLD)
    assert released.phase(NOW + DELAY_HOLD) is Phase.ENDED
    with pytest.raises(HoldState, match="released"):
        propose_end(released, NORA, "again", NOW)


def test_shortening_takes_two_people_and_prolonging_one() -> None:
    held = hold(until=NOW + 60 * DAY)
    with pytest.raises(TwoPeopleNeeded):
        prolong(held, NORA, NOW + 59 * DAY, NOW)
    with pytest.raises(TwoPeopleNeeded):
        prolong(hold(), NORA, NOW + 59 * DAY, NOW)  # an end for what had none is a shortening
    assert prolong(held, NORA, NOW + 90 * DAY, NOW).until == NOW + 90 * DAY
    assert prolong(held, NORA, None, NOW).until is None
    with pytest.raises(HoldError, match="no earlier"):
        propose_end(held, NORA, "court", NOW, until=NOW + 90 * DAY)
    proposed = propose_end(held, NORA, "court", NOW, until=NOW + 30 * DAY)
    assert proposed.until == NOW + 60 * DAY
    assert confirm_end(proposed, LIAM, NOW).until == NOW + 30 * DAY


def test_a_shorter_term_that_ran_out_unconfirmed_still_gets_its_grace() -> None:
    proposed = propose_end(hold(), NORA, "court", NOW, until=NOW + DAY)
    ended = confirm_end(proposed, LIAM, NOW + 2 * DAY)
    assert ended.keeps_until == NOW + 2 * DAY + DELAY_HOLD


def test_nothing_is_confirmed_that_nobody_proposed() -> None:
    with pytest.raises(TwoPeopleNeeded):
        confirm_end(hold(), LIAM, NOW)
    with pytest.raises(HoldState):
        reject_end(hold(), LIAM)
    rejected = reject_end(propose_end(hold(), NORA, "settled", NOW), LIAM)
    with pytest.raises(TwoPeopleNeeded):
        confirm_end(rejected, LIAM, NOW)


@pytest.mark.parametrize(
    ("basis", "at_expiry", "grace"),
    [
        (LITIGATION, AtExpiry.LAPSE, DELAY_HOLD),
        (EPOC_PR, AtExpiry.LAPSE, timedelta(0)),  # Reg. (EU) 2023/1543 Art. 11(1)
        (EPOC_PR, AtExpiry.DESTROY, timedelta(0)),  # Criminal Code (Canada) s. 487.0194
    ],
)
def test_expiry(basis: Basis, at_expiry: AtExpiry, grace: timedelta) -> None:
    end = NOW + 60 * DAY
    held = hold(basis=basis, until=end, at_expiry=at_expiry)
    assert held.holds(MAILBOX, YESTERDAY, end - timedelta(microseconds=1))
    assert held.keeps_until == end + grace
    assert not held.holds(MAILBOX, YESTERDAY, end + grace)


def test_a_hold_that_destroys_needs_an_end() -> None:
    with pytest.raises(HoldError, match="until"):
        hold(at_expiry=AtExpiry.DESTROY)


def test_who_may() -> None:
    require_placer(cleared("clerk", Role.INTAKE), IE, EPOC_PR)
    for clearance, basis in (
        (cleared("clerk", Role.INTAKE), LITIGATION),
        (cleared("counsel", Role.APPROVER), EPOC_PR),
        (cleared("nora", region=DE), LITIGATION),
    ):
        with pytest.raises(NotCleared):
            require_placer(clearance, IE, basis)
    for stranger in (cleared("clerk", Role.INTAKE), cleared("uwe", region=DE)):
        with pytest.raises(NotCleared):
            propose_end(hold(), stranger, "please", NOW)
        with pytest.raises(NotCleared):
            confirm_end(propose_end(hold(), NORA, "settled", NOW), stranger, NOW)


def test_a_matter_takes_in_more_accounts_and_a_mailbox_hold_does_not() -> None:
    matter = hold(scope=MatterScope("2026/1", frozenset()))
    assert enrol(matter, NORA, ACCOUNT, NOW).touches(MAILBOX)
    with pytest.raises(HoldState):
        enrol(hold(), NORA, ACCOUNT, NOW)


@given(
    st.lists(
        st.tuples(st.sampled_from("PCRX"), st.sampled_from([NORA, LIAM]), st.integers(0, 40)), max_size=12
    )
)
def test_no_sequence_of_acts_of_one_person_ends_a_hold_early(acts: list[tuple[str, object, int]]) -> None:
    """Whatever NORA does alone, the hold keeps as long as it did."""
    held = hold(until=NOW + 50 * DAY)
    for act, _, days in acts:
        at = NOW + days * DAY
        try:
            match act:
                case "P":
                    held = propose_end(held, NORA, "x", at, until=NOW + 20 * DAY if days % 2 else None)
                case "C":
                    held = confirm_end(held, NORA, at)
                case "R":
                    held = prolong(held, NORA, NOW + (30 + days) * DAY, at)
                case _:
                    held = reject_end(held, NORA)
        except (SamePerson, HoldError):
            continue
    assert held.keeps_until is not None
    assert held.keeps_until >= NOW + 50 * DAY + DELAY_HOLD
