"""Entries: one spelling, a published schema, nobody's name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from policy.geography import Jurisdiction, RegionCode
from policy.order import DataCategory
from storage.audit.canonical import is_plain_entry
from storage.audit.entry import ENTRY_BYTES, Entry, EntryError, Event, Result
from storage.audit.pseudonym import Pseudonyms
from tests.audit.logs import NOW, REGION, entry

SCHEMA = json.loads((Path(__file__).parents[2] / "deploy/audit-entry.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

_number = st.text("0123456789abcdef", min_size=32, max_size=32)
_digest = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)
_code = st.from_regex(r"[a-z0-9]{1,6}([.-][a-z0-9]{1,6}){0,3}", fullmatch=True)
_reference = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
_categories = st.frozensets(st.sampled_from(list(DataCategory)))
_issuer = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=256)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


entries = st.builds(
    Entry,
    time=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),
    event=st.sampled_from(list(Event)),
    region=st.just(REGION),
    id=_number,
    outcome=_maybe(st.sampled_from(list(Result))),
    instrument=_maybe(_code),
    claimed_jurisdiction=_maybe(st.from_regex(r"[A-Z]{2}", fullmatch=True).map(Jurisdiction)),
    issuer=_maybe(_issuer | st.just("District Court, Dublin (No. 3) & Co/x-y")),
    requested=_categories,
    categories=_categories,
    emergency=_maybe(st.booleans()),
    findings=st.lists(_code, max_size=5).map(tuple),
    lawbook=_maybe(_digest),
    operator=_maybe(_number),
    account=_maybe(_number),
    disclosure=_maybe(_reference),
    hold=_maybe(_reference),
    subject=_maybe(_digest),
    record=_maybe(_digest),
)


@given(entries)
def test_an_entry_is_what_its_bytes_say(value: Entry) -> None:
    assert Entry.decode(value.encode()) == value


@given(entries)
def test_an_entry_fits_the_published_schema(value: Entry) -> None:
    VALIDATOR.validate(json.loads(value.encode()))


def test_the_schema_knows_every_field_and_word() -> None:
    fields = {"v"} | set(Entry.__dataclass_fields__)
    assert set(SCHEMA["properties"]) == fields
    assert SCHEMA["properties"]["event"]["enum"] == [event.value for event in Event]
    assert SCHEMA["properties"]["outcome"]["enum"] == [result.value for result in Result]
    assert SCHEMA["$defs"]["categories"]["items"]["enum"] == [category.value for category in DataCategory]


@given(entries)
def test_the_short_way_says_yes_to_what_we_write(value: Entry) -> None:
    """Only a name outside plain ASCII, and the last days of a month, take the long way."""
    plain = (value.issuer is None or value.issuer.isascii()) and value.time.day <= 28
    if plain and (value.issuer is None or value.issuer.startswith("District")):
        assert is_plain_entry(value.encode(), REGION.value)


@given(entries, st.data())
@example(entry(1), None)
def test_the_short_way_never_says_yes_where_the_long_way_says_no(
    value: Entry, data: st.DataObject | None
) -> None:
    """Bytes near to an entry's: some byte replaced, removed or put in."""
    body = bytearray(value.encode())
    if data is not None:
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["replace", "remove", "insert"])):
            case "replace":
                body[at] = data.draw(st.integers(0, 255))
            case "remove":
                del body[at]
            case _:
                body.insert(at, data.draw(st.integers(0, 255)))
    if is_plain_entry(bytes(body), REGION.value):
        assert Entry.decode(bytes(body)).region == REGION


