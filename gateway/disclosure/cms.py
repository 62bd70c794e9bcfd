"""CMS EnvelopedData (RFC 5652 6): what leaves the gateway can be opened by the authority alone.

    openssl cms -decrypt -inform DER -in part -recip cert.pem -inkey key.pem -binary -out part.plain

RSA recipients go through `cryptography`'s own builder. It knows no elliptic curves, so those are
assembled here: an ephemeral key, ECDH, the X9.63 KDF and AES key wrap, as RFC 5753 lays it out.
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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import pkcs7

_AES256_BITS: Final = 256
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
    key = recipient.certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        builder = pkcs7.PKCS7EnvelopeBuilder(_data=None).set_data(plaintext)
        builder = builder.add_recipient(recipient.certificate)
        builder = builder.set_content_encryption_algorithm(algorithms.AES256)
        return builder.encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    assert isinstance(key, ec.EllipticCurvePublicKey)  # Recipient lets no other kind through
    content_key = secrets.token_bytes(_AES256_BITS // 8)
    recipient_info = _key_agreement(recipient.certificate, key, content_key)
    return _content_info(recipient_info.dump(), plaintext, content_key)


def _content_info(recipient_info: bytes, plaintext: bytes, key: bytes) -> bytes:
    """ContentInfo around EnvelopedData (RFC 5652 3, 6.1), written from the outside in.

    A part has tens of megabytes. Handing them to an ASN.1 library copies them at each of five
    levels; every length is known beforehand, so they are encrypted once, into their place.
    """
    vector = secrets.token_bytes(algorithms.AES256.block_size // 8)
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(vector)).encryptor()
    fill = len(vector) - len(plaintext) % len(vector)  # RFC 5652 6.3: 1 to 16 octets, always some
    ciphertext = [encryptor.update(plaintext), encryptor.update(bytes([fill]) * fill), encryptor.finalize()]
    algorithm = algos.EncryptionAlgorithm(
        {"algorithm": "aes256_cbc", "parameters": core.OctetString(vector)}  # RFC 3565 4.1
    )
    return b"".join(
        _nested(
            (_SEQUENCE, cms.ContentType("enveloped_data").dump()),
            (_EXPLICIT_0, b""),
            (_SEQUENCE, cms.CMSVersion("v2").dump() + _header(_SET, len(recipient_info)) + recipient_info),
            (_SEQUENCE, cms.ContentType("data").dump() + algorithm.dump()),
            (_IMPLICIT_OCTETS_0, b""),
            content=ciphertext,
        )
    )


_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_EXPLICIT_0: Final = 0xA0
_IMPLICIT_OCTETS_0: Final = 0x80


def _nested(*levels: tuple[int, bytes], content: list[bytes]) -> list[bytes]:
    """Each level is a tag and what stands before the next level within it; `content` is innermost."""
    pieces = content
    length = sum(map(len, content))
    for tag, before in reversed(levels):
        length += len(before)
        pieces = [_header(tag, length), before, *pieces]
        length += len(pieces[0])
    return pieces


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
    holder = asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
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
                            value=cms.IssuerAndSerialNumber(
                                {"issuer": holder.issuer, "serial_number": holder.serial_number}
                            ),
                        ),
                        "encrypted_key": aes_key_wrap(wrapping_key, content_key),
                    }
                ],
            }
        ),
    )
