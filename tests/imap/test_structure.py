"""What a message is made of, octet for octet: against the message itself, and Python's own parser."""

from __future__ import annotations

import email
import email.policy
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.envelope import addresses, envelope, nstring
from gateway.imap.sections import Cut, Section, SectionText
from gateway.imap.structure import Part, parse
from gateway.imap.written_structure import body_structure
from tests.corpus import Mail, corpus

NESTED = b"\r\n".join(
    [
        b"From: a@x.example",
        b"Content-Type: multipart/mixed; boundary=one",
        b"",
        b"preamble",
        b"--one",
        b"",
        b"first",
        b"--one",
        b"Content-Type: message/rfc822",
        b"",
        b"Subject: inside",
        b'Content-Type: multipart/alternative; boundary="two"',
        b"",
        b"--two",
        b"Content-Type: text/html",
        b"",
        b"<b>",
        b"--two--",
        b"--one--",
        b"epilogue",
    ]
)


@pytest.mark.parametrize(
    ("section", "octets"),
    [
        (Section((1,)), b"first"),
        (Section((2, 1)), b"<b>"),
        (Section((2, 1), SectionText.MIME), b"Content-Type: text/html\r\n\r\n"),
        (Section((2,), SectionText.FIELDS, (b"subject",)), b"Subject: inside\r\n\r\n"),
        (Section((2,), SectionText.TEXT), b"--two\r\nContent-Type: text/html\r\n\r\n<b>\r\n--two--"),
        (Section((), SectionText.FIELDS_NOT, (b"CONTENT-TYPE",)), b"From: a@x.example\r\n\r\n"),
        (Section((3,)), None),
        (Section((1, 1)), None),
        (Section((1,), SectionText.HEADER), None),
    ],
)
def test_sections_are_cut_as_the_rfc_numbers_them(section: Section, octets: bytes | None) -> None:
    """RFC 3501 6.4.5: a multipart's parts are numbered from 1, a message/rfc822's within its own."""
    assert Cut(NESTED).section(section) == octets


def test_what_is_no_multipart_has_one_part() -> None:
    cut = Cut(b"Subject: x\r\n\r\ntext\r\n")
    assert cut.section(Section((1,))) == b"text\r\n"
    assert cut.section(Section((1, 1))) is None
    assert cut.section(Section((2,))) is None


@pytest.mark.parametrize("mail", corpus(), ids=lambda mail: mail.name)
def test_sizes_are_those_of_what_is_fetched(mail: Mail) -> None:
    """A client that was told a size reads that many octets, and no other part's."""
    message, cut = mail.content, Cut(mail.content)
    header, text = (_octets_of(cut, Section((), one)) for one in (SectionText.HEADER, SectionText.TEXT))
    assert header + text == message
    for number, part in enumerate(cut.root.parts, 1):
        assert len(_octets_of(cut, Section((number,)))) == part.size
    assert body_structure(message, cut.root).startswith(b"(")
    assert envelope(message[: cut.root.header[1]]).startswith(b"(")


# A boundary written as RFC 2231 has it, which no mail needs; and delimiters with nothing between
# them, which Python passes over and RFC 2046 5.1.1 makes empty parts.
_READ_OTHERWISE = ("cpython msg_33.txt", "cpython msg_37.txt")


@pytest.mark.parametrize("mail", corpus(), ids=lambda mail: mail.name)
def test_parts_are_those_that_python_finds(mail: Mail) -> None:
    if mail.name in _READ_OTHERWISE:
        return
    theirs = email.message_from_bytes(mail.content, policy=email.policy.compat32)
    if any(part.defects for part in theirs.walk()):
        return  # of broken mail each parser makes what it can; the sizes above hold for it too
    assert _shape(parse(mail.content)) == _their_shape(theirs)


_LINES = (
    b"--b",
    b"--b--",
    b"",
    b"x",
    b"Content-Type: message/rfc822",
    b"Content-Type: multipart/mixed; boundary=b",
    b"\0",
    b"\xff: (",
)


