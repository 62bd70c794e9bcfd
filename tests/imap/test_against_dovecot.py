"""What Dovecot tells of the corpus's mails, and what ours tells: the same, octet for octet."""

from __future__ import annotations

import imaplib
import os
import re
from collections.abc import Iterator

import pytest

from gateway.imap.envelope import envelope
from gateway.imap.sections import Cut
from gateway.imap.written_structure import body_structure
from tests.bench.imap_peer import dovecot
from tests.corpus import Mail, corpus
from tests.peers import leave_out, require

OWNER = "aoife@example.ie"
MAILS = corpus()

# Where Dovecot and we part, all of it mail that breaks a rule:
_STRUCTURES_APART = {
    # `Content-Type: text`: Dovecot tells of a type of no name, we of plain text (RFC 2045 5.2).
    "cpython msg_14.txt",
    # Two multiparts, one within the other, with the same boundary (RFC 2046 5.1.2 forbids it).
    "cpython msg_15.txt",
    "cpython msg_39.txt",
    # A multipart without its boundary: Dovecot tells of an empty part, we of the text that there is.
    "cpython msg_17.txt",
    "cpython msg_25.txt",
    "cpython msg_31.txt",
    "cpython msg_33.txt",
    "cpython msg_41.txt",
    "cpython msg_42.txt",
    # Dovecot joins the pieces of an RFC 2231 parameter, we leave that to the client.
    "cpython msg_29.txt",
}
_ENVELOPES_APART = {
    "cpython msg_27.txt",  # a line folded before a TAB: Dovecot makes a blank of it
    "long header line",  # Dovecot quotes 50,000 octets, we count them
}


@pytest.fixture(scope="module")
def theirs() -> Iterator[imaplib.IMAP4]:
    """The corpus in Dovecot, in its order."""
    require("dovecot")
    if os.geteuid() != 0:
        leave_out("Dovecot starts as root alone")
    with dovecot(OWNER, len(MAILS), lambda number: MAILS[number].content) as port:
        client = imaplib.IMAP4("127.0.0.1", port, timeout=30)
        client.login(OWNER, "any")
        client.select(readonly=True)
        yield client
        client.logout()


@pytest.mark.parametrize("number", range(len(MAILS)), ids=[mail.name for mail in MAILS])
def test_told_alike(theirs: imaplib.IMAP4, number: int) -> None:
    mail: Mail = MAILS[number]
    octets = answer(theirs, number, "BODY[]", "BODY.PEEK[]").partition(b"\r\n")[2]
    cut = Cut(octets)
    if mail.name not in _STRUCTURES_APART:
        structure = answer(theirs, number, "BODYSTRUCTURE")
        # RFC 3501 7.4.2: types and names of parameters are the same in either case.
        assert body_structure(octets, cut.root).lower() == structure.lower()
    if mail.name not in _ENVELOPES_APART:
        # What an address has not, Dovecot tells of in capitals.
        told = re.sub(rb"MISSING_(DOMAIN|MAILBOX)", b"", answer(theirs, number, "ENVELOPE"))
        assert envelope(cut.header) == told


def answer(client: imaplib.IMAP4, number: int, item: str, asked: str = "") -> bytes:
    """What a FETCH of one item tells, without the item's name."""
    _, pieces = client.fetch(str(number + 1), f"({asked or item})")
    whole = b"".join(
        piece[0] + b"\r\n" + piece[1] if isinstance(piece, tuple) else piece or b"" for piece in pieces
    )
    return whole.partition(b"(" + item.encode() + b" ")[2].removesuffix(b")")
