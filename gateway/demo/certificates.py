"""Certificates and revocation lists, made: a small certification authority.

The demo's PKI is built from it, and so are the tests', which bend what it makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from policy.certification import DOCUMENT_SIGNING

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Extensions: TypeAlias = tuple[tuple[x509.ExtensionType, bool], ...]  # each with its criticality

CA_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=365)
CRL_LIFE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(hours=1)  # a demo's clocks need not agree to the second


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A CA: its key and its certificate, and what it makes with them."""

    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def root(
        cls, name: str, now: datetime, *, key: PrivateKey | None = None, extra: Extensions = ()
    ) -> CertificateAuthority:
        """A new self-signed CA."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = distinguished_name(name)
        certificate = sign_certificate(
            subject, key.public_key(), subject, key, now, CA_LIFE, ca_extensions(None) + extra
        )
        return cls(key, certificate)

    def subordinate(
        self,
        name: str,
        now: datetime,
        *,
        key: PrivateKey | None = None,
        extensions: Extensions | None = None,
        life: timedelta = CA_LIFE,
    ) -> CertificateAuthority:
        """A new CA below this one; by default one that issues to end entities only."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        chosen = ca_extensions(0) if extensions is None else extensions
        return CertificateAuthority(key, self.issue(name, key, now, extensions=chosen, life=life))

    def issue(
        self,
        name: str,
        key: PrivateKey,
        now: datetime,
        *,
        extensions: Extensions | None = None,
        life: timedelta = LEAF_LIFE,
    ) -> x509.Certificate:
        """A certificate for `key`; by default one that signs documents (RFC 9336)."""
        chosen = leaf_extensions(key) if extensions is None else extensions
        return sign_certificate(
            distinguished_name(name), key.public_key(), self.certificate.subject, self.key, now, life, chosen
        )

    def revocation_list(
        self,
        now: datetime,
        revoked: Iterable[x509.RevokedCertificate] = (),
        *,
        life: timedelta = CRL_LIFE,
        extra: Extensions = (),
        key: PrivateKey | None = None,
    ) -> x509.CertificateRevocationList:
        """This CA's CRL, begun an hour before `now`; `extra` and `key` bend it, for tests."""
        until = now + life
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(min(now, until) - BACKDATED)
            .next_update(until)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        signer = key or self.key
        return builder.sign(signer, digest_for(signer))


def revocation(certificate: x509.Certificate, since: datetime) -> x509.RevokedCertificate:
    """A CRL entry for a certificate whose key is out."""
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(certificate.serial_number)
        .revocation_date(since)
        .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        .build()
    )


def distinguished_name(common_name: str) -> x509.Name:
    """`CN=common_name`."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*asserted: str) -> x509.KeyUsage:
    """A KeyUsage with the bits named as `cryptography` names them."""
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in asserted for bit in every})


def ca_extensions(path_length: int | None) -> Extensions:
    """What a CA's certificate carries (RFC 5280 4.2.1.3 and 4.2.1.9)."""
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (key_usage("key_cert_sign", "crl_sign"), True),
    )


def leaf_extensions(key: PrivateKey) -> Extensions:
    """What an authority's certificate carries. An RSA key also receives packages."""
    bits = (
        ("digital_signature", "key_encipherment")
        if isinstance(key, rsa.RSAPrivateKey)
        else ("digital_signature",)
    )
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(*bits), True),
        (x509.ExtendedKeyUsage([DOCUMENT_SIGNING]), False),
    )


def sign_certificate(
    subject: x509.Name,
    public_key: PublicKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    now: datetime,
    life: timedelta,
    extensions: Extensions,
) -> x509.Certificate:
    """A certificate valid from an hour before `now` until `now + life`."""
    not_after = now + life
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, not_after) - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, digest_for(issuer_key))


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash that a CA with this key signs with; none for Ed25519, which brings its own."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()
