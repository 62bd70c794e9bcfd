"""Attacks on certificates, paths and revocation. `tests/policy/test_verification_peers.py`
asks OpenSSL and pyhanko-certvalidator about the same paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from gateway.demo.certificates import (
    CertificateAuthority,
    Extensions,
    PrivateKey,
    ca_extensions,
    distinguished_name,
    key_usage,
    leaf_extensions,
    revocation,
)
from policy.geography import Jurisdiction
from policy.trust import JurisdictionTrust, TrustError
from policy.verification import Trust, Unverified
from tests.policy.pki import (
    MADE,
    NOW,
    Realm,
    Signer,
    claims,
    forge,
    judge,
    police,
    realm,
    trust,
    usual_trust,
    verify,
    x5c,
)
from tests.policy.test_attacks_signature import refused

SECOND = timedelta(seconds=1)
UNKNOWN = (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)


def leaf_with(
    *changes: tuple[x509.ExtensionType, bool], without: type[x509.ExtensionType] | None = None
) -> Signer:
    """An Irish court whose certificate's extensions are changed."""
    key = ec.generate_private_key(ec.SECP256R1())
    kinds = {type(extension) for extension, _ in changes} | {without}
    kept = tuple(each for each in leaf_extensions(key) if type(each[0]) not in kinds)
    return realm("IE").signer("bent court", key=key, extensions=kept + changes)


def below(ca: CertificateAuthority, *chain: x509.Certificate) -> Signer:
    """A court that `ca` has certified, with the chain above it."""
    key = ec.generate_private_key(ec.SECP256R1())
    cert = ca.issue("court", key, MADE)
    return Signer("court", judge("IE").roles, cert, key, (ca.certificate, *chain))


def refused_path(signer: Signer, step: int = 5, listed: JurisdictionTrust | None = None) -> str:
    """Listed as an authority, and refused all the same."""
    return refused(signer.sign(claims()), step, listed=trust(listed or realm("IE").lists(signer)))


def test_an_expired_leaf() -> None:
    short = realm("IE").signer("court", life=NOW - MADE)
    listed = trust(realm("IE").lists(short))
    order = short.sign(claims())
    assert verify(order, listed, NOW)  # RFC 5280 4.1.2.5: notAfter is inclusive
    with pytest.raises(Unverified, match="not valid at validation time"):
        verify(order, listed, NOW + SECOND)


def test_a_leaf_that_is_not_valid_yet() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    cert = realm("IE").issuing.issue("court", key, NOW + timedelta(hours=2))
    refused_path(Signer("court", judge("IE").roles, cert, key, (realm("IE").issuing.certificate,)))


def test_a_path_that_was_valid_is_not_valid_for_ever() -> None:
    """A chain is worked out once; its dates and its revocation are asked every time."""
    short = realm("IE").root.subordinate("short", MADE, life=NOW - MADE)
    signer = below(short)
    order = signer.sign(claims())
    crls = (realm("IE").crls()[0], short.revocation_list(NOW))
    listed = trust(realm("IE").lists(signer, crls=crls))
    for _ in range(2):
        assert verify(order, listed, NOW)
        for moment in (NOW + SECOND, NOW + timedelta(days=1), MADE - timedelta(days=1)):
            with pytest.raises(Unverified) as caught:
                verify(order, listed, moment)
            assert caught.value.steps[-1].number == 5


def test_an_expired_intermediate_and_an_expired_anchor() -> None:
    short = realm("IE").root.subordinate("short", MADE, life=NOW - MADE - SECOND)
    refused_path(below(short))
    old = CertificateAuthority.root("old root", NOW - timedelta(days=3651))
    issuing = old.subordinate("issuing", MADE)
    signer = below(issuing)
    refused_path(signer, listed=JurisdictionTrust((old.certificate,), (), (signer.listed(),)))


@pytest.mark.parametrize(
    "change",
    [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (key_usage("digital_signature", "key_cert_sign"), True),
        (key_usage("digital_signature", "crl_sign"), True),
    ],
    ids=["basicConstraints CA", "keyCertSign", "cRLSign"],
)
def test_a_leaf_with_ca_rights(change: tuple[x509.ExtensionType, bool]) -> None:
    refused_path(leaf_with(change), 4)


def test_a_leaf_that_issued_a_leaf() -> None:
    """The oldest one: an ordinary certificate used as a CA (CVE-2002-0862)."""
    court = CertificateAuthority(judge("IE").key, judge("IE").cert)
    refused_path(below(court, *judge("IE").chain))


