"""Sealing: what turns mail into bytes that only the home region can open.

HPKE (RFC 9180) in base mode over the hybrid KEM of ML-KEM-768 and X25519, so that a recording
made today does not open on the day X25519 falls. Whoever writes holds public keys alone.

A sealed message, version 1:

    offset  size
    0       4     "SITM"
    4       1     version, 1
    5       4     generation of the account's keys, big-endian
    9       4     length of the traffic frame
    13      8     length of the content frame
    21      ...   traffic frame, then content frame

A frame is HPKE's `enc || ct`: 1,136 octets more than what it holds. The traffic frame is
padded so that it ends on a multiple of 4,096: one read of `TRAFFIC_READ` octets brings header
and traffic of nearly every message and nothing of its content, and the frame's length does
not tell how many people a message went to. Content is compressed with zstd before it is sealed.

A sealed document ("SITD") has no traffic frame, and one frame under the record key. What stands in it
of a message's content (header blocks: the Subject is content) is sealed to the content key
instead, and begins with "SITC": no key that opens traffic or records opens that.

The HPKE `info` binds each frame to the header, the region, the object's key (which names
account and message) and the category. A frame that is moved, swapped or relabelled does not open.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from policy.geography import RegionCode
from storage.errors import Corrupt
from storage.keys import PrivateKey, PublicKeys, Purpose

TRAFFIC_READ: Final = 4096
# No mail is larger (SIZE is far below): a forged frame cannot make a reader allocate more than this.
MAX_PLAINTEXT: Final = 256 * 1024 * 1024

# A forged header cannot make a reader fetch a content frame under the name of traffic.
MAX_TRAFFIC_FRAME: Final = 1024 * 1024

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_FRAME_OVERHEAD: Final = KEM.MLKEM768_X25519.enc_length() + 16  # the encapsulated key, and GCM's tag
_HEADER: Final = struct.Struct(">4sBIIQ")
_LENGTH: Final = struct.Struct(">I")
_VERSION: Final = 1
_MESSAGE: Final = b"SITM"
_MAGIC_OF: Final = {Purpose.RECORD: b"SITD", Purpose.CONTENT: b"SITC"}

# No sealed message is longer: content that does not compress grows by less than one part in 128.
LONGEST_SEALED: Final = _HEADER.size + MAX_TRAFFIC_FRAME + MAX_PLAINTEXT + MAX_PLAINTEXT // 128


@final
@dataclass(frozen=True, slots=True)
class Binding:
    """The one place where a sealed object may be opened. The key names account and message."""

    region: RegionCode
    key: str

    def info(self, header: bytes, purpose: Purpose) -> bytes:
        # NUL stands in no region code, key or purpose, and the header has one length:
        # two different bindings never give the same octets.
        return b"\0".join(
            (b"situs seal", header, *(str(x).encode() for x in (self.region, self.key, purpose)))
        )


@final
@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of a sealed object: which key opens its (last) frame, and where its frames end."""

    generation: int
    purpose: Purpose
    traffic_end: int
    end: int
    octets: bytes


def seal_message(public: PublicKeys, binding: Binding, traffic: bytes, content: bytes) -> bytes:
    """Both frames of a message, each sealed to its own key: the object as it is put."""
    packed = zstandard.compress(content, 3)
    unpadded = _HEADER.size + _FRAME_OVERHEAD + _LENGTH.size + len(traffic)
    padding = -unpadded % TRAFFIC_READ
    padded = b"".join((_LENGTH.pack(len(traffic)), traffic, bytes(padding)))
    header = _HEADER.pack(
        _MESSAGE,
        _VERSION,
        public.generation,
        len(padded) + _FRAME_OVERHEAD,
        len(packed) + _FRAME_OVERHEAD,
    )
    return b"".join(
        (
            header,
            _SUITE.encrypt(padded, public.traffic.hpke, binding.info(header, Purpose.TRAFFIC)),
            _SUITE.encrypt(packed, public.content.hpke, binding.info(header, Purpose.CONTENT)),
        )
    )


def seal_document(
    public: PublicKeys, binding: Binding, document: bytes, purpose: Purpose = Purpose.RECORD
) -> bytes:
    """A record of ours, under the record key; or under the content key, what says what mail says."""
    packed = zstandard.compress(document, 3)
    magic = _MAGIC_OF[purpose]
    header = _HEADER.pack(magic, _VERSION, public.generation, 0, len(packed) + _FRAME_OVERHEAD)
    key = public.record if purpose is Purpose.RECORD else public.content
    return header + _SUITE.encrypt(packed, key.hpke, binding.info(header, purpose))


