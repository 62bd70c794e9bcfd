"""Is this certificate an authority's, today? The X.509 half of a verification.

`cryptography.x509.verification` builds and checks the path (RFC 5280 6.1: names, dates,
signatures, path length, name constraints, unknown critical extensions). What it leaves out
is here: what the leaf is for, and revocation (RFC 5280 6.3).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    VerificationError,
)

from policy.geography import Jurisdiction
from policy.keys import KeyRefused, issuer_key
from policy.trust import Path, Trust

DOCUMENT_SIGNING: Final = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336, id-kp-documentSigning
_LEAF_EXTENSIONS: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)


class Uncertified(Exception):
    """The certificate counts for nothing here and now; the message says why."""


def check_purpose(leaf: x509.Certificate) -> None:
    """That the leaf signs documents and issues nothing. Raises Uncertified."""
    try:
        extensions = leaf.extensions
    except ValueError as error:
        raise Uncertified(f"the leaf's extensions cannot be read: {error}") from None
    found = {type(extension.value): extension.value for extension in extensions}
    for extension in extensions:
        if extension.critical and not isinstance(extension.value, _LEAF_EXTENSIONS):
            # RFC 5280 4.2: a critical extension that is not processed means rejection.
            raise Uncertified(f"the leaf has the critical extension {extension.oid.dotted_string}")
    constraints = found.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise Uncertified("the leaf has a CA's rights (RFC 5280 4.2.1.9)")
    usage = found.get(x509.KeyUsage)
    if not isinstance(usage, x509.KeyUsage):
        raise Uncertified("the leaf has no keyUsage (RFC 5280 4.2.1.3)")
    if usage.key_cert_sign or usage.crl_sign:
        raise Uncertified("the leaf's keyUsage lets it sign certificates or CRLs (RFC 5280 4.2.1.3)")
    if not usage.digital_signature and not usage.content_commitment:
        raise Uncertified("the leaf's keyUsage has neither digitalSignature nor contentCommitment")
    purposes = found.get(x509.ExtendedKeyUsage)
    if not isinstance(purposes, x509.ExtendedKeyUsage) or DOCUMENT_SIGNING not in purposes:
        # RFC 9336 3.2: anyExtendedKeyUsage would let a certificate for anything else sign orders.
        raise Uncertified("the leaf's extendedKeyUsage is not documentSigning (RFC 9336)")


def find_path(chain: tuple[x509.Certificate, ...], trust: Trust, now: datetime) -> Path:
    """The path that `x5c` writes down, to an anchor of exactly one jurisdiction. Raises Uncertified.

    Each certificate certifies the one before it (RFC 7515 4.1.6); no other order is searched for,
    so that nobody but the signer chooses the path. The anchor itself may stand at the end.

    The time enters into it by the certificates' validity periods alone (RFC 5280 6.1.3 (a) (2)): what
    was once found valid is so throughout the period that they share, and is not worked out again.
    """
    known = trust.remembered_path(chain)
    if known is not None and known.not_before <= now <= known.not_after:
        return known
    path = _search(chain, trust, now)
    trust.remember_path(chain, path)
    return path


def _search(chain: tuple[x509.Certificate, ...], trust: Trust, now: datetime) -> Path:
    for certificate in chain[1:]:
        try:
            issuer_key(certificate)
        except KeyRefused as error:
            raise Uncertified(f"the CA {_name(certificate)}: {error}") from None
    candidates = trust.jurisdictions_of(chain[-1])
    if not candidates:
        issuer = chain[-1].issuer.rfc4514_string() or "(empty name)"
        raise Uncertified(f"no jurisdiction lists an anchor named {issuer}")
    found: list[Path] = []
    reasons: list[str] = []
    for jurisdiction in candidates:
        try:
            found.append(Path.of(jurisdiction, _validated(chain, trust, jurisdiction, now)))
        except Uncertified as error:
            reasons.append(f"{jurisdiction}: {error}")
    if len(found) > 1:
        states = ", ".join(str(path.jurisdiction) for path in found)
        raise Uncertified(f"the chain leads to anchors of several jurisdictions: {states}")
    if not found:
        raise Uncertified("; ".join(reasons))
    return found[0]


def check_revocation(path: Path, trust: Trust, now: datetime) -> None:
    """That a current CRL clears each certificate but the anchor. Raises Uncertified.

    A missing or stale CRL is a refusal: whoever can withhold a CRL could otherwise undo a
    revocation. RFC 5280 6.3.3, without delta and indirect CRLs, which `policy.trust` refuses.
    """
    for certificate, issuer in zip(path.certificates, path.certificates[1:], strict=False):
        _check_one(certificate, issuer, trust, path.jurisdiction, now)


def _check_one(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    trust: Trust,
    jurisdiction: Jurisdiction,
    now: datetime,
) -> None:
    name = f"CRL of {_name(issuer)}"
    in_its_name = trust.revocation_lists(jurisdiction, issuer.subject)
    if not in_its_name:
        raise Uncertified(f"{jurisdiction} lists no {name}")
    if not issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign:
        raise Uncertified(f"{name}: the issuer's keyUsage has no cRLSign (RFC 5280 6.3.3 (f))")
    genuine = [each for each in in_its_name if each.signed_by(issuer)]
    if not genuine:
        raise Uncertified(f"{name}: the signature is not the issuer's (RFC 5280 6.3.3 (g))")
    begun = [each for each in genuine if each.this_update <= now]
    if not begun:
        raise Uncertified(f"{name}: not valid before {genuine[-1].this_update:%Y-%m-%dT%H:%M:%SZ}")
    newest = begun[0]
    if not now < newest.next_update:  # no tolerance: a CRL that is due may hide a revocation
        raise Uncertified(f"{name}: stale since {newest.next_update:%Y-%m-%dT%H:%M:%SZ} (RFC 5280 6.3.3 (a))")
    since = newest.revoked.get(certificate.serial_number)
    if since is not None:
        raise Uncertified(f"{_name(certificate)} is revoked since {since:%Y-%m-%dT%H:%M:%SZ}")


def _validated(
    chain: tuple[x509.Certificate, ...], trust: Trust, jurisdiction: Jurisdiction, now: datetime
) -> tuple[x509.Certificate, ...]:
    verifier = (
        PolicyBuilder()
        .store(trust.store(jurisdiction))
        .time(now)
        .max_chain_depth(len(chain))
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        certificates = tuple(verifier.verify(chain[0], list(chain[1:])).chain)
    except VerificationError as error:
        raise Uncertified(f"{error}".split(" (encountered processing")[0]) from None
    if chain not in (certificates, certificates[:-1]):
        raise Uncertified("x5c is not the path, leaf first, each certified by the next (RFC 7515 4.1.6)")
    return certificates


def _ca_purpose(_: Policy, ca: x509.Certificate, purposes: x509.ExtendedKeyUsage | None) -> None:
    allowed = (DOCUMENT_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if purposes is not None and not any(purpose in allowed for purpose in purposes):
        raise ValueError(f"the CA {_name(ca)} is limited to purposes other than documentSigning")


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "(empty name)"


# The library's CA rules, but for the purpose: it would ask for a TLS client's. The leaf's rules
# are `check_purpose`; left to the library is that no critical extension stays unread.
_CA_POLICY: Final = ExtensionPolicy.webpki_defaults_ca().may_be_present(
    x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _ca_purpose
)
_LEAF_POLICY: Final = ExtensionPolicy.permit_all()