def test_an_intermediate_below_a_path_length_of_zero() -> None:
    refused_path(below(realm("IE").issuing.subordinate("deeper", MADE), realm("IE").issuing.certificate))


@pytest.mark.parametrize(
    ("name", "extensions"),
    [
        ("no basicConstraints", ((key_usage("key_cert_sign", "crl_sign"), True),)),
        ("no keyUsage", ((x509.BasicConstraints(ca=True, path_length=0), True),)),
        ("no keyCertSign", (ca_extensions(0)[0], (key_usage("crl_sign"), True))),
        ("unknown critical extension", (*ca_extensions(0), UNKNOWN)),
        (
            "serverAuth only",
            (*ca_extensions(0), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        ),
        ("critical policyConstraints", (*ca_extensions(0), (x509.PolicyConstraints(0, None), True))),
    ],
)
def test_an_intermediate_that_is_no_ca_for_this(name: str, extensions: Extensions) -> None:
    refused_path(below(realm("IE").root.subordinate(name, MADE, extensions=extensions)))


@pytest.mark.parametrize(
    "purpose",
    [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.CODE_SIGNING,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ],
)
def test_the_wrong_extended_key_usage(purpose: ObjectIdentifier) -> None:
    assert "documentSigning" in refused_path(leaf_with((x509.ExtendedKeyUsage([purpose]), False)), 4)


def test_no_extended_key_usage_and_no_key_usage() -> None:
    refused_path(leaf_with(without=x509.ExtendedKeyUsage), 4)
    refused_path(leaf_with(without=x509.KeyUsage), 4)


def test_a_key_usage_that_does_not_sign() -> None:
    refused_path(leaf_with((key_usage("key_encipherment"), True)), 4)


def test_an_unknown_critical_extension() -> None:
    refused_path(leaf_with(UNKNOWN), 4)
    # the same, not critical, is nobody's business (RFC 5280 4.2)
    signer = leaf_with((UNKNOWN[0], False))
    assert verify(signer.sign(claims()), trust(realm("IE").lists(signer)))


WEAK_KEYS: dict[str, tuple[Callable[[], PrivateKey], str, str]] = {
    "RSA-1024": (lambda: rsa.generate_private_key(65537, 1024), "PS256", "RSA of 2048 to 8192 bits"),
    "RSA e=3": (lambda: rsa.generate_private_key(3, 2048), "PS256", "exponent of at least 65537"),
    "P-224": (lambda: ec.generate_private_key(ec.SECP224R1()), "ES256", "P-256, P-384 or Ed25519"),
    "P-521": (lambda: ec.generate_private_key(ec.SECP521R1()), "ES512", "P-256, P-384 or Ed25519"),
    "secp256k1": (lambda: ec.generate_private_key(ec.SECP256K1()), "ES256K", "P-256, P-384 or Ed25519"),
    "brainpool": (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "ES256", "P-256, P-384 or Ed25519"),
}


@pytest.mark.parametrize("kind", WEAK_KEYS)
def test_a_weak_key(kind: str) -> None:
    make, algorithm, rule = WEAK_KEYS[kind]
    signer = realm("IE").signer(kind, key=make())
    header = judge("IE").header() | {"alg": algorithm, "x5c": _x5c_of(signer)}
    order = forge(header, claims(), signer)  # truly signed with it
    assert rule in refused(order, 3, listed=trust(realm("IE").lists(signer)))


@pytest.mark.parametrize("kind", ["DSA", "Ed448", "X25519"])
def test_a_key_of_another_kind(kind: str) -> None:
    make = {
        "DSA": lambda: dsa.generate_private_key(2048),
        "Ed448": ed448.Ed448PrivateKey.generate,
        "X25519": x25519.X25519PrivateKey.generate,
    }
    key = make[kind]()
    cert = realm("IE").issuing.issue(kind, key, MADE, extensions=leaf_extensions(judge("IE").key))  # type: ignore[arg-type]
    signer = replace(judge("IE"), cert=cert)
    refused(forge(judge("IE").header() | {"x5c": _x5c_of(signer)}, claims(), judge("IE")), 3)


def _x5c_of(signer: Signer) -> list[str]:
    return [x5c(each) for each in (signer.cert, *signer.chain)]


def test_a_weak_ca_key() -> None:
    for kind in ("RSA-1024", "RSA e=3", "P-224", "secp256k1"):
        make, _, _ = WEAK_KEYS[kind]
        assert "the CA CN=weak" in refused_path(below(realm("IE").root.subordinate("weak", MADE, key=make())))
        anchor = CertificateAuthority.root("weak root", MADE, key=make())
        with pytest.raises(TrustError, match="the anchor's key"):
            trust(JurisdictionTrust((anchor.certificate,), (), ()))


def test_a_chain_out_of_order_or_with_a_stranger_in_it() -> None:
    """x5c is the path (RFC 7515 4.1.6): nothing is searched for, nothing is passed over."""
    inner = realm("IE").root.subordinate("inner", MADE, extensions=ca_extensions(1))
    outer = inner.subordinate("outer", MADE)
    signer = below(outer, inner.certificate)
    crls = (*realm("IE").crls(), inner.revocation_list(NOW), outer.revocation_list(NOW))
    listed = trust(realm("IE").lists(signer, crls=crls))
    assert verify(signer.sign(claims()), listed)
    for chain in (
        (inner.certificate, outer.certificate),
        (outer.certificate, realm("US").issuing.certificate, inner.certificate),
        (outer.certificate, inner.certificate, inner.certificate),
        (outer.certificate,),
        (),
    ):
        refused(replace(signer, chain=chain).sign(claims()), 5, listed=listed)


def test_the_anchor_may_stand_at_the_end_of_the_chain() -> None:
    with_anchor = replace(judge("IE"), chain=(*judge("IE").chain, realm("IE").root.certificate))
    assert verify(with_anchor.sign(claims()), usual_trust()).issuer.name == "IE court"


def test_an_issuing_ca_may_be_the_anchor() -> None:
    listed = trust(
        JurisdictionTrust((realm("IE").issuing.certificate,), realm("IE").crls(), (judge("IE").listed(),))
    )
    for chain in (judge("IE").chain, ()):
        assert verify(replace(judge("IE"), chain=chain).sign(claims()), listed)


def with_crls(*crls: x509.CertificateRevocationList) -> Trust:
    return trust(realm("IE").lists(judge("IE"), crls=crls))


def revocation_refusal(*crls: x509.CertificateRevocationList) -> str:
    return refused(judge("IE").sign(claims()), 6, listed=with_crls(*crls))


def test_a_revoked_leaf() -> None:
    assert "is revoked since" in revocation_refusal(
        *realm("IE").crls(issuing=[revocation(judge("IE").cert, NOW)])
    )


def test_a_revoked_intermediate() -> None:
    revoked = revocation(realm("IE").issuing.certificate, NOW)
    assert "CN=IE issuing is revoked" in revocation_refusal(*realm("IE").crls(root=[revoked]))


def test_a_revocation_that_is_dated_ahead() -> None:
    """The issuer has said that the key is out; when it takes effect is not for us to wait for."""
    later = revocation(judge("IE").cert, NOW + timedelta(days=1))
    revocation_refusal(*realm("IE").crls(issuing=[later]))


def test_a_missing_crl() -> None:
    root, issuing = realm("IE").crls()
    assert "lists no CRL of CN=IE issuing" in revocation_refusal(root)
    assert "lists no CRL of CN=IE root" in revocation_refusal(issuing)
    revocation_refusal()


def test_a_stale_crl() -> None:
    root, _ = realm("IE").crls()
    assert verify(
        judge("IE").sign(claims()), with_crls(root, realm("IE").issuing.revocation_list(NOW, life=SECOND))
    )
    due = realm("IE").issuing.revocation_list(NOW, life=timedelta(0))
    assert "stale since" in revocation_refusal(root, due)


def test_a_crl_from_the_future() -> None:
    root, _ = realm("IE").crls()
    assert "not valid before" in revocation_refusal(
        root, realm("IE").issuing.revocation_list(NOW + timedelta(hours=2))
    )


def test_a_crl_signed_by_somebody_else() -> None:
    root, _ = realm("IE").crls()
    forged = realm("IE").issuing.revocation_list(NOW, key=ec.generate_private_key(ec.SECP256R1()))
    assert "signature is not the issuer's" in revocation_refusal(root, forged)
    # and beside the genuine one it changes nothing, whatever it says
    hostile = realm("IE").issuing.revocation_list(
        NOW + SECOND, [revocation(judge("IE").cert, NOW)], key=ec.generate_private_key(ec.SECP256R1())
    )
    assert verify(judge("IE").sign(claims()), with_crls(*realm("IE").crls(), hostile))


def test_a_crl_of_a_namesake_ca() -> None:
    namesake = CertificateAuthority.root("IE issuing", MADE)
    root, _ = realm("IE").crls()
    revocation_refusal(root, namesake.revocation_list(NOW))


def test_a_crl_that_another_jurisdiction_lists() -> None:
    root, issuing = realm("IE").crls()
    listed = Trust(
        {
            realm("IE").jurisdiction: realm("IE").lists(judge("IE"), crls=[root]),
            realm("US").jurisdiction: realm("US").lists(judge("US"), crls=[*realm("US").crls(), issuing]),
        }
    )
    refused(judge("IE").sign(claims()), 6, listed=listed)


def test_an_older_crl_does_not_undo_a_newer_one() -> None:
    root, _ = realm("IE").crls()
    older = realm("IE").issuing.revocation_list(NOW - timedelta(hours=1))
    newer = realm("IE").issuing.revocation_list(NOW, [revocation(judge("IE").cert, NOW)])
    for order in ((root, older, newer), (newer, root, older)):
        assert "is revoked" in revocation_refusal(*order)


def test_a_ca_without_crl_sign() -> None:
    silent = realm("IE").root.subordinate(
        "silent", MADE, extensions=(ca_extensions(0)[0], (key_usage("key_cert_sign"), True))
    )
    signer = below(silent)
    crls = (realm("IE").crls()[0], silent.revocation_list(NOW))
    assert "cRLSign" in refused_path(signer, 6, realm("IE").lists(signer, crls=crls))


def _idp(**scope: bool) -> x509.IssuingDistributionPoint:
    usual = dict.fromkeys(
        (
            "only_contains_user_certs",
            "only_contains_ca_certs",
            "indirect_crl",
            "only_contains_attribute_certs",
        ),
        False,
    )
    return x509.IssuingDistributionPoint(
        full_name=None, relative_name=None, only_some_reasons=None, **(usual | scope)
    )  # fmt: skip


@pytest.mark.parametrize(
    "extension",
    [
        (x509.DeltaCRLIndicator(1), True),
        (_idp(indirect_crl=True), True),
        (_idp(only_contains_ca_certs=True), True),
        (_idp(only_contains_ca_certs=True), False),
        UNKNOWN,
    ],
    ids=["delta", "indirect", "CA certificates only", "the same, not critical", "unknown"],
)
def test_a_crl_that_does_not_speak_for_every_certificate(extension: tuple[x509.ExtensionType, bool]) -> None:
    crl = realm("IE").issuing.revocation_list(NOW, extra=(extension,))
    with pytest.raises(TrustError, match=r"RFC 5280 5\.2"):
        with_crls(realm("IE").crls()[0], crl)


def test_a_crl_entry_with_a_critical_extension() -> None:
    """An entry of an indirect CRL, or of a kind that nobody here can read (RFC 5280 5.3)."""
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(1)
        .revocation_date(NOW)
        .add_extension(
            x509.CertificateIssuer([x509.DirectoryName(distinguished_name("other"))]), critical=True
        )
        .build()
    )
    with pytest.raises(TrustError, match=r"RFC 5280 5\.3"):
        with_crls(*realm("IE").crls(issuing=[entry]))


