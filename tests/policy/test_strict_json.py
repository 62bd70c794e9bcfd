"""JSON that two readers could read differently is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.strict_json import MAX_DEPTH, JsonFault, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80)
@given(VALUES)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert parse(json.dumps(value).encode(), max_depth=50) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode(), max_depth=50) == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b'{"a": 1, "a": 1}', "'a' stands twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "'b' stands twice"),
        (b'[{"a": 1, "a": 2}]', "'a' stands twice"),
        (b"[NaN]", "NaN is not JSON"),
        (b"Infinity", "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'"\xff"', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"1" * 5000, "a number is too long"),
        (b"{'a': 1}", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"", "not JSON"),
        (b'"\x00"', "not JSON"),
    ],
)
def test_a_text_with_no_reading_or_with_two(text: bytes, rule: str) -> None:
    with pytest.raises(JsonFault) as caught:
        parse(text)
    assert rule in str(caught.value)


def test_the_depth_is_counted_outside_of_texts() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse(b"[" + b"[]," * 100 + b"[]]")
    assert parse(b'["' + b"[" * 100 + b'\\"[[[["]')
    with pytest.raises(JsonFault, match="nested deeper than"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    with pytest.raises(JsonFault, match="nested deeper than"):
        parse(b'{"a":' * 100_000)
