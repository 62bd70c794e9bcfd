"""CMS EnvelopedData (RFC 5652 6): what leaves the gateway can be opened by the authority alone.

    openssl cms -decrypt -inform DER -in part -recip cert.pem -inkey key.pem -binary -out part.plain

The content key is transported to an RSA key, or agreed on with one on an elliptic curve: an ephemeral key,
ECDH, the X9.63 KDF and AES key wrap, as RFC 5753 lays it out. `cryptography`'s own builder knows no curves,
and wants the whole content at once.
The content is AES-256-CBC either way, which every CMS implementation opens; its integrity is the
manifest's SHA-256 of the plaintext, since EnvelopedData itself carries none (RFC 5652 14).
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Final, final

from asn1crypto import algos, cms, core, keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

_AES256_BITS: Final = 256
_ROOM: Final = 256  # octets for all that stands before the content, besides the recipient's part
_AES256_WRAP: Final = "2.16.840.1.101.3.4.1.45"  # RFC 3565 2.3.2: id-aes256-wrap, no parameters
# RFC 5753 7.1.4: dhSinglePass-stdDH-<hash>kdf-scheme, the hash as strong as the curve.
_KEY_AGREEMENT: Final[dict[str, tuple[str, hashes.HashAlgorithm]]] = {
    "secp256r1": ("1.3.132.1.11.1", hashes.SHA256()),
    "secp384r1": ("1.3.132.1.11.2", hashes.SHA384()),
}


class CannotReceive(ValueError):
    """No package can be encrypted to that certificate. The message names the rule."""


@final
class Recipient:
    """A certificate that a package can be encrypted to: its key type and validity are checked.

    Raises CannotReceive for a key that is neither RSA of 2048 bits or more nor P-256 or P-384,
    and for a certificate that is not valid at `now`. Its keyUsage may be for signing alone (RFC 5280
    4.2.1.3): many authorities hold no other, and nobody but the key's holder opens the result.
    """

    __slots__ = ("certificate",)

    def __init__(self, certificate: x509.Certificate, now: datetime) -> None:
        key = certificate.public_key()
        match key:
            case rsa.RSAPublicKey() if key.key_size >= 2048:
                pass
            case ec.EllipticCurvePublicKey() if key.curve.name in _KEY_AGREEMENT:
                pass
            case _:
                raise CannotReceive("an RSA key of at least 2048 bits, P-256 or P-384 is expected")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise CannotReceive("the certificate is not valid now (RFC 5280 4.1.2.5)")
        self.certificate: Final = certificate

    @classmethod
    def from_pem(cls, pem: str, now: datetime) -> Recipient:
        """One PEM certificate -> Recipient. Raises CannotReceive, also for anything but one."""
        try:
            certificates = x509.load_pem_x509_certificates(pem.encode())
        except ValueError:
            raise CannotReceive("one PEM certificate is expected") from None
        if len(certificates) != 1:
            raise CannotReceive(f"one PEM certificate is expected, {len(certificates)} were found")
        return cls(certificates[0], now)

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` of the certificate's DER: what a custody record names it by."""
        return f"sha256:{self.certificate.fingerprint(hashes.SHA256()).hex()}"


def envelope(plaintext: bytes, recipient: Recipient) -> bytes:
    """`plaintext` as DER ContentInfo holding EnvelopedData for one recipient."""
    whole = Envelope(recipient)
    whole.write(plaintext)
    return bytes(whole.finish())


