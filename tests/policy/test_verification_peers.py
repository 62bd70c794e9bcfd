"""Path validation and revocation, asked of two implementations that are not ours.

OpenSSL and pyhanko-certvalidator answer for the same certificates, revocation lists and time.
Where one of them lets pass what we refuse, a table says so and why; nothing that either of them
refuses may pass with us, whatever defects come together.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import event, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey
from joserfc.jws import GeneralJSONSerialization
from joserfc.registry import HeaderParameter
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathBuildingError, ValidationError

from gateway.demo.certificates import (
    CertificateAuthority,
    Extensions,
    PrivateKey,
    ca_extensions,
    key_usage,
    leaf_extensions,
    revocation,
)
from policy.certification import DOCUMENT_SIGNING, Uncertified, check_purpose, check_revocation, find_path
from policy.keys import KeyRefused, algorithms_for
from policy.order import SignatureRole
from policy.trust import JurisdictionTrust, Trust, TrustError
from tests import peers
from tests.policy.pki import MADE, NOW, claims, judge, parts, realm, unb64

Crls = tuple[x509.CertificateRevocationList, ...]
DAY = timedelta(days=1)
DOCUMENTS = (x509.ExtendedKeyUsage([DOCUMENT_SIGNING]), False)
UNKNOWN = (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)


@dataclass(frozen=True)
class Chain:
    """root -> issuing -> leaf, with the two CAs' lists; a defect replaces a part of it."""

    root: CertificateAuthority
    issuing: CertificateAuthority
    leaf: x509.Certificate
    crls: Crls
    now: datetime = NOW
    above: tuple[x509.Certificate, ...] = ()

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        return (self.issuing.certificate, *self.above)


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def good() -> Chain:
    root, issuing = realm("IE").root, realm("IE").issuing
    return Chain(root, issuing, issuing.issue("court", key(), MADE), realm("IE").crls())


def with_leaf(
    leaf_key: PrivateKey | None = None,
    *,
    life: timedelta = timedelta(days=365),
    start: datetime = MADE,
    extensions: Extensions | None = None,
) -> Chain:
    leaf = good().issuing.issue("court", leaf_key or key(), start, life=life, extensions=extensions)
    return replace(good(), leaf=leaf)


def with_issuing(issuing: CertificateAuthority) -> Chain:
    usual = good()
    crls = (usual.root.revocation_list(NOW), issuing.revocation_list(NOW))
    return replace(usual, issuing=issuing, leaf=issuing.issue("court", key(), MADE), crls=crls)


def issuing_with(
    *extensions: tuple[x509.ExtensionType, bool], life: timedelta = timedelta(days=3650)
) -> Chain:
    return with_issuing(realm("IE").root.subordinate("bent", MADE, extensions=extensions, life=life))


def with_crls(*crls: x509.CertificateRevocationList) -> Chain:
    return replace(good(), crls=crls)


def changed_leaf(*changes: tuple[x509.ExtensionType, bool]) -> Chain:
    kinds = {type(extension) for extension, _ in changes}
    kept = tuple(each for each in leaf_extensions(key()) if type(each[0]) not in kinds)
    return with_leaf(extensions=kept + changes)


def foreign() -> Chain:
    mimic = CertificateAuthority.root("IE root", MADE)
    issuing = mimic.subordinate("IE issuing", MADE)
    return replace(good(), issuing=issuing, leaf=issuing.issue("court", key(), MADE))


def below(issuing: CertificateAuthority, *above: x509.Certificate) -> Chain:
    crls = (*realm("IE").crls(), issuing.revocation_list(NOW))
    return replace(good(), issuing=issuing, leaf=issuing.issue("court", key(), MADE), above=above, crls=crls)


def issued_by_a_leaf() -> Chain:
    court = CertificateAuthority(judge("IE").key, judge("IE").cert)
    return below(court, *judge("IE").chain)


