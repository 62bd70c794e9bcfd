"""The grammar (RFC 3501 9): what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap import commands, listing
from gateway.imap.fetch_grammar import Attribute, Octets
from gateway.imap.names import BadName, decode_name, encode_name
from gateway.imap.replies import Refused, internal_date, string
from gateway.imap.scanner import BadCommand, RawCommand, Scanner
from gateway.imap.sections import Section, SectionText
from gateway.imap.sequences import BadSequenceSet, SequenceSet, compact

PARSERS = (
    commands.plain,
    commands.login,
    commands.authenticate,
    commands.enable,
    commands.identify,
    commands.select,
    commands.named,
    commands.rename,
    commands.status,
    commands.append,
    listing.list_,
    listing.lsub,
    lambda scanner: commands.fetch(scanner, by_uid=False),
    lambda scanner: commands.store(scanner, by_uid=True),
    lambda scanner: commands.copy(scanner, by_uid=False),
    lambda scanner: commands.find(scanner, by_uid=False),
    lambda scanner: commands.expunge(scanner, by_uid=True),
)
WORDS = st.sampled_from(
    [
        *'() \\ " {3} * % & 1 1:* 0 4294967296 BODY BODY[ BODY.PEEK[ ] <0.1>'.split(),
        *"HEADER.FIELDS (From) 1.2.TEXT".split(),
        *"UID NOT OR CHARSET UTF-8 SINCE 1-Feb-1994 FLAGS +FLAGS.SILENT INBOX RETURN STATUS &APw- &-".split(),
        '"17-Jul-1996 02:44:25 -0700"',
        "(UNCHANGEDSINCE 1)",
    ]
)


@given(st.sampled_from(PARSERS), st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=12))
def test_whatever_comes_is_a_command_or_is_refused(parse: object, words: list[str]) -> None:
    assert callable(parse)
    text = (" " + " ".join(words)).encode().replace(b"\0", b"").replace(b"\n", b"")
    try:
        parse(Scanner(RawCommand(text)))
    except (BadCommand, Refused):
        return


def fetched(text: str) -> tuple[object, ...]:
    return commands.fetch(Scanner(RawCommand(text.encode())), by_uid=False).items


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (" 1 ALL", (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE, Attribute.ENVELOPE)),
        (" 1 fast", (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE)),
        (" 1 BODY", (Attribute.BODY,)),
        (" 1 (BODYSTRUCTURE UID UID)", (Attribute.BODYSTRUCTURE, Attribute.UID)),
        (" 1 BODY[]", (Octets(b"BODY[]", Section()),)),
        (
            ' 1 body.peek[1.2.header.fields.not (From "To")]<5.10>',
            (
                Octets(
                    b"BODY[1.2.HEADER.FIELDS.NOT (From To)]<5>",
                    Section((1, 2), SectionText.FIELDS_NOT, (b"From", b"To")),
                    peek=True,
                    partial=(5, 10),
                ),
            ),
        ),
        (" 1 RFC822.HEADER", (Octets(b"RFC822.HEADER", Section(text=SectionText.HEADER), peek=True),)),
    ],
    ids=["all", "fast", "body", "twice", "whole", "fields", "older"],
)
def test_what_fetch_asks_for(text: str, items: tuple[object, ...]) -> None:
    assert fetched(text) == items


@pytest.mark.parametrize(
    "text",
    [
        " 1",
        " 1 ",
        " 0 UID",
        " 1 ()",
        " 1 (UID",
        " 1 (UID  FLAGS)",
        " 1 BODY[MIME]",
        " 1 BODY[0]",
        " 1 BODY[1.]",
        " 1 BODY[TEXT.1]",
        " 1 BODY[]<0.0>",
        " 1 BODY[]<5>",
        " 1 BODY.PEEK",
        " 1 BODY[HEADER.FIELDS ()]",
        " 1 BODY[HEADER.FIELDS (a:b)]",
        " 1 (ALL)",
        " 1 UIDFLAGS",
        " 1,, UID",
        " 1 UID (CHANGEDSINCE 9223372036854775808)",
    ],
)
def test_what_fetch_does_not_take(text: str) -> None:
    with pytest.raises(BadCommand):
        fetched(text)


@given(st.text(st.characters(min_codepoint=0x20, codec="utf-8"), min_size=1))
def test_a_name_comes_back_as_it_was(name: str) -> None:
    if name.partition("/")[0].upper() == "INBOX":
        return
    encoded = encode_name(name)
    assert encoded.isascii()
    assert decode_name(encoded) == name


@given(st.binary(max_size=40))
def test_one_name_has_one_form_on_the_wire(octets: bytes) -> None:
    try:
        name = decode_name(octets)
    except BadName:
        return
    assert encode_name(name).upper() == octets.upper()


@pytest.mark.parametrize(
    "octets", [b"&", b"&AGE-", b"&AOk-&AOk-", b"&AOk", b"&AO-", b"\xc3\xa9", b"a\x01", b"&2AA-", b"&AOk/-"]
)
def test_what_is_no_modified_utf_7(octets: bytes) -> None:
    """RFC 3501 5.1.3: no printable character in base64, no shift that is not needed, no half characters."""
    with pytest.raises(BadName):
        decode_name(octets)


@pytest.mark.parametrize(
    ("octets", "name"),
    [(b"iNbOx", "INBOX"), (b"inbox/Old", "INBOX/Old"), (b"inboxes", "inboxes"), (b"&ZeVnLIqe-", "日本語")],
)
def test_names(octets: bytes, name: str) -> None:
    assert decode_name(octets) == name


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60), min_size=1))
def test_a_set_holds_what_it_names(chosen: set[int], there: set[int]) -> None:
    if not chosen:
        return
    parsed = SequenceSet.parse(compact(sorted(chosen)))
    assert set(parsed.among(sorted(there))) == chosen & there


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("1:*", ((1, 9),)),
        ("*:12", ((9, 12),)),
        ("4:2,3,7", ((2, 4), (7, 7))),
        ("*", ((9, 9),)),
        ("1,2,3", ((1, 3),)),
    ],
)
def test_spans(text: str, spans: tuple[tuple[int, int], ...]) -> None:
    assert SequenceSet.parse(text).spans(9) == spans


@pytest.mark.parametrize("text", ["", "0", "1,", ",1", "1:", "1::2", "a", "4294967296", "1 2", "1:2:3"])
def test_what_is_no_set(text: str) -> None:
    with pytest.raises(BadSequenceSet):
        SequenceSet.parse(text)


@given(st.binary(max_size=60))
def test_a_string_is_read_as_it_was_written(octets: bytes) -> None:
    """RFC 3501 4.3: quoted where it can be, a literal where not."""
    form = string(octets)
    if form.startswith(b"{"):
        size, _, rest = form[1:].partition(b"}\r\n")
        assert (int(size), rest) == (len(octets), octets)
    else:
        assert Scanner(RawCommand(form)).string() == octets


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1)),
    st.integers(-12 * 60, 14 * 60),
)
def test_a_date_is_read_as_it_was_written(at: datetime, zone: int) -> None:
    moment = at.replace(microsecond=0, tzinfo=UTC) + timedelta(minutes=zone)
    assert Scanner(RawCommand(internal_date(moment))).date_time() == moment


@pytest.mark.parametrize(
    ("text", "literals", "password"),
    [
        (b" aoife secret", (), b"secret"),
        (b' "aoife" "p\\"q\\\\r"', (), b'p"q\\r'),
        ((' aoife "pässwörd"').encode(), (), "pässwörd".encode()),
        (b" \0 \0", (b"aoife", "пароль\r\n".encode()), "пароль\r\n".encode()),
        (b" aoife pass]word", (), b"pass]word"),
        (b' aoife ""', (), b""),
    ],
    ids=["atoms", "quoted specials", "quoted UTF-8", "literals", "a bracket", "nothing"],
)
def test_a_password_comes_in_any_form_of_a_string(
    text: bytes, literals: tuple[bytes, ...], password: bytes
) -> None:
    found = commands.login(Scanner(RawCommand(text, literals)))
    assert (found.user, found.password) == (b"aoife", password)


@pytest.mark.parametrize(
    "text", [b" aoife pass\xc3\xa4", b' aoife "a', b" aoife a b", b" aoife  a", b" aoife"]
)
def test_what_is_no_login(text: bytes) -> None:
    with pytest.raises(BadCommand):
        commands.login(Scanner(RawCommand(text)))