@final
class Envelope:
    """The same for a content that comes piece by piece: encrypted as it comes, and not kept in the clear.

    What is before the content in DER says how long it is, and so is written last, from the inside out, into
    room that was left for it: an ASN.1 library would copy tens of megabytes at each of five levels.
    """

    def __init__(self, recipient: Recipient) -> None:
        content_key = secrets.token_bytes(_AES256_BITS // 8)
        self._version, recipient_info = _recipient_info(recipient.certificate, content_key)
        self._recipient_info: Final[bytes] = recipient_info.dump()
        self._vector: Final = secrets.token_bytes(algorithms.AES256.block_size // 8)
        self._encryptor: Final = Cipher(algorithms.AES256(content_key), modes.CBC(self._vector)).encryptor()
        self._room: Final = len(self._recipient_info) + _ROOM
        self._body: Final = bytearray(self._room)  # then the ciphertext
        self._size = 0

    def write(self, octets: bytes) -> None:
        self._body.extend(self._encryptor.update(octets))
        self._size += len(octets)

    def finish(self) -> memoryview:
        """ContentInfo around EnvelopedData (RFC 5652 3, 6.1). Nothing can be written after it."""
        fill = len(self._vector) - self._size % len(self._vector)  # RFC 5652 6.3: 1 to 16 octets, always some
        self._body.extend(self._encryptor.update(bytes([fill]) * fill))
        self._body.extend(self._encryptor.finalize())
        algorithm = algos.EncryptionAlgorithm(
            {"algorithm": "aes256_cbc", "parameters": core.OctetString(self._vector)}  # RFC 3565 4.1
        )
        recipients = _header(_SET, len(self._recipient_info)) + self._recipient_info
        before = _before(
            (_SEQUENCE, cms.ContentType("enveloped_data").dump()),
            (_EXPLICIT_0, b""),
            (_SEQUENCE, cms.CMSVersion(self._version).dump() + recipients),
            (_SEQUENCE, cms.ContentType("data").dump() + algorithm.dump()),
            (_IMPLICIT_OCTETS_0, b""),
            content=len(self._body) - self._room,
        )
        begins = self._room - len(before)
        self._body[begins : self._room] = before
        return memoryview(self._body).toreadonly()[begins:]


def _recipient_info(certificate: x509.Certificate, content_key: bytes) -> tuple[str, cms.RecipientInfo]:
    """The content key for the certificate's key, and the version that its kind gives (RFC 5652 6.1)."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "v0", _key_transport(certificate, key, content_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)  # Recipient lets no other kind through
    return "v2", _key_agreement(certificate, key, content_key)


_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_EXPLICIT_0: Final = 0xA0
_IMPLICIT_OCTETS_0: Final = 0x80


def _before(*levels: tuple[int, bytes], content: int) -> bytes:
    """What stands before a content of so many octets: each level is a tag, and what comes before the next
    level within it."""
    before = b""
    for tag, within in reversed(levels):
        before = _header(tag, len(within) + len(before) + content) + within + before
    return before


def _header(tag: int, length: int) -> bytes:
    """Tag and definite length (X.690 8.1.3, 10.1)."""
    if length < 0x80:
        return bytes([tag, length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets


class _Algorithm(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """An AlgorithmIdentifier whose parameters are absent, not NULL (RFC 3565 2.3.2)."""

    _fields: ClassVar[list[tuple[object, ...]]] = [("algorithm", core.ObjectIdentifier)]


class _EccCmsSharedInfo(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """RFC 5753 7.2, without the optional entityUInfo."""

    _fields: ClassVar[list[tuple[object, ...]]] = [
        ("key_info", _Algorithm),
        ("supp_pub_info", core.OctetString, {"explicit": 2}),
    ]


def _key_transport(
    certificate: x509.Certificate, theirs: rsa.RSAPublicKey, content_key: bytes
) -> cms.RecipientInfo:
    """RFC 5652 6.2.1 with RFC 3370 4.2.1, whose parameters are NULL: what every authority's tools open."""
    return cms.RecipientInfo(
        name="ktri",
        value=cms.KeyTransRecipientInfo(
            {
                "version": "v0",
                "rid": cms.RecipientIdentifier(
                    name="issuer_and_serial_number", value=_issuer_and_serial(certificate)
                ),
                "key_encryption_algorithm": {"algorithm": "rsaes_pkcs1v15", "parameters": core.Null()},
                "encrypted_key": theirs.encrypt(content_key, padding.PKCS1v15()),
            }
        ),
    )


def _issuer_and_serial(certificate: x509.Certificate) -> cms.IssuerAndSerialNumber:
    holder = asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
    return cms.IssuerAndSerialNumber({"issuer": holder.issuer, "serial_number": holder.serial_number})


def _key_agreement(
    certificate: x509.Certificate, theirs: ec.EllipticCurvePublicKey, content_key: bytes
) -> cms.RecipientInfo:
    """RFC 5753 3.1: ephemeral-static ECDH, and the content key wrapped under what both derive."""
    scheme, digest = _KEY_AGREEMENT[theirs.curve.name]
    ephemeral = ec.generate_private_key(theirs.curve)
    wrap = _Algorithm({"algorithm": _AES256_WRAP})
    shared_info = _EccCmsSharedInfo({"key_info": wrap, "supp_pub_info": _AES256_BITS.to_bytes(4, "big")})
    kdf = X963KDF(algorithm=digest, length=_AES256_BITS // 8, sharedinfo=shared_info.dump())
    wrapping_key = kdf.derive(ephemeral.exchange(ec.ECDH(), theirs))
    ours = ephemeral.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return cms.RecipientInfo(
        name="kari",
        value=cms.KeyAgreeRecipientInfo(
            {
                "version": "v3",
                "originator": cms.OriginatorIdentifierOrKey(
                    name="originator_key", value=keys.PublicKeyInfo.load(ours)
                ),
                "key_encryption_algorithm": {"algorithm": scheme, "parameters": wrap},
                "recipient_encrypted_keys": [
                    {
                        "rid": cms.KeyAgreementRecipientIdentifier(
                            name="issuer_and_serial_number",
                            value=_issuer_and_serial(certificate),
                        ),
                        "encrypted_key": aes_key_wrap(wrapping_key, content_key),
                    }
                ],
            }
        ),
    )