def too_deep() -> Chain:
    deeper = realm("IE").issuing.subordinate("deeper", MADE)
    return below(deeper, realm("IE").issuing.certificate)


def out_of_name() -> Chain:
    limit = x509.NameConstraints([x509.DNSName("courts.example.ie")], None)
    limited = realm("IE").root.subordinate("limited", MADE, extensions=(*ca_extensions(0), (limit, True)))
    names = x509.SubjectAlternativeName([x509.DNSName("courts.example.us")])
    leaf = limited.issue("court", key(), MADE, extensions=(*leaf_extensions(key()), (names, False)))
    return replace(with_issuing(limited), leaf=leaf)


def crl_of_issuing(**bent: Any) -> Chain:
    moment = bent.pop("moment", NOW)
    return with_crls(realm("IE").crls()[0], realm("IE").issuing.revocation_list(moment, **bent))


Table = dict[str, Callable[[], Chain]]

GOOD: Table = {
    "P-256 throughout": good,
    "RSA-2048 leaf": lambda: with_leaf(rsa.generate_private_key(65537, 2048)),
    "P-384 leaf": lambda: with_leaf(ec.generate_private_key(ec.SECP384R1())),
    "Ed25519 leaf": lambda: with_leaf(ed25519.Ed25519PrivateKey.generate()),
    "CA key on P-384": lambda: with_issuing(
        realm("IE").root.subordinate("384", MADE, key=ec.generate_private_key(ec.SECP384R1()))
    ),
    "RSA CA key": lambda: with_issuing(
        realm("IE").root.subordinate("RSA", MADE, key=rsa.generate_private_key(65537, 2048))
    ),
    "leaf with an unknown extension": lambda: changed_leaf((UNKNOWN[0], False)),
}
BAD: Table = {
    "expired leaf": lambda: with_leaf(life=NOW - MADE - DAY),
    "leaf not valid yet": lambda: with_leaf(start=NOW + DAY),
    "expired intermediate": lambda: issuing_with(*ca_extensions(0), life=NOW - MADE - DAY),
    "foreign chain": foreign,
    "issued by a leaf": issued_by_a_leaf,
    "path too deep": too_deep,
    "outside the name constraints": out_of_name,
    "intermediate without basicConstraints": lambda: issuing_with(
        (key_usage("key_cert_sign", "crl_sign"), True)
    ),
    "intermediate without keyCertSign": lambda: issuing_with(
        ca_extensions(0)[0], (key_usage("crl_sign"), True)
    ),
    "intermediate without cRLSign": lambda: issuing_with(
        ca_extensions(0)[0], (key_usage("key_cert_sign"), True)
    ),
    "intermediate with an unknown critical extension": lambda: issuing_with(*ca_extensions(0), UNKNOWN),
    "leaf with an unknown critical extension": lambda: changed_leaf(UNKNOWN),
    "revoked leaf": lambda: crl_of_issuing(revoked=[revocation(good().leaf, NOW - DAY)]),
    "revoked intermediate": lambda: with_crls(
        *realm("IE").crls(root=[revocation(realm("IE").issuing.certificate, NOW - DAY)])
    ),
    "no CRL of the issuing CA": lambda: with_crls(realm("IE").crls()[0]),
    "no CRL of the root": lambda: with_crls(realm("IE").crls()[1]),
    "stale CRL": lambda: crl_of_issuing(life=-DAY),
    "CRL from the future": lambda: crl_of_issuing(moment=NOW + DAY),
    "CRL signed by somebody else": lambda: crl_of_issuing(key=key()),
    "CRL with an unknown critical extension": lambda: crl_of_issuing(extra=(UNKNOWN,)),
}
# What we refuse and one of them, or both, let pass; why we do.
STRICTER: dict[str, tuple[Callable[[], Chain], set[str]]] = {
    # OpenSSL takes a delta CRL for a complete one when it is given no other.
    "delta CRL": (lambda: crl_of_issuing(extra=((x509.DeltaCRLIndicator(1), True),)), {"openssl"}),
    # OpenSSL 3.0 knows no documentSigning purpose and is asked for any.
    "wrong extended key usage": (
        lambda: changed_leaf((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        {"openssl"},
    ),
    # pyhanko-certvalidator sets no least length for keys.
    "RSA-1024 leaf": (lambda: with_leaf(rsa.generate_private_key(65537, 1024)), {"pyhanko"}),
    # Neither minds a CA that signs documents itself; an authority's key must not make authorities.
    "leaf with basicConstraints CA": (
        lambda: changed_leaf((x509.BasicConstraints(ca=True, path_length=None), True)),
        {"openssl", "pyhanko"},
    ),
}


def ours(chain: Chain) -> bool:
    try:
        listed = Trust(
            {realm("IE").jurisdiction: JurisdictionTrust((chain.root.certificate,), chain.crls, ())}
        )
        algorithms_for(chain.leaf)
        check_purpose(chain.leaf)
        check_revocation(find_path((chain.leaf, *chain.intermediates), listed, chain.now), listed, chain.now)
    except (TrustError, KeyRefused, Uncertified):
        return False
    return True


def openssl(chain: Chain, directory: Path) -> bool:
    command = peers.require("openssl")
    files: dict[str, Sequence[x509.Certificate | x509.CertificateRevocationList]] = {
        "root.pem": [chain.root.certificate],
        "chain.pem": chain.intermediates,
        "leaf.pem": [chain.leaf],
        "crls.pem": chain.crls,
    }
    for name, things in files.items():
        (directory / name).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in things))
    options = "-no-CApath -no-CAstore -x509_strict -auth_level 2 -purpose any -crl_check_all".split()
    options += "-CAfile root.pem -untrusted chain.pem -CRLfile crls.pem -attime".split()
    ran = subprocess.run(
        [command, "verify", *options, str(int(chain.now.timestamp())), "leaf.pem"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode in (0, 2), ran.stderr
    return ran.returncode == 0


async def pyhanko(chain: Chain) -> bool:
    def asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
        return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))

    context = ValidationContext(
        trust_roots=[asn1(chain.root.certificate)],
        moment=chain.now,
        crls=[crl.public_bytes(Encoding.DER) for crl in chain.crls],
        revocation_mode="require",
        time_tolerance=timedelta(0),
    )
    validator = CertificateValidator(
        asn1(chain.leaf), [asn1(each) for each in chain.intermediates], validation_context=context
    )
    try:
        await validator.async_validate_usage(  # type: ignore[no-untyped-call]
            {"digital_signature"}, {DOCUMENT_SIGNING.dotted_string}
        )
    except (PathBuildingError, ValidationError):
        return False
    return True


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_good_passes_everywhere(name: str, tmp_path: Path) -> None:
    chain = GOOD[name]()
    assert ours(chain)
    assert await pyhanko(chain)
    assert openssl(chain, tmp_path)


