"""How long a verification takes: three certificates, revocation lists read beforehand.

Measured twice: for an authority whose chain has been validated before, which is the usual case,
and for one that is seen for the first time.

Targets (issue 5, line 8): at most 1.5 ms for a verification; 2,000 orders a second on one core
from octets to decision. Baselines in the same run: the bare signatures that a verification cannot
do without, joserfc reading the same JWS with the key given, and pyhanko-certvalidator on the same
path and lists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from statistics import median

from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from joserfc.registry import HeaderParameter
from pyhanko_certvalidator import CertificateValidator, ValidationContext

from gateway.law import packaged_lawbook
from policy.decision import Permit, Setting, decide
from policy.geography import Jurisdiction, Region, RegionCode
from policy.verification import read_order, verify_order
from tests.policy.pki import NOW, Signer, claims, judge, realm, trust

TARGET_MS = 1.5
TARGET_PER_SECOND = 2_000
IRELAND = Setting(Region(RegionCode.parse("eu-west-1"), Jurisdiction.parse("IE")), frozenset())


def p50(call: Callable[[], object], *, times: int = 400) -> float:
    """The median duration of a call, in milliseconds."""
    for _ in range(20):
        call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return median(taken) * 1000


def run() -> None:
    """Prints one line for each measurement."""
    rsa_signer = realm("IE").signer("IE court", key=rsa.generate_private_key(65537, 2048))
    for name, signer in {"P-256": judge("IE"), "RSA-2048": rsa_signer}.items():
        took = p50(_verification(signer))
        _say(f"verify an order, {name} leaf", took, f"target {TARGET_MS} ms: {_verdict(took <= TARGET_MS)}")
        _say("  baseline: joserfc, the JWS alone, key given", p50(_joserfc(signer)))
        _say("  baseline: pyhanko-certvalidator, path and CRLs alone", p50(_pyhanko(signer), times=60))
    first = _first_sight()
    _say(
        "verify an order, P-256 leaf seen for the first time",
        first,
        f"target {TARGET_MS} ms: {_verdict(first <= TARGET_MS)}",
    )
    _say("  baseline: three bare P-256 verifications", 3 * p50(_bare_signature()))
    _end_to_end()


def _end_to_end() -> None:
    """From octets to a decision, one order after another on one core."""
    lawbook = packaged_lawbook()
    listed = trust(realm("IE").lists(judge("IE")))
    orders = [judge("IE").sign(claims(jti=f"DC-{number}")).encode() for number in range(500)]
    started = time.process_time()
    for raw in orders:
        verified = verify_order(read_order(raw), listed, NOW)
        decision = decide(verified, verified.order.categories, IRELAND, lawbook, NOW)
        assert isinstance(decision, Permit), decision.assessment
    rate = len(orders) / (time.process_time() - started)
    _say(
        "read, verify and decide, orders per CPU second",
        rate,
        f"target {TARGET_PER_SECOND}: {_verdict(rate >= TARGET_PER_SECOND)}",
        unit="/s",
    )


def _verification(signer: Signer) -> Callable[[], object]:
    order, listed = signer.sign(claims()).encode(), trust(realm("IE").lists(signer))
    return lambda: verify_order(read_order(order), listed, NOW)


def _first_sight() -> float:
    """The median for authorities that have never signed before, each once."""
    signers = [realm("IE").signer(f"court {number}") for number in range(300)]
    listed = trust(realm("IE").lists(*signers))
    orders = iter([signer.sign(claims()).encode() for signer in signers])
    return p50(lambda: verify_order(read_order(next(orders)), listed, NOW), times=280)


def _joserfc(signer: Signer) -> Callable[[], object]:
    order, public = signer.sign(claims()), signer.cert.public_key()
    key: ECKey | RSAKey
    if isinstance(public, rsa.RSAPublicKey):
        key = RSAKey.import_key(public)
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        key = ECKey.import_key(public)
    registry = jws.JWSRegistry({"role": HeaderParameter("role", "str")}, ["ES256", "PS256"])
    registry.max_header_length = 10_000
    return lambda: jws.deserialize_compact(order, key, registry=registry)


def _pyhanko(signer: Signer) -> Callable[[], object]:
    leaf, *above = [
        asn1_x509.Certificate.load(c.public_bytes(Encoding.DER)) for c in (signer.cert, *signer.chain)
    ]
    root = asn1_x509.Certificate.load(realm("IE").root.certificate.public_bytes(Encoding.DER))
    crls = [crl.public_bytes(Encoding.DER) for crl in realm("IE").crls()]

    def validate() -> object:
        context = ValidationContext(
            trust_roots=[root], moment=NOW, crls=crls, revocation_mode="require", time_tolerance=timedelta(0)
        )
        return asyncio.run(
            CertificateValidator(leaf, above, validation_context=context).async_validate_path()
        )

    return validate


def _bare_signature() -> Callable[[], object]:
    key = ec.generate_private_key(ec.SECP256R1())
    scheme = ec.ECDSA(hashes.SHA256())
    signature, public = key.sign(b"octets", scheme), key.public_key()
    return lambda: public.verify(signature, b"octets", scheme)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _say(what: str, figure: float, rest: str = "", *, unit: str = "ms") -> None:
    print(f"{what:58} {figure:9.3f} {unit} {rest}".rstrip())


if __name__ == "__main__":
    run()