def read_message_header(binding: Binding, head: bytes) -> Header:
    """From the first octets of a sealed message. Raises Corrupt."""
    return _read_header(binding, head, {_MESSAGE: Purpose.CONTENT})


def read_document_header(binding: Binding, head: bytes, *purposes: Purpose) -> Header:
    """From the first octets of a sealed document that is for one of `purposes` (a record's, where none
    is named). Raises Corrupt."""
    return _read_header(binding, head, {_MAGIC_OF[one]: one for one in purposes or (Purpose.RECORD,)})


def open_traffic(private: PrivateKey, binding: Binding, head: bytes) -> bytes:
    """The traffic record, from the first `Header.traffic_end` octets or more. Raises Corrupt."""
    header = read_message_header(binding, head)
    if len(head) < header.traffic_end:
        raise Corrupt(binding.key, "it ends inside its traffic frame")
    frame = head[_HEADER.size : header.traffic_end]
    padded = _open_frame(private, binding, header, Purpose.TRAFFIC, frame)
    (length,) = _LENGTH.unpack_from(padded.ljust(_LENGTH.size, b"\0"))
    if length > len(padded) - _LENGTH.size:
        raise Corrupt(binding.key, "its traffic frame is shorter than it says")
    return padded[_LENGTH.size : _LENGTH.size + length]


def open_content(private: PrivateKey, binding: Binding, sealed: bytes) -> bytes:
    """The message as it was received, from the whole object. Raises Corrupt."""
    header = read_message_header(binding, sealed)
    return _open_packed(private, binding, header, Purpose.CONTENT, sealed)


def open_document(private: PrivateKey, binding: Binding, sealed: bytes) -> bytes:
    """A document for the purpose of the key, from the whole object. Raises Corrupt."""
    header = read_document_header(binding, sealed, private.purpose)
    return _open_packed(private, binding, header, private.purpose, sealed)


def _read_header(binding: Binding, head: bytes, expected: Mapping[bytes, Purpose]) -> Header:
    if len(head) < _HEADER.size:
        raise Corrupt(binding.key, "it is shorter than a header")
    octets = head[: _HEADER.size]
    found, version, generation, traffic, content = _HEADER.unpack(octets)
    if found not in expected:
        begins = " or ".join(magic.decode() for magic in expected)
        raise Corrupt(binding.key, f"it does not begin with {begins}")
    if version != _VERSION:
        raise Corrupt(binding.key, f"its format version is {version}, and this program knows {_VERSION}")
    if traffic > MAX_TRAFFIC_FRAME:
        raise Corrupt(binding.key, f"its traffic frame claims more than {MAX_TRAFFIC_FRAME} octets")
    traffic_end = _HEADER.size + traffic
    return Header(generation, expected[found], traffic_end, traffic_end + content, octets)


def _open_packed(
    private: PrivateKey, binding: Binding, header: Header, purpose: Purpose, sealed: bytes
) -> bytes:
    if len(sealed) != header.end:
        raise Corrupt(binding.key, f"it has {len(sealed)} octets where its header says {header.end}")
    packed = _open_frame(private, binding, header, purpose, memoryview(sealed)[header.traffic_end :])
    try:
        # Whoever holds a public key can seal a frame: its claimed size is checked before it is believed.
        if not 0 <= zstandard.frame_content_size(packed) <= MAX_PLAINTEXT:
            raise Corrupt(binding.key, f"its {purpose} frame unpacks to more than {MAX_PLAINTEXT} octets")
        return zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Corrupt(binding.key, f"its {purpose} frame does not unpack") from None


def _open_frame(
    private: PrivateKey, binding: Binding, header: Header, purpose: Purpose, frame: bytes | memoryview
) -> bytes:
    if private.generation != header.generation or private.purpose is not purpose:
        raise TypeError(f"generation {header.generation} of the {purpose} key opens this frame")
    try:
        return _SUITE.decrypt(frame, private.hpke, binding.info(header.octets, purpose))
    except (InvalidTag, ValueError):
        # One answer for a flipped bit, a wrong key and a wrong place: HPKE cannot tell them apart.
        raise Corrupt(binding.key, f"its {purpose} frame does not open under this account's key") from None
