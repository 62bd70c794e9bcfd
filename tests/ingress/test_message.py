"""What a message has to be, said of its octets: the checks give what counting gives, wherever a line ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingress.limits import Limits
from gateway.ingress.message import fault
from gateway.ingress.replies import BARE_CR_LF

LIMITS = Limits(text_line=10_000_000)
PIECE = 65_536  # the check looks at so many octets at a time


def has_bare(content: bytes) -> bool:
    """RFC 5321 2.3.8, word for word."""
    line_ends = content.count(b"\r\n")
    return content.count(b"\r") != line_ends or content.count(b"\n") != line_ends


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b"\x85", "\u2028".encode(), b"\x0b\x0c\x1c"])))
def test_cr_and_lf_stand_together_or_the_message_is_refused(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    assert (fault(content, LIMITS) is BARE_CR_LF) is has_bare(content)


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n", b"\r\r\n", b"\n\r\n", b"\r\n\n"], ids=repr)
@pytest.mark.parametrize("before", range(PIECE - 4, PIECE + 3))
@pytest.mark.parametrize("after", [b"", b"\r\n", b"more\r\n"], ids=repr)
def test_a_line_end_between_two_pieces_is_read_as_one(before: int, end: bytes, after: bytes) -> None:
    content = b"x" * before + end + after
    assert (fault(content, LIMITS) is BARE_CR_LF) is has_bare(content)