@pytest.mark.parametrize("name", BAD)
async def test_what_is_bad_passes_nowhere(name: str, tmp_path: Path) -> None:
    chain = BAD[name]()
    assert not ours(chain)
    assert not await pyhanko(chain)
    assert not openssl(chain, tmp_path)


@pytest.mark.parametrize("name", STRICTER)
async def test_what_we_alone_refuse_is_written_down(name: str, tmp_path: Path) -> None:
    make, passes = STRICTER[name]
    chain = make()
    assert not ours(chain)
    assert await pyhanko(chain) == ("pyhanko" in passes)
    assert openssl(chain, tmp_path) == ("openssl" in passes)


CA_VARIANTS = [
    ca_extensions(0),
    ca_extensions(None),
    (*ca_extensions(0), UNKNOWN),
    (ca_extensions(0)[0], (key_usage("key_cert_sign"), True)),
    ((x509.BasicConstraints(ca=False, path_length=None), True), ca_extensions(0)[1]),
]
LEAF_VARIANTS = [
    leaf_extensions(key()),
    leaf_extensions(key())[1:],
    (*leaf_extensions(key())[:1], (key_usage("content_commitment", "digital_signature"), False), DOCUMENTS),
    (*leaf_extensions(key()), UNKNOWN),
    (*leaf_extensions(key())[:1], (key_usage("key_encipherment"), True), DOCUMENTS),
]