def _rewritten(change: Callable[[asn1_crl.CertificateList], None], digest: hashes.HashAlgorithm) -> Trust:
    """The issuing CA's CRL with its octets changed and truly signed again."""
    genuine = realm("IE").crls()[1].public_bytes(Encoding.DER)
    parsed = asn1_crl.CertificateList.load(genuine)
    change(parsed)
    key = realm("IE").issuing.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    parsed["signature"] = key.sign(parsed["tbs_cert_list"].dump(force=True), ec.ECDSA(digest))
    return with_crls(realm("IE").crls()[0], x509.load_der_x509_crl(parsed.dump(force=True)))


def test_a_crl_that_does_not_say_when_the_next_is_due() -> None:
    def endless(parsed: asn1_crl.CertificateList) -> None:
        del parsed["tbs_cert_list"]["next_update"]

    assert _rewritten(lambda parsed: None, hashes.SHA256())
    with pytest.raises(TrustError, match="nextUpdate"):
        _rewritten(endless, hashes.SHA256())


def test_a_crl_signed_over_sha_1() -> None:
    def weak(parsed: asn1_crl.CertificateList) -> None:
        for algorithm in (parsed["tbs_cert_list"]["signature"], parsed["signature_algorithm"]):
            algorithm["algorithm"] = "sha1_ecdsa"

    with pytest.raises(TrustError, match="SHA-256, SHA-384 or SHA-512"):
        _rewritten(weak, hashes.SHA1())


