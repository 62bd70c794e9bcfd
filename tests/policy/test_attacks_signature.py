"""Attacks on signatures, roles and dates: a well-formed order that is not what it says."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from policy.order import SignatureRole
from policy.verification import ISSUED_AHEAD, Trust, Unverified, VerifiedOrder, read_order
from tests.policy.pki import (
    NOW,
    Signer,
    b64,
    claims,
    forge,
    general,
    judge,
    parts,
    police,
    raw_signature,
    realm,
    trust,
    unb64,
    usual_trust,
    verify,
    x5c,
)

ISSUE, VALIDATE, RECOGNISE = SignatureRole.ISSUE, SignatureRole.VALIDATE, SignatureRole.RECOGNISE


def refused(order: str | bytes, step: int, *, listed: Trust | None = None, code: str = "signature") -> str:
    """The order is refused at that step; the reason."""
    with pytest.raises(Unverified) as caught:
        verify(order, listed or usual_trust())
    last = caught.value.steps[-1]
    assert (last.number, last.ok, caught.value.code) == (step, False, code), caught.value.detail
    assert all(earlier.ok for earlier in caught.value.steps[:-1])
    return caught.value.detail


def header(**changes: Any) -> dict[str, Any]:
    return judge("IE").header() | changes


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_alg_none(algorithm: str) -> None:
    head, payload, signature = parts(forge(header(alg=algorithm), claims(), judge("IE")))
    assert "ES256" in refused(f"{head}.{payload}.", 3)
    assert "ES256" in refused(f"{head}.{payload}.{signature}", 3)


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_hs256_with_the_public_key_as_the_secret(encoding: serialization.Encoding) -> None:
    for secret in (
        judge("IE").cert.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo),
        judge("IE").cert.public_bytes(encoding),
    ):
        signed = f"{b64(json.dumps(header(alg='HS256')))}.{b64(json.dumps(claims()))}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert "HS256" in refused(f"{signed}.{b64(mac)}", 3)


@pytest.mark.parametrize(
    "algorithm", ["ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "Ed25519", "RS1"]
)
def test_an_algorithm_that_the_key_does_not_sign_with(algorithm: str) -> None:
    refused(forge(header(alg=algorithm), claims(), judge("IE")), 3)


@pytest.mark.parametrize("algorithm", ["RS1", "RS384", "HS256", "PS512", "ES256"])
def test_an_algorithm_that_an_rsa_key_does_not_sign_with(algorithm: str) -> None:
    signer = realm("IE").signer("RSA", key=rsa.generate_private_key(65537, 2048))
    order = forge(signer.header() | {"alg": algorithm}, claims(), signer)
    refused(order, 3, listed=trust(realm("IE").lists(signer)))


def test_a_payload_changed_by_one_byte() -> None:
    """Whichever byte it is, and whichever way it is changed: no other payload verifies."""
    head, payload, signature = parts(judge("IE").sign(claims()))
    octets = unb64(payload)
    for position in range(len(octets)):
        changed = octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
        with pytest.raises((Unverified, ValueError)) as caught:
            verify(f"{head}.{b64(changed)}.{signature}", usual_trust())
        if isinstance(caught.value, Unverified):  # still an order: then the signature gave it away
            assert caught.value.steps[-1].number == 7


def test_a_payload_changed_by_one_byte_that_is_still_an_order() -> None:
    head, payload, signature = parts(judge("IE").sign(claims()))
    changed = unb64(payload).replace(b"aoife@", b"aoifa@")
    assert read_order(f"{head}.{b64(changed)}.{signature}").order.target.local == "aoifa"
    refused(f"{head}.{b64(changed)}.{signature}", 7)


def test_a_header_changed_after_signing() -> None:
    """A validation cannot be turned into an issue."""
    _, payload, signature = parts(judge("IE").sign(claims(), VALIDATE))
    refused(f"{b64(json.dumps(header()))}.{payload}.{signature}", 7)


@pytest.mark.parametrize("change", ["cut", "lengthened", "zero", "empty", "der", "swapped"])
def test_a_signature_changed(change: str) -> None:
    head, payload, signature = parts(judge("IE").sign(claims()))
    octets = unb64(signature)
    key = judge("IE").key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bent = {
        "cut": octets[:-1],
        "lengthened": octets + b"\0",
        "zero": bytes(64),  # CVE-2022-21449: r = s = 0 is a signature of everything
        "empty": b"",
        "der": key.sign(f"{head}.{payload}".encode(), ec.ECDSA(hashes.SHA256())),  # RFC 7518 3.4: r || s
        "swapped": octets[32:] + octets[:32],
    }[change]
    refused(f"{head}.{payload}.{b64(bent)}", 7)


def test_a_foreign_chain() -> None:
    """Somebody's own CA, named to the letter like the Irish one."""
    mimic = realm("IE").root.root("IE root", NOW)
    issuing = mimic.subordinate("IE issuing", NOW)
    cert = issuing.issue("IE court", judge("IE").key, NOW)
    stranger = replace(judge("IE"), cert=cert, chain=(issuing.certificate,))
    refused(stranger.sign(claims()), 5)
    refused(replace(stranger, chain=(issuing.certificate, mimic.certificate)).sign(claims()), 5)


