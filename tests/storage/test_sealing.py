"""Sealed objects: they open where they belong, and everywhere else they are an error with a name."""

from __future__ import annotations

import dataclasses
import struct

import pytest
import zstandard
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.geography import RegionCode
from storage.errors import Corrupt
from storage.keys import KeyFormatError, PrivateKey, PublicKey, PublicKeys, Purpose
from storage.sealing import (
    MAX_PLAINTEXT,
    MAX_TRAFFIC_FRAME,
    TRAFFIC_READ,
    Binding,
    open_content,
    open_document,
    open_traffic,
    read_message_header,
    seal_document,
    seal_message,
)
from tests.storage.hpke_oracle import open_frame

HERE = Binding(RegionCode.parse("eu-west-1"), "mail/" + "a" * 32 + "/0192f0c1d2e37abc8def0123456789ab")
TRAFFIC = b'{"from":"aoife@example.ie"}'
CONTENT = b"Subject: a secret\r\n\r\n" + b"the words\r\n" * 1000


def generation(number: int) -> tuple[PublicKeys, dict[Purpose, PrivateKey]]:
    private = {purpose: PrivateKey.generate(number, purpose) for purpose in Purpose}
    return PublicKeys(number, *(private[purpose].public for purpose in Purpose)), private


PUBLIC, PRIVATE = generation(7)
SEALED = seal_message(PUBLIC, HERE, TRAFFIC, CONTENT)
DOCUMENT = seal_document(PUBLIC, HERE, b'{"a":1}')
HEADER_SIZE = len(read_message_header(HERE, SEALED).octets)


@given(traffic=st.binary(max_size=10_000), content=st.binary(max_size=10_000))
@settings(max_examples=50, deadline=None)
def test_what_was_sealed_comes_back_octet_for_octet(traffic: bytes, content: bytes) -> None:
    sealed = seal_message(PUBLIC, HERE, traffic, content)
    assert open_traffic(PRIVATE[Purpose.TRAFFIC], HERE, sealed) == traffic
    assert open_content(PRIVATE[Purpose.CONTENT], HERE, sealed) == content


def test_ten_mebibytes_of_any_octets() -> None:
    content = bytes(range(256)) * 40_960
    sealed = seal_message(PUBLIC, HERE, TRAFFIC, content)
    assert open_content(PRIVATE[Purpose.CONTENT], HERE, sealed) == content


@pytest.mark.parametrize("size", [0, 1, 2900, 2931, 2932, 7027, 7028, 20_000])
def test_the_traffic_frame_ends_where_a_read_ends(size: int) -> None:
    """One read of 4,096 octets brings the usual message's traffic, and nothing of its content."""
    sealed = seal_message(PUBLIC, HERE, b"t" * size, CONTENT)
    header = read_message_header(HERE, sealed[:TRAFFIC_READ])
    assert header.traffic_end % TRAFFIC_READ == 0
    assert header.end == len(sealed)
    assert open_traffic(PRIVATE[Purpose.TRAFFIC], HERE, sealed[: header.traffic_end]) == b"t" * size
    assert (header.traffic_end == TRAFFIC_READ) == (size <= 2935)


def test_the_traffic_frame_does_not_tell_how_much_it_holds() -> None:
    few, many = (len(seal_message(PUBLIC, HERE, b"t" * size, b"")) for size in (10, 2900))
    assert few == many


def test_neither_frame_opens_with_the_other_key() -> None:
    with pytest.raises(TypeError):
        open_traffic(PRIVATE[Purpose.CONTENT], HERE, SEALED)
    disguised = PrivateKey(7, Purpose.CONTENT, PRIVATE[Purpose.TRAFFIC].seeds)
    with pytest.raises(Corrupt):
        open_content(disguised, HERE, SEALED)


def test_the_words_are_nowhere_in_the_object() -> None:
    for word in (b"aoife", b"secret", b"the words"):
        assert word not in SEALED


@pytest.mark.parametrize(
    "elsewhere",
    [
        dataclasses.replace(HERE, region=RegionCode.parse("us-east-1")),
        dataclasses.replace(HERE, key=HERE.key.replace("a" * 32, "b" * 32)),
        dataclasses.replace(HERE, key=HERE.key[:-1] + "c"),
    ],
    ids=["region", "account", "message"],
)
def test_an_object_that_was_moved_does_not_open(elsewhere: Binding) -> None:
    """`info` binds region, account and message id."""
    with pytest.raises(Corrupt, match=elsewhere.key):
        open_traffic(PRIVATE[Purpose.TRAFFIC], elsewhere, SEALED)
    with pytest.raises(Corrupt, match=elsewhere.key):
        open_content(PRIVATE[Purpose.CONTENT], elsewhere, SEALED)


def test_frames_of_two_messages_do_not_mix() -> None:
    other = seal_message(PUBLIC, HERE, TRAFFIC, CONTENT + b"more of it\r\n" * 90)
    spliced = other[:TRAFFIC_READ] + SEALED[TRAFFIC_READ:]
    with pytest.raises(Corrupt):
        open_content(PRIVATE[Purpose.CONTENT], HERE, spliced)


