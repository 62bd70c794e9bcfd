"""An address is what RFC 5321's grammar says, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.address import Address, AddressError

ATOM = st.text("abcxyzABC019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=12)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
ADDRESS = st.builds(
    lambda local, domain: f"{'.'.join(local)}@{'.'.join(domain)}",
    st.lists(ATOM, min_size=1, max_size=3),
    st.lists(LABEL, min_size=1, max_size=3),
)


@given(ADDRESS)
def test_what_is_parsed_reads_back_as_itself(text: str) -> None:
    address = Address.parse(text)
    assert Address.parse(str(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_error_and_parsing_is_idempotent(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError as error:
        assert "RFC" in str(error)
    else:
        assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("Aoife@Example.IE", "aoife@example.ie"),
        ('"aoife"@example.ie', "aoife@example.ie"),
        (r'"a\oife"@example.ie', "aoife@example.ie"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
        ("bob@[IPv6:0:0::1]", "bob@[IPv6:::1]"),
        ("ame\u0301lie@example.fr", "am\u00e9lie@example.fr"),
    ],
)
def test_two_spellings_of_one_mailbox_are_one(one: str, same: str) -> None:
    assert Address.parse(one) == Address.parse(same)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "@example.ie",
        "bob@",
        ".bob@example.ie",
        "bob.@example.ie",
        "b..b@example.ie",
        "bob@-example.ie",
        "bob@example..ie",
        "bob@example.ie.",
        "bob@exa_mple.ie",
        "Bob <bob@example.ie>",
        "bob(comment)@example.ie",
        "bob@example.ie (comment)",
        "bob @example.ie",
        "bob@[127.0.0.1",
        "bob@[999.0.0.1]",
        "bob@[IPv6:nonsense]",
        'bo"b@example.ie',
        '""@example.ie',
        '"b"b"@example.ie',
        "bob\r\n@example.ie",
        "bob\0@example.ie",
        "bob\u0085@example.ie",
        "x" * 65 + "@example.ie",
        "bob@" + "x" * 64 + ".ie",
        "bob@" + ".".join(["x" * 60] * 5),
        "<bob@example.ie>",
        "@relay.example:bob@example.ie",
    ],
)
def test_what_the_grammar_does_not_have_is_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


def test_an_encoded_word_is_not_decoded() -> None:
    """aiosmtpd 1.4.6 reads this as bob@eu.test: a way around the fence."""
    address = Address.parse("=?utf-8?q?bob?=@eu.test")
    assert address.local == "=?utf-8?q?bob?="


def test_at_sign_inside_quotes_belongs_to_the_local_part() -> None:
    address = Address.parse('"a@b"@example.ie')
    assert (address.local, address.domain) == ("a@b", "example.ie")
    assert str(address) == '"a@b"@example.ie'
