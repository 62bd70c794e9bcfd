"""Signed notes and checkpoints: vectors that are not ours, and one spelling only."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.audit.note import (
    Checkpoint,
    KeyKind,
    Note,
    NoteError,
    Signature,
    Signer,
    VerifierKey,
    generate_signer,
    open_checkpoint,
    sign_checkpoint,
    with_signatures,
)
from tests.audit.logs import SIGNER

# From the documentation of Go's golang.org/x/mod/sumdb/note, and of the Go checksum database.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
HEAD = Checkpoint(SIGNER.name, 70_000, bytes(range(32)))
GOOD = sign_checkpoint(HEAD, SIGNER)


def test_a_note_that_go_signed_is_genuine() -> None:
    key = VerifierKey.parse(PETER)
    assert str(key) == PETER
    assert Note.parse(PETER_NOTE).verified_by([key]) == {key: None}


def test_our_signature_is_the_one_that_go_makes() -> None:
    """Ed25519 is deterministic: the same key and text give the same note, byte for byte."""
    signer = Signer.parse(PETER_SKEY)
    assert (signer.text(), str(signer.key)) == (PETER_SKEY, PETER)
    text = Note.parse(PETER_NOTE).text
    assert Note(text, (signer.sign(text),)).serialise() == PETER_NOTE


def test_a_checkpoint_opens_with_the_log_s_key_alone() -> None:
    assert open_checkpoint(GOOD, SIGNER.key)[0] == HEAD
    same_name = Signer(SIGNER.name, bytes(32))
    with pytest.raises(NoteError, match="no signature"):
        open_checkpoint(GOOD, same_name.key)


def test_a_signature_for_one_log_is_none_for_another_of_the_same_key() -> None:
    """The origin is signed: a checkpoint cannot be handed round as another region's."""
    other = Signer("situs/test/us-east-1", bytes(range(32)))
    with pytest.raises(NoteError, match="does not sign for"):
        sign_checkpoint(HEAD, other)
    text = HEAD.text()
    raw = Note(text, (other.sign(text),)).serialise()
    with pytest.raises(NoteError, match="expected 'situs/test/us-east-1'"):
        open_checkpoint(raw, other.key)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_of_a_checkpoint_can_be_changed(at: int, flip: int) -> None:
    """Whatever a changed byte makes of it, it is refused, or it is the very same statement."""
    body = bytearray(GOOD)
    body[at] ^= flip
    with pytest.raises(NoteError):
        open_checkpoint(bytes(body), SIGNER.key)


@given(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=3))
def test_nothing_can_be_put_into_a_checkpoint(at: int, extra: bytes) -> None:
    with pytest.raises(NoteError):
        open_checkpoint(GOOD[:at] + extra + GOOD[at:], SIGNER.key)


_LINE = GOOD.decode().split("\n\n")[1]
_MALFORMED = {
    "nothing": b"",
    "no signature": HEAD.text().encode() + b"\n",
    "no empty line": HEAD.text().encode() + _LINE.encode(),
    "no last newline": GOOD[:-1],
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "a tab": GOOD.replace(b"70000", b"70\t000"),
    "not UTF-8": b"\xff" + GOOD,
    "a hyphen for the dash": GOOD.replace("—".encode(), b"-"),
    "two spaces": GOOD.replace("— ".encode(), "—  ".encode()),
    "a leading zero": GOOD.replace(b"70000", b"070000"),
    "not base64": GOOD.replace(b"=\n", b"!\n"),
    "a short key id": f"{HEAD.text()}\n— {SIGNER.name} {base64.b64encode(b'abcd').decode()}\n".encode(),
    "too many signatures": HEAD.text().encode() + b"\n" + _LINE.encode() * 101,
    "twice by one key": GOOD + _LINE.encode(),
    "very long": GOOD + b"x" * 1_000_000,
}


@pytest.mark.parametrize("raw", _MALFORMED.values(), ids=_MALFORMED.keys())
def test_a_note_has_one_spelling(raw: bytes) -> None:
    with pytest.raises(NoteError):
        open_checkpoint(raw, SIGNER.key)