def test_a_ca_that_two_jurisdictions_list() -> None:
    ireland, america = realm("IE").lists(judge("IE")), realm("US").lists(judge("US"))
    both = replace(america, anchors=(*america.anchors, *ireland.anchors))
    with pytest.raises(TrustError, match="an anchor of IE too"):
        Trust({realm("IE").jurisdiction: ireland, realm("US").jurisdiction: both})


def test_an_authority_that_two_jurisdictions_list() -> None:
    ireland, america = realm("IE").lists(judge("IE")), realm("US").lists(judge("US"), judge("IE"))
    with pytest.raises(TrustError, match="IE court: this key is listed by IE too"):
        Trust({realm("IE").jurisdiction: ireland, realm("US").jurisdiction: america})


@pytest.mark.parametrize(
    "extensions",
    [
        leaf_extensions(judge("IE").key),
        (ca_extensions(None)[0], (key_usage("crl_sign"), True)),
        ((x509.BasicConstraints(ca=False, path_length=None), True), ca_extensions(None)[1]),
        ca_extensions(None)[:1],
        ca_extensions(None)[1:],
    ],
    ids=["a leaf", "no keyCertSign", "no CA", "no keyUsage", "no basicConstraints"],
)
def test_an_anchor_that_is_no_ca(extensions: Extensions) -> None:
    anchor = realm("IE").root.subordinate("anchor", MADE, extensions=extensions).certificate
    with pytest.raises(TrustError, match=r"an anchor (is a CA|has basicConstraints)"):
        trust(JurisdictionTrust((anchor,), (), ()))