_NEAR: dict[str, list[object]] = {
    "v": [2, "1", 1.5, True, None],
    "id": ["", "0" * 31, "G" * 32, 5, None],
    "time": ["2026-02-30T00:00:00.000Z", "2026-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z", 5],
    "event": ["no.such", 5, None],
    "region": ["EU", "us-east-1x!", 7],
    "outcome": ["grant", []],
    "instrument": ["IE", "a..b", "", 5],
    "claimed_jurisdiction": ["ie", "IRL", 5],
    "issuer": ["", "a\nb", "x" * 257, 5],
    "requested": [["content", 5], ["mail"], "content", [[]]],
    "categories": [["content", "content"], ["traffic", "content"], []],
    "emergency": ["true", 1, 0],
    "findings": [["Storage Law"], "x", [], [5]],
    "lawbook": ["sha256:0", "md5:" + "0" * 64],
    "record": ["sha256:" + "A" * 64],
    "disclosure": ["../../x", "a@b.example", ""],
    "address": ["aoife@example.ie"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in _NEAR.items() for v in values])
def test_what_is_no_entry_is_refused_by_name(name: str, value: object) -> None:
    good = json.loads(entry(1).encode())
    body = rfc8785.dumps(good | {name: value})
    with pytest.raises(EntryError) as caught:
        Entry.decode(body)
    assert name in str(caught.value) or "canonical" in str(caught.value)
    assert not is_plain_entry(body, REGION.value)


@pytest.mark.parametrize("name", ["v", "id", "time", "event", "region"])
def test_what_every_entry_has_may_not_be_left_out(name: str) -> None:
    body = json.loads(entry(1).encode())
    del body[name]
    with pytest.raises(EntryError):
        Entry.decode(rfc8785.dumps(body))


_RAW = [
    b"",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"v":1,"v":1}',
    b"[" * 100_000,
    entry(1).encode().replace(b",", b", "),  # not RFC 8785: a space
    entry(1).encode()[:-1] + b',"a":1}',
    b" " + entry(1).encode(),
]


@pytest.mark.parametrize("body", _RAW, ids=range(len(_RAW)))
def test_another_spelling_is_not_an_entry(body: bytes) -> None:
    with pytest.raises(EntryError):
        Entry.decode(body)


def test_times_are_utc_to_the_millisecond() -> None:
    local = datetime(2026, 11, 24, 10, 30, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert json.loads(replace(entry(1), time=local).encode())["time"] == "2026-11-24T09:30:00.123Z"
    with pytest.raises(EntryError, match="aware"):
        replace(entry(1), time=datetime(2026, 1, 1))


def test_two_entries_that_say_the_same_are_still_two() -> None:
    one, other = (Entry(time=NOW, event=Event.SERVER_STARTED, region=REGION) for _ in range(2))
    assert one.encode() != other.encode()


def test_an_entry_has_an_upper_size() -> None:
    with pytest.raises(EntryError, match=str(ENTRY_BYTES)):
        replace(entry(1), findings=("storage-law",) * 1000).encode()


def test_a_pseudonym_is_one_person_in_one_region() -> None:
    ireland, germany = Pseudonyms(bytes(32)), Pseudonyms(b"\x01" * 32)
    assert ireland.account("a" * 32) == ireland.account("a" * 32)
    names = {
        ireland.account("aoife@example.ie"),
        ireland.address("aoife@example.ie"),
        ireland.operator("aoife@example.ie"),
        germany.account("aoife@example.ie"),
        germany.operator("aoife@example.ie"),
    }
    assert len(names) == 5, "a pseudonym says of what kind and of which region it is"
    for name in names:
        assert replace(entry(1), account=name, operator=name)
    with pytest.raises(ValueError, match="32 bytes"):
        Pseudonyms(b"short")


@given(st.text())
def test_a_pseudonym_tells_nothing_of_the_name(name: str) -> None:
    found = Pseudonyms(bytes(32)).operator(name)
    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")


def test_a_region_is_part_of_what_is_checked() -> None:
    other = Entry(time=NOW, event=Event.SERVER_STARTED, region=RegionCode.parse("us-east-1"))
    assert not is_plain_entry(other.encode(), REGION.value)
    assert Entry.decode(other.encode()) == other
