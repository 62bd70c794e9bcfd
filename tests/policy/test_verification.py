"""A genuine order verifies, whoever signs it and however it is written down."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.demo.certificates import PrivateKey
from policy.keys import KeyRefused
from policy.order import ClaimError, SignatureRole
from policy.signing import SigningFault, add_signature, sign_order
from policy.verification import MalformedOrder, Trust, Unverified, VerifiedOrder, read_order
from tests.policy import pki
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
    realm,
    trust,
    usual_trust,
    verify,
)

ISSUE, VALIDATE, RECOGNISE = SignatureRole.ISSUE, SignatureRole.VALIDATE, SignatureRole.RECOGNISE


def test_an_order_that_a_judge_signed_is_verified() -> None:
    order = judge("IE").sign(claims())
    verified = verify(order, usual_trust())
    (signatory,) = verified.signatories
    assert signatory == verified.issuer
    assert (signatory.role, str(signatory.jurisdiction), signatory.name) == (ISSUE, "IE", "IE court")
    assert signatory.issuer_roles == pki.JUDGE
    assert verified.order.reference == "DC-2026-0042"
    assert verified.issuer_certificate == judge("IE").cert
    assert verified.raw == order.encode()
    assert [step.number for step in verified.steps] == list(range(1, 10))
    assert all(step.ok for step in verified.steps)


KEYS: dict[str, Callable[[], PrivateKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_each_key_of_the_allow_list_signs(kind: str) -> None:
    signer = realm("IE").signer(kind, key=KEYS[kind]())
    listed = trust(realm("IE").lists(signer))
    assert verify(signer.sign(claims()), listed).issuer.name == kind
    # and as written by a signer that is not joserfc
    assert verify(forge(signer.header(), claims(), signer), listed).issuer.name == kind


def test_rs256_is_accepted_as_well_as_ps256() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signer = realm("IE").signer("RS256", key=key)
    head = b64(json.dumps(signer.header() | {"alg": "RS256"}))
    signed = f"{head}.{b64(json.dumps(claims()))}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert verify(f"{signed}.{b64(signature)}", trust(realm("IE").lists(signer)))


def several() -> str:
    """An American request by the police, validated by a court there, taken up by an Irish one."""
    order = judge("US").add(police("US").sign(claims(issuing_state="US")), VALIDATE)
    return judge("IE").add(order, RECOGNISE)


def test_several_authorities_sign_the_same_payload() -> None:
    verified = verify(several(), usual_trust())
    found = [(str(each.role), str(each.jurisdiction), each.name) for each in verified.signatories]
    assert found == [
        ("issue", "US", "US police"),
        ("validate", "US", "US court"),
        ("recognise", "IE", "IE court"),
    ]
    assert verified.issuer_certificate == police("US").cert
    numbers = [(step.signature, step.number) for step in verified.steps if step.signature is not None]
    assert numbers == [(signature, number) for signature in range(3) for number in range(3, 9)]


def test_the_order_of_the_signatures_makes_no_difference() -> None:
    outer = json.loads(several())
    seen = set()
    for signatures in permutations(outer["signatures"]):
        verified = verify(json.dumps(outer | {"signatures": list(signatures)}), usual_trust())
        seen.add((verified.signatories, verified.replay_key, verified.issuer_certificate))
    assert len(seen) == 1


def test_the_replay_key_is_the_orders_and_not_its_spellings() -> None:
    """Signed again, written as JSON, recognised in addition, certified anew: the same order."""
    first = judge("IE").sign(claims())
    head, payload, signature = parts(first)
    renewed = Signer("IE court", judge("IE").roles, *_certified_anew())
    respelt = forge(judge("IE").header(), json.dumps(claims(), indent=4).encode(), judge("IE"))
    spellings = [
        first,
        f"{first}\n",
        judge("IE").sign(claims()),
        general(payload, (head, signature)),
        json.dumps(json.loads(general(payload, (head, signature))), indent=2),
        judge("US").add(first, RECOGNISE),
        respelt,
        judge("IE").sign(claims(matter="amended")),
        judge("IE").sign(claims(iss="District Court, sitting at Dublin")),
    ]
    verified = [verify(each, usual_trust()) for each in spellings]
    verified.append(verify(renewed.sign(claims()), trust(realm("IE").lists(judge("IE"), renewed))))
    assert len({each.replay_key for each in verified}) == 1
    assert len({each.digest for each in verified}) == len(verified)


def _certified_anew() -> tuple[x509.Certificate, PrivateKey, tuple[x509.Certificate, ...]]:
    key = ec.generate_private_key(ec.SECP256R1())
    return realm("IE").issuing.issue("IE court", key, pki.MADE), key, judge("IE").chain


def test_the_replay_key_tells_orders_and_issuers_apart() -> None:
    orders = [
        judge("IE").sign(claims()),
        judge("IE").sign(claims(jti="DC-2026-0043")),
        judge("IE").sign(claims(jti="dc-2026-0042")),
        judge("US").sign(claims()),
        police("IE").sign(claims()),
        judge("IE").add(police("US").sign(claims()), RECOGNISE),
    ]
    keys = [verify(each, usual_trust()).replay_key for each in orders]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in keys)


def test_the_replay_key_tells_namesakes_in_two_jurisdictions_apart() -> None:
    courts = [realm(code).signer("District Court") for code in ("IE", "US")]
    listed = Trust(
        {realm(c).jurisdiction: realm(c).lists(s) for c, s in zip(("IE", "US"), courts, strict=True)}
    )
    first, second = (verify(court.sign(claims()), listed) for court in courts)
    assert first.issuer.name == second.issuer.name
    assert first.replay_key != second.replay_key


def test_the_digest_is_of_the_octets_as_they_came() -> None:
    order = judge("IE").sign(claims())
    assert read_order(order).digest == read_order(order.encode()).digest != read_order(f"{order}\n").digest
    assert read_order(f"{order}\n").raw == f"{order}\n".encode()


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != "" and text.isprintable()))
def test_whatever_the_reference_it_comes_through(reference: str) -> None:
    verified = verify(judge("IE").sign(claims(jti=reference)), usual_trust())
    assert verified.order.reference == reference


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_octets_raise_anything_but_our_errors(data: st.DataObject) -> None:
    """A stranger's octets end in MalformedOrder or Unverified, or were a genuine order after all."""
    genuine = data.draw(st.sampled_from([judge("IE").sign(claims()), several()])).encode()
    start = data.draw(st.integers(0, len(genuine)))
    length = data.draw(st.integers(0, 40))
    bent = genuine[:start] + data.draw(st.binary(max_size=40)) + genuine[start + length :]
    try:
        verified = verify(bent, usual_trust())
    except (MalformedOrder, Unverified):
        return
    assert verified.order == read_order(genuine).order


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_text_raises_anything_but_malformed_order(noise: str | bytes) -> None:
    with pytest.raises(MalformedOrder):
        read_order(noise)