@st.composite
def any_chain(draw: st.DrawFn) -> Chain:
    """A chain with at most two defects, of any kind and in any part."""
    bent = draw(st.sets(st.sampled_from(["ca", "leaf", "lives", "lists", "revoked", "absent"]), max_size=2))

    def life(part: str) -> timedelta:
        return draw(st.sampled_from([-DAY, DAY] if part in bent else [DAY, 400 * DAY]))

    ca = draw(st.sampled_from(CA_VARIANTS[2:] if "ca" in bent else CA_VARIANTS[:2]))
    leaf = draw(st.sampled_from(LEAF_VARIANTS[3:] if "leaf" in bent else LEAF_VARIANTS[:3]))
    chain = issuing_with(*ca, life=NOW - MADE + life("lives"))
    certificate = chain.issuing.issue("court", key(), MADE, extensions=leaf, life=NOW - MADE + life("lives"))
    entries = [revocation(certificate if "revoked" in bent else good().leaf, NOW - DAY)]
    lists = [
        chain.root.revocation_list(NOW, life=life("lists")),
        chain.issuing.revocation_list(NOW, entries, life=life("lists")),
    ]
    if "absent" in bent:
        del lists[draw(st.integers(0, 1))]
    return replace(chain, leaf=certificate, crls=tuple(lists))


@settings(max_examples=60, deadline=None)
@given(any_chain())
def test_all_three_agree_however_defects_combine(chain: Chain) -> None:
    verdict = ours(chain)
    event(f"passes: {verdict}")
    assert asyncio.run(pyhanko(chain)) == verdict
    with tempfile.TemporaryDirectory() as directory:
        # OpenSSL is asked for any purpose, so it does not look at the leaf's keyUsage.
        assert openssl(chain, Path(directory)) == verdict or not signs(chain.leaf)


def signs(leaf: x509.Certificate) -> bool:
    return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_openssl_verifies_the_signature_that_we_make(tmp_path: Path) -> None:
    """RFC 7518 3.4: r || s over SHA-256 of `header.payload`, as a plain ECDSA signature."""
    command = peers.require("openssl")
    head, payload, signature = parts(judge("IE").sign(claims()))
    octets = unb64(signature)
    r, s = int.from_bytes(octets[:32], "big"), int.from_bytes(octets[32:], "big")
    public = judge("IE").cert.public_key()
    (tmp_path / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signature").write_bytes(encode_dss_signature(r, s))
    for signed, verdict in (
        (f"{head}.{payload}", "Verified OK"),
        (f"{head}.{payload}A", "Verification failure"),
    ):
        (tmp_path / "signed").write_text(signed)
        ran = subprocess.run(
            [command, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert verdict in ran.stdout


def test_joserfc_reads_what_several_authorities_signed() -> None:
    order = json.loads(judge("IE").add(judge("US").sign(claims()), SignatureRole.RECOGNISE))
    registry = jws.JWSRegistry({"role": HeaderParameter("role", "str")}, ["ES256"])
    registry.max_header_length = 10_000
    for entry, signer in zip(order["signatures"], (judge("US"), judge("IE")), strict=True):
        public = signer.cert.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        alone: GeneralJSONSerialization = {"payload": order["payload"], "signatures": [entry]}
        read = jws.deserialize_json(alone, ECKey.import_key(public), registry=registry)
        assert json.loads(read.payload or b"") == claims()