@given(position=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_anywhere_is_an_error_that_names_the_object(position: int, bit: int) -> None:
    flipped = bytearray(SEALED)
    flipped[position] ^= 1 << bit
    opened = 0
    for opens, purpose in ((open_traffic, Purpose.TRAFFIC), (open_content, Purpose.CONTENT)):
        try:
            header = read_message_header(HERE, bytes(flipped))
            key = dataclasses.replace(PRIVATE[purpose], generation=header.generation)
            opens(key, HERE, bytes(flipped))
            opened += 1
        except Corrupt as error:
            assert error.key == HERE.key
    # The frame that was not touched may open; header and touched frame never do.
    assert opened <= (0 if position < HEADER_SIZE else 1)


@given(length=st.integers(0, len(SEALED) - 1))
@settings(max_examples=200, deadline=None)
def test_a_truncated_object_is_an_error(length: int) -> None:
    with pytest.raises(Corrupt, match=HERE.key):
        open_content(PRIVATE[Purpose.CONTENT], HERE, SEALED[:length])
    if length < TRAFFIC_READ:
        with pytest.raises(Corrupt, match=HERE.key):
            open_traffic(PRIVATE[Purpose.TRAFFIC], HERE, SEALED[:length])


def test_octets_behind_the_end_are_an_error() -> None:
    with pytest.raises(Corrupt, match="header says"):
        open_content(PRIVATE[Purpose.CONTENT], HERE, SEALED + b"x")


@given(octets=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_an_error_and_never_garbage(octets: bytes) -> None:
    for garbage in (octets, SEALED[:HEADER_SIZE] + octets, DOCUMENT[:HEADER_SIZE] + octets):
        with pytest.raises(Corrupt):
            open_content(PRIVATE[Purpose.CONTENT], HERE, garbage)
        with pytest.raises(Corrupt):
            open_document(PRIVATE[Purpose.RECORD], HERE, garbage)


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(Corrupt, match="version is 2, and this program knows 1"):
        open_content(PRIVATE[Purpose.CONTENT], HERE, SEALED[:4] + b"\x02" + SEALED[5:])


def test_a_document_is_no_message_and_the_other_way_round() -> None:
    assert open_document(PRIVATE[Purpose.RECORD], HERE, DOCUMENT) == b'{"a":1}'
    with pytest.raises(Corrupt, match="SITM"):
        open_content(PRIVATE[Purpose.CONTENT], HERE, DOCUMENT)
    with pytest.raises(Corrupt, match="SITD"):
        open_document(PRIVATE[Purpose.RECORD], HERE, SEALED)


def forged(packed: bytes, traffic: int = 0) -> bytes:
    """A document that anybody with the public key can seal."""
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    header = struct.pack(">4sBIIQ", b"SITD", 1, 7, traffic, len(packed) + 1136)
    return header + suite.encrypt(packed, PUBLIC.record.hpke, HERE.info(header, Purpose.RECORD))


def test_a_forged_frame_cannot_make_a_reader_allocate() -> None:
    bomb = zstandard.ZstdCompressor().compressobj(size=MAX_PLAINTEXT + 1)
    for packed, rule in (
        (bomb.compress(bytes(4096)) + bomb.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), "unpacks to more"),
        (zstandard.compress(b"x") + b"trailing", "does not unpack"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 10), "unpacks to more"),
        (b"not zstd at all", "does not unpack"),
    ):
        with pytest.raises(Corrupt, match=rule):
            open_document(PRIVATE[Purpose.RECORD], HERE, forged(packed))
    with pytest.raises(Corrupt, match="traffic frame claims"):
        open_document(PRIVATE[Purpose.RECORD], HERE, forged(b"", traffic=MAX_TRAFFIC_FRAME + 1))


def test_public_keys_come_back_from_json_and_nothing_else_does() -> None:
    assert PublicKeys.from_json(PUBLIC.to_json()) == PUBLIC
    good = PUBLIC.to_json()
    wrong: list[object] = [
        None,
        [],
        {**good, "generation": 0},
        {**good, "generation": True},
        {**good, "traffic": "AAAA"},
        {**good, "content": None},
        {**good, "record": "not base64!"},
    ]
    for bad in wrong:
        with pytest.raises(KeyFormatError):
            PublicKeys.from_json(bad)
    with pytest.raises(KeyFormatError):
        PublicKey.parse("")


def test_a_private_key_is_its_seeds_and_does_not_print_them() -> None:
    key = PRIVATE[Purpose.CONTENT]
    again = PrivateKey(7, Purpose.CONTENT, key.seeds)
    assert open_content(again, HERE, SEALED) == CONTENT
    assert key.seeds.hex() not in repr(key)
    assert str(key.seeds) not in repr(key)
    with pytest.raises(KeyFormatError):
        PrivateKey(7, Purpose.CONTENT, key.seeds[:-1])


def test_an_implementation_that_is_not_ours_opens_it() -> None:
    """The format as the module's text describes it, and nothing else, suffices to open an object."""
    magic, version, number, traffic_size, content_size = struct.unpack_from(">4sBIIQ", SEALED)
    assert (magic, version, number) == (b"SITM", 1, 7)
    assert len(SEALED) == 21 + traffic_size + content_size
    key = HERE.key.encode()
    for purpose, frame in (
        (Purpose.TRAFFIC, SEALED[21 : 21 + traffic_size]),
        (Purpose.CONTENT, SEALED[21 + traffic_size :]),
    ):
        info = b"\0".join((b"situs seal", SEALED[:21], b"eu-west-1", key, purpose.encode()))
        plain = open_frame(PRIVATE[purpose].seeds, frame, info)
        if purpose is Purpose.TRAFFIC:
            assert plain == len(TRAFFIC).to_bytes(4, "big") + TRAFFIC + bytes(len(plain) - 4 - len(TRAFFIC))
        else:
            assert zstandard.decompress(plain) == CONTENT