def test_a_certificate_to_deliver_to_is_one_certificate() -> None:
    pem = judge("US").cert.public_bytes(Encoding.PEM).decode()
    assert read_order(judge("IE").sign(claims(deliver_to=pem))).order.deliver_to == pem
    for bent in (pem + pem, "US court", pem.replace("CERTIFICATE", "PRIVATE KEY"), pem + "-----BEGIN X-----"):
        with pytest.raises(MalformedOrder) as caught:
            read_order(judge("IE").sign(claims(deliver_to=bent)))
        assert caught.value.field == "deliver_to"


def test_expiry_is_for_the_decision() -> None:
    """Who signed stays true when an order has lapsed; what follows from it is policy.decision's."""
    order = judge("IE").sign(claims(exp=(NOW - timedelta(minutes=1)).timestamp()))
    assert verify(order, usual_trust()).order.expires_at < NOW


def test_a_verified_order_does_not_change_and_is_not_copied() -> None:
    verified = verify(judge("IE").sign(claims()), usual_trust())
    with pytest.raises(AttributeError):
        verified.order = read_order(judge("IE").sign(claims(jti="other"))).order  # type: ignore[misc]
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copying(verified)
    assert type(verified) is VerifiedOrder


def test_signing_refuses_what_no_gateway_would_read() -> None:
    court, police_ = judge("IE"), police("IE")
    with pytest.raises(ClaimError):
        court.sign(claims(surprise=True))
    with pytest.raises(SigningFault, match="not the one that the certificate certifies"):
        sign_order(claims(), court.cert, police_.key)
    weak = ec.generate_private_key(ec.SECP224R1())
    with pytest.raises(KeyRefused):
        sign_order(claims(), realm("IE").issuing.issue("weak", weak, pki.MADE), weak)


def test_adding_a_signature_refuses_a_seventeenth_and_what_is_no_order() -> None:
    court = judge("IE")
    order = police("IE").sign(claims())
    for _ in range(15):
        order = court.add(order, VALIDATE)
    with pytest.raises(SigningFault, match="at most 16"):
        court.add(order, VALIDATE)
    with pytest.raises(MalformedOrder):
        add_signature("nothing", court.cert, court.key)


def test_adding_a_signature_keeps_those_that_are_there() -> None:
    head, payload, signature = parts(police("IE").sign(claims()))
    outer = json.loads(judge("IE").add(f"{head}.{payload}.{signature}", VALIDATE))
    assert outer["payload"] == payload
    assert outer["signatures"][0] == {"protected": head, "signature": signature}
