"""A genuine order verifies, whoever signs it and however it is written down."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.demo.certificates import PrivateKey
from policy.order import SignatureRole
from tests.policy import pki
from tests.policy.pki import claims, forge, judge, realm, trust, usual_trust, verify

ISSUE, VALIDATE, RECOGNISE = SignatureRole.ISSUE, SignatureRole.VALIDATE, SignatureRole.RECOGNISE


def test_an_order_that_a_judge_signed_is_verified() -> None:
    verified = verify(judge("IE").sign(claims()), usual_trust())
    (signatory,) = verified.signatories
    assert signatory == verified.issuer
    assert (signatory.role, str(signatory.jurisdiction), signatory.name) == (ISSUE, "IE", "IE court")
    assert signatory.issuer_roles == pki.JUDGE
    assert verified.order.reference == "DC-2026-0042"
    assert verified.issuer_certificate == judge("IE").cert
    assert [step.number for step in verified.steps] == list(range(1, 10))
    assert all(step.ok for step in verified.steps)


def _keys() -> dict[str, PrivateKey]:
    return {
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "RSA-2048": rsa.generate_private_key(65537, 2048),
    }


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_each_key_of_the_allow_list_signs(kind: str) -> None:
    signer = realm("IE").signer(kind, key=_keys()[kind])
    listed = trust(realm("IE").lists(signer))
    assert verify(signer.sign(claims()), listed).issuer.name == kind
    # and as written by a signer that is not joserfc
    assert verify(forge(signer.header(), claims(), signer), listed).issuer.name == kind


def test_rs256_is_accepted_as_well_as_ps256() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key = rsa.generate_private_key(65537, 2048)
    signer = realm("IE").signer("RS256", key=key)
    head = pki.b64(json.dumps(signer.header() | {"alg": "RS256"}))
    signed = f"{head}.{pki.b64(json.dumps(claims()))}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert verify(f"{signed}.{pki.b64(signature)}", trust(realm("IE").lists(signer)))