def test_a_foreign_chain_under_a_name_that_nobody_lists() -> None:
    assert "no jurisdiction lists an anchor named CN=ZZ root" in refused(
        realm("ZZ").signer("ZZ court").sign(claims()), 5
    )


def test_a_chain_swapped_for_the_other_jurisdictions() -> None:
    bent = header(x5c=[x5c(judge("IE").cert), *judge("US").header()["x5c"][1:]])
    refused(forge(bent, claims(), judge("IE")), 5)


def test_a_chain_swapped_between_two_signatures() -> None:
    """An Irish recognition cannot lend its certificates to the American signature beside it."""
    order = judge("IE").add(judge("US").sign(claims()), RECOGNISE)
    outer = json.loads(order)
    first, second = outer["signatures"]
    heads = [json.loads(unb64(each["protected"])) for each in (first, second)]
    heads[0]["x5c"], heads[1]["x5c"] = heads[1]["x5c"], heads[0]["x5c"]
    swapped = general(
        outer["payload"],
        *(
            (b64(json.dumps(head)), each["signature"])
            for head, each in zip(heads, (first, second), strict=True)
        ),
    )
    refused(swapped, 7)
    exchanged = general(
        outer["payload"],
        (first["protected"], second["signature"]),
        (second["protected"], first["signature"]),
    )
    refused(exchanged, 7)


def test_the_certificate_of_a_judge_before_a_key_of_ones_own() -> None:
    thief = Signer("thief", judge("IE").roles, judge("IE").cert, ec.generate_private_key(ec.SECP256R1()), ())
    refused(forge(header(), claims(), thief), 7)


def test_a_genuine_signature_moved_to_another_order() -> None:
    order = json.loads(judge("IE").add(police("IE").sign(claims(jti="A")), VALIDATE))
    other = json.loads(judge("IE").add(police("IE").sign(claims(jti="B")), VALIDATE))
    mixed = order | {"signatures": [order["signatures"][0], other["signatures"][1]]}
    refused(json.dumps(mixed), 7)


def test_a_key_that_no_jurisdiction_lists_as_an_authority() -> None:
    """A certificate from the right CA is not an office."""
    assert "lists no authority" in refused(
        realm("IE").signer("A clerk").sign(claims()), 8, code="issuer-role"
    )


def test_an_authority_that_another_jurisdiction_lists() -> None:
    """The American court's key, certified by the Irish CA: the Irish list does not have it."""
    borrowed = realm("IE").signer("US court", key=judge("US").key)
    refused(borrowed.sign(claims()), 8, code="issuer-role")


def test_the_role_comes_from_the_trust_list_and_not_from_the_claim() -> None:
    verified = verify(police("IE").sign(claims(issuer_role="judge", iss="IE court")), usual_trust())
    assert verified.issuer.issuer_roles == police("IE").roles
    assert verified.issuer.name == "IE police"


@pytest.mark.parametrize(
    "roles", [(), (VALIDATE,), (VALIDATE, RECOGNISE), (ISSUE, ISSUE), (ISSUE, VALIDATE, ISSUE)]
)
def test_not_exactly_one_signature_that_issues(roles: tuple[SignatureRole, ...]) -> None:
    signers = [judge("IE"), police("IE"), judge("US")]
    order = signers[0].sign(claims(), roles[0] if roles else RECOGNISE)
    for signer, role in zip(signers[1:], roles[1:], strict=False):
        order = signer.add(order, role)
    refused(order, 2)


def test_an_authority_that_validates_its_own_order() -> None:
    assert "has signed already" in refused(police("IE").add(police("IE").sign(claims()), VALIDATE), 8)


def test_the_same_signature_twice() -> None:
    outer = json.loads(judge("IE").add(police("IE").sign(claims()), VALIDATE))
    outer["signatures"].append(outer["signatures"][1])
    refused(json.dumps(outer), 8)


def test_one_bad_signature_among_good_ones() -> None:
    """No signature is passed over: what cannot be verified makes the order doubtful."""
    outer = json.loads(judge("DE").add(judge("IE").add(judge("US").sign(claims()), RECOGNISE), RECOGNISE))
    outer["signatures"][2]["signature"] = b64(raw_signature(b"something else", judge("DE").key))
    assert "signatures[2]" in refused(json.dumps(outer), 7)


def test_clock_skew_of_the_issuer() -> None:
    def issued(ahead: timedelta) -> str:
        return judge("IE").sign(claims(iat=(NOW + ahead).timestamp(), nbf=NOW.timestamp()))

    assert verify(issued(ISSUED_AHEAD), usual_trust())
    refused(issued(ISSUED_AHEAD + timedelta(seconds=1)), 9, code="in-force")


def test_a_clock_without_a_time_zone() -> None:
    with pytest.raises(ValueError, match="aware"):
        verify(judge("IE").sign(claims()), usual_trust(), NOW.replace(tzinfo=None))


def test_a_verified_order_cannot_be_made_by_hand() -> None:
    unverified = read_order(judge("IE").sign(claims()))
    with pytest.raises(TypeError):
        VerifiedOrder(unverified, (), judge("IE").cert, (), mint=object())
