"""One rule for where a header ends, for the index and for FETCH."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.sections import Cut, Section, SectionText
from storage.header_block import (
    LONGEST,
    LONGEST_STRUCTURE,
    LONGEST_TOLD,
    NOT_TOLD,
    Editions,
    Heading,
    Telling,
    header_block,
    header_end,
)

# Messages made of what the rule turns on.
MESSAGES = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"A: b", b" folded", b"text", b":"]), max_size=12)


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: b\r\n\r\nbody\r\n\r\nmore", b"A: b\r\n\r\n"),
        (b"A: b\n\nbody\r\n\r\nmore", b"A: b\n\n"),
        (b"A: b\r\n\nbody\r\n\r\nmore", b"A: b\r\n\n"),
        (b"A: b\n\r\nbody\r\n\r\nmore", b"A: b\n\r\n"),
        (b"\r\nbody\r\n\r\nmore", b"\r\n"),
        (b"\nbody\r\n\r\nmore", b"\n"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b\r\rno line end\r", b"A: b\r\rno line end\r"),
        (b"", b""),
    ],
    ids=range(9),
)
def test_where_a_header_ends(content: bytes, header: bytes) -> None:
    assert header_block(content) == header


@given(MESSAGES.map(b"".join))
def test_the_index_and_the_message_say_the_same(content: bytes) -> None:
    """What is cut from the block that the index keeps is what is cut from the whole message."""
    block = NOT_TOLD.indexed(content).block
    assert Cut(block).header == Cut(content).header == header_block(content)
    wanted = Section(text=SectionText.FIELDS, fields=(b"a",))
    assert Cut(block).section(wanted) == Cut(content).section(wanted)
    text = Cut(content).section(Section(text=SectionText.TEXT))
    assert text is not None
    assert block + text == content


@given(MESSAGES.map(b"".join), st.binary(max_size=4))
def test_a_span_ends_where_it_would_alone(content: bytes, before: bytes) -> None:
    whole = before + content + b"\r\n\r\nbehind it"
    assert header_end(whole, len(before), len(before) + len(content)) == len(before) + header_end(content)


def test_what_is_too_long_stays_in_the_message() -> None:
    longest = b"A: ".ljust(LONGEST - 4, b"x") + b"\r\n\r\n"
    shout = Telling(Editions(1, 1), bytes.upper, lambda content: content[-4:])
    assert shout.indexed(longest + b"body") == (longest, b"", b"body")
    shorter = longest[len(longest) - LONGEST_TOLD :]
    assert shout.indexed(shorter + b"body") == (shorter, shorter.upper(), b"body")
    assert shout.indexed(b"A" + longest + b"body") == (b"", b"", b"body")
    assert shout.indexed(b"") == (b"", b"", b"")
    wordy = Telling(Editions(1, 1), bytes.upper, lambda content: b"x" * len(content))
    assert wordy.indexed(b"\r\n".ljust(LONGEST_STRUCTURE)).structure == b"x" * LONGEST_STRUCTURE
    assert wordy.indexed(b"\r\n".ljust(LONGEST_STRUCTURE + 1)) == Heading(b"\r\n", b"\r\n")