def test_base64_that_says_the_same_in_other_letters_is_refused() -> None:
    """The last letter before '=' carries bits that nobody reads (RFC 4648 3.5)."""
    assert _LINE.endswith("=\n")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = _LINE[-3]
    other = letters[letters.index(last) ^ 1]
    encoded = _LINE.split(" ")[2].rstrip()
    assert base64.b64decode(encoded) == base64.b64decode(encoded[:-2] + other + "=")
    with pytest.raises(NoteError, match="canonical"):
        Note.parse(GOOD.replace(_LINE.encode(), (_LINE[:-3] + other + "=\n").encode()))


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n1\nAAAA\n",
        "\n1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "a\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "a\n9223372036854775808000\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "a\n1\n" + base64.b64encode(bytes(32)).decode() + "\n\n",
        "a\n1\n" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_other_people_s_extension_lines_are_no_reason_to_refuse() -> None:
    text = HEAD.text() + "an extension\n"
    assert Checkpoint.parse(text) == HEAD
    raw = Note(text, (SIGNER.sign(text),)).serialise()
    assert open_checkpoint(raw, SIGNER.key)[0] == HEAD


def test_unknown_signatures_are_ignored_and_known_bad_ones_are_not() -> None:
    stranger = Signer("stranger.example", b"\x05" * 32)
    assert open_checkpoint(with_signatures(GOOD, [stranger.sign(HEAD.text())]), SIGNER.key)
    bad = Signature(stranger.name, stranger.key.key_id, bytes(64))
    note = Note.parse(with_signatures(GOOD, [bad]))
    assert note.verified_by([SIGNER.key]) == {SIGNER.key: None}
    with pytest.raises(NoteError, match="does not verify"):
        note.verified_by([SIGNER.key, stranger.key])


# The example of https://c2sp.org/tlog-cosignature has no key beside it, so the message is checked
# as it is written there, and the signature with our own key.
def test_a_cosignature_signs_its_time_and_the_whole_note() -> None:
    witness = Signer("witness.example/w1", b"\x07" * 32, KeyKind.COSIGNATURE)
    moment = datetime(2023, 3, 20, 13, 32, 27, tzinfo=UTC)
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    signature = witness.sign(text, moment)
    assert signature.value[:8] == (1679319147).to_bytes(8)
    assert witness.key.check(text, signature) == moment
    later = Signature(witness.name, witness.key.key_id, (1679319148).to_bytes(8) + signature.value[8:])
    for forged in (later, Signature(witness.name, witness.key.key_id, signature.value[8:])):
        with pytest.raises(NoteError):
            witness.key.check(text, forged)
    with pytest.raises(NoteError, match="carries a time"):
        witness.sign(text)
    # The same key in its two roles has two ids: neither signature passes for the other.
    assert Signer("witness.example/w1", b"\x07" * 32).key.key_id != witness.key.key_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+id",
        "na me+00000000+AAAA",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER[:-4],
        PETER.replace("+A", "+B"),
        "x+" + PETER,
    ],
)
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "two words", "plus+plus", "new\nline", "x" * 256, "\u2003"])
def test_what_cannot_name_a_key(name: str) -> None:
    with pytest.raises(NoteError):
        Signer(name, bytes(32))


def test_a_key_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    signer = generate_signer(path, "situs/test/eu-west-1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.load(path).key == signer.key
    with pytest.raises(NoteError, match="cannot be written"):
        generate_signer(path, "situs/test/eu-west-1")
    path.chmod(0o640)
    with pytest.raises(NoteError, match="0640: a signing key must be 0600"):
        Signer.load(path)
    path.chmod(0o600)
    for text in ("", "PRIVATE+KEY+a+b", PETER, PETER_SKEY.replace("c74f20a3", "00000000"), PETER_SKEY[:-3]):
        path.write_text(text)
        with pytest.raises(NoteError, match=str(path)) as caught:
            Signer.load(path)
        assert "AYEKFALV" not in str(caught.value), "an error shows the private key"
    with pytest.raises(NoteError, match="cannot be read"):
        Signer.load(tmp_path / "none")