def test_a_key_that_one_jurisdiction_lists_twice() -> None:
    with pytest.raises(TrustError, match="IE court: this key is listed twice"):
        trust(realm("IE").lists(judge("IE"), replace(judge("IE"), roles=police("IE").roles)))


def test_a_cross_certificate_moves_no_authority_to_another_jurisdiction() -> None:
    """The American root certifies the Irish issuing CA: a path there gives no American office."""
    crossed = realm("US").root.issue("IE issuing", realm("IE").issuing.key, MADE, extensions=ca_extensions(0))
    signer = replace(judge("IE"), chain=(crossed,))
    crls = (*realm("US").crls(), realm("IE").crls()[1])
    listed = Trust(
        {
            realm("IE").jurisdiction: realm("IE").lists(judge("IE")),
            realm("US").jurisdiction: realm("US").lists(judge("US"), crls=crls),
        }
    )
    refused(signer.sign(claims()), 8, listed=listed, code="issuer-role")


def test_a_chain_that_leads_to_two_jurisdictions() -> None:
    """A union lists the root and a member state its issuing CA: the chain must say which it means."""
    union = Realm(Jurisdiction.parse("EU"), realm("IE").root, realm("IE").issuing)
    member = JurisdictionTrust(
        (realm("IE").issuing.certificate,), realm("IE").crls(), (judge("IE").listed(),)
    )
    listed = Trust({union.jurisdiction: union.lists(), realm("IE").jurisdiction: member})
    assert "several jurisdictions: EU, IE" in refused(judge("IE").sign(claims()), 5, listed=listed)
    to_the_member = replace(judge("IE"), chain=())
    assert str(verify(to_the_member.sign(claims()), listed).issuer.jurisdiction) == "IE"


def test_anchors_of_one_name_in_two_jurisdictions() -> None:
    """The name is shared, the key is not: the path finds its own, and lends no office elsewhere."""

    def twin(code: str) -> Realm:
        root = CertificateAuthority.root("shared name", MADE)
        return Realm(Jurisdiction.parse(code), root, root.subordinate("issuing", MADE))

    ireland, america = twin("IE"), twin("US")
    signer = ireland.signer("court")
    listed = Trust({ireland.jurisdiction: ireland.lists(signer), america.jurisdiction: america.lists()})
    assert str(verify(signer.sign(claims()), listed).issuer.jurisdiction) == "IE"
    refused(america.signer("court").sign(claims()), 8, listed=listed, code="issuer-role")


def test_name_constraints_hold() -> None:
    """A CA for one domain certifies an authority with an address in another (RFC 5280 4.2.1.10)."""
    limit = x509.NameConstraints([x509.DNSName("courts.example.ie")], None)
    limited = realm("IE").root.subordinate("limited", MADE, extensions=(*ca_extensions(0), (limit, True)))
    key = ec.generate_private_key(ec.SECP256R1())
    crls = (realm("IE").crls()[0], limited.revocation_list(NOW))

    def court(name: str) -> Signer:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        cert = limited.issue("court", key, MADE, extensions=(*leaf_extensions(key), (names, False)))
        return Signer("court", judge("IE").roles, cert, key, (limited.certificate,))

    inside, outside = court("dublin.courts.example.ie"), court("courts.example.us")
    listed = realm("IE").lists(inside, crls=crls)
    assert verify(inside.sign(claims()), trust(listed))
    refused_path(outside, 5, listed)