@given(st.lists(st.sampled_from(_LINES)))
def test_any_octets_are_a_message(lines: list[bytes]) -> None:
    message = b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"\r\n".join(lines)
    root = parse(message)
    assert all(0 <= start <= end <= len(message) for start, end in _spans(root))
    assert b"\0" not in body_structure(message, root)


@given(st.binary())
def test_any_header_gives_an_envelope(octets: bytes) -> None:
    """Strings of it are quoted or counted, so that no octet of a mail is read as a reply of ours."""
    told = envelope(b"From: " + octets + b"\r\nTo: " + octets + b"\r\nSubject: " + octets + b"\r\n\r\n")
    assert _without_strings(told).strip(b"(NIL) ") == b""


def test_an_envelope_as_the_rfc_writes_it() -> None:
    """RFC 3501 8, the sample connection's message, with a group, a route and an older name."""
    header = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
        b"From: Terry Gray <gray@cac.washington.edu>\r\n"
        b"To: imap@cac.washington.edu, list: <@hub.example:a@b.example>;\r\n"
        b"cc: minutes@CNRI.Reston.VA.US (The Minutes)\r\n\r\n"
    )
    gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
    assert envelope(header) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" NIL ' + b" ".join([gray] * 3) + b" "
        b'((NIL NIL "imap" "cac.washington.edu")(NIL NIL "list" NIL)'
        b'(NIL "@hub.example" "a" "b.example")(NIL NIL NIL NIL)) '
        b'(("The Minutes" NIL "minutes" "CNRI.Reston.VA.US")) NIL NIL NIL)'
    )


_PIECES = st.sampled_from(
    (
        *(b"a@b", b"<a.b@c-d.example>", b'"Q, x" <q@x>', b"Two words <t@w>", b'"" <e@m>', b"Group: ", b";"),
        *(b",", b" ", b", ", b"(c)", b"x@y (Old Way)", b"<@r:a@b>", b'"', b"\\", b"<", b">", b"@", b"a"),
        *(b"caf\xe9@x", b"[1.2.3.4]"),
    )
)


@given(st.lists(_PIECES, max_size=6).map(b"".join))
def test_usual_addresses_are_told_as_all_others_are(value: bytes) -> None:
    """The short way for what nearly all mail has gives what the long way gives."""
    told = b"".join(b"(" + b" ".join(map(nstring, one)) + b")" for one in addresses(value.strip(b" ")))
    expected = b"(" + told + b")" if told else b"NIL"
    header = b"X: y\r\nTo: " + value + b"\r\n\r\n"
    assert envelope(header) == b"(NIL NIL NIL NIL NIL " + expected + b" NIL NIL NIL NIL)"


def _octets_of(cut: Cut, section: Section) -> bytes:
    octets = cut.section(section)
    assert octets is not None
    return octets


def _spans(part: Part) -> list[tuple[int, int]]:
    inner = [*part.parts, *([part.message] if part.message else [])]
    return [part.header, part.body, *(span for one in inner for span in _spans(one))]


def _shape(part: Part) -> object:
    kind = f"{part.type.type.decode('latin-1')}/{part.type.subtype.decode('latin-1')}"
    if part.message is not None:
        return kind, [_shape(part.message)]
    return kind, [_shape(one) for one in part.parts]


def _their_shape(message: Message) -> object:
    inner = message.get_payload() if message.is_multipart() else []
    if message.get_content_type() in ("message/delivery-status", "message/external-body"):
        inner = []  # blocks of fields to Python; one body to IMAP, which knows message/rfc822 alone
    assert isinstance(inner, list)
    return message.get_content_type(), [_their_shape(one) for one in inner if isinstance(one, Message)]


def _without_strings(told: bytes) -> bytes:
    """What is left of a reply when its strings are taken out as a client reads them."""
    left, at = b"", 0
    while at < len(told):
        if told[at : at + 1] == b'"':
            at += 1
            while told[at : at + 1] != b'"':
                at += 2 if told[at : at + 1] == b"\\" else 1
            at += 1
        elif told[at : at + 1] == b"{":
            close = told.index(b"}", at)
            at = close + 3 + int(told[at + 1 : close])
        else:
            left += told[at : at + 1]
            at += 1
    return left
