"""Names that are times: a timespan of an order is a range of keys, and nothing else is."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.order import Timespan
from storage.identity import AccountId, IdentityError, KeyRange, MessageId, MessageIds

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
MOMENTS: Final = st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC))


@given(moment=MOMENTS, start=MOMENTS, length=st.timedeltas(timedelta(microseconds=1), timedelta(days=400)))
def test_received_in_the_timespan_and_key_in_the_range_are_one_statement(
    moment: datetime, start: datetime, length: timedelta
) -> None:
    message = MessageIds().issue(moment)
    timespan = Timespan(start, start + length)
    assert timedelta(0) <= moment - message.received_at < timedelta(milliseconds=1)
    assert (message.received_at in timespan) == (message in KeyRange.of(timespan))
    assert message in KeyRange.of(None)


@given(moment=MOMENTS, microseconds=st.integers(-2000, 2000))
def test_a_boundary_nearby_is_still_one_statement(moment: datetime, microseconds: int) -> None:
    message = MessageIds().issue(moment + timedelta(milliseconds=2))
    edge = moment + timedelta(milliseconds=2, microseconds=microseconds)
    for timespan in (
        Timespan(edge, edge + timedelta(days=1)),
        Timespan(edge - timedelta(days=1) if edge.year > 1970 else moment - timedelta(days=1), edge),
    ):
        assert (message.received_at in timespan) == (message in KeyRange.of(timespan))


def test_ids_rise_within_a_millisecond_and_are_uuids_of_version_7() -> None:
    ids = MessageIds()
    issued = [ids.issue(NOW) for _ in range(1000)]
    assert issued == sorted(set(issued))
    for message in issued:
        as_uuid = uuid.UUID(message.value)
        assert (as_uuid.version, as_uuid.variant) == (7, uuid.RFC_4122)
        assert MessageId.parse(message.value) == message
    # A clock that steps back gives an earlier id: it says when the message came.
    assert ids.issue(NOW - timedelta(seconds=1)) < issued[0]


@pytest.mark.parametrize(
    "text", ["", "x" * 32, "0" * 32, "0192F0C1D2E37ABC8DEF0123456789AB", "a" * 31 + "\n"]
)
def test_what_is_no_message_id(text: str) -> None:
    with pytest.raises(IdentityError):
        MessageId.parse(text)


@pytest.mark.parametrize("text", ["", "g" * 32, "A" * 32, "a" * 33, "../" + "a" * 29])
def test_what_is_no_account_id(text: str) -> None:
    with pytest.raises(IdentityError):
        AccountId.parse(text)


def test_a_time_before_all_mail_is_refused() -> None:
    with pytest.raises(IdentityError):
        MessageIds().issue(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
