"""Is this order genuine? From the octets that arrived to a `VerifiedOrder`.

The steps of a verification, which `situs order verify` prints under the same numbers:

    1. The form: one JWS, compact or general JSON, in its only spelling, and claims that an
       order may have. Everything later reads what this step has read.
    2. The parts: one signature issues, the others validate or recognise.
    For each signature:
    3. The key: on the allow-list, and `alg` is one that this key signs with.
    4. The purpose: the certificate signs documents and issues nothing.
    5. The path: `x5c` leads to an anchor of exactly one jurisdiction, valid now.
    6. Revocation: a current CRL clears every certificate of the path but the anchor.
    7. The signature: made with that key over exactly these octets.
    8. The office: the jurisdiction's trust list gives this key its name and its roles; no
       key signs twice.
    And once more for the whole:
    9. The date: the order was not issued in the future.

What the order says of itself (its issuer's role, `nbf`, `exp`, its instrument) is for
`policy.decision` to weigh against these facts. Nothing here is remembered: whether an order
comes a second time is asked of the store, under `VerifiedOrder.replay_key`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, NoReturn, final

from cryptography import x509

from policy.certification import Uncertified, check_purpose, check_revocation, find_path
from policy.jose import is_genuine
from policy.jws import MalformedOrder, OrderForm, SignatureForm, one_line, read_form
from policy.keys import KeyRefused, algorithms_for
from policy.order import ClaimError, Order, SignatureRole
from policy.signatory import Signatory
from policy.strict_json import JsonFault, parse
from policy.trust import Authority, JurisdictionTrust, Path, Trust, TrustError, TrustFault, spki_sha256

__all__ = [
    "Authority",
    "JurisdictionTrust",
    "MalformedOrder",
    "Step",
    "Trust",
    "TrustError",
    "TrustFault",
    "Unverified",
    "UnverifiedOrder",
    "VerifiedOrder",
    "read_order",
    "verify_order",
]

ISSUED_AHEAD: Final = timedelta(minutes=2)  # how far an issuer's clock may run ahead of ours
# No tolerance anywhere else: a certificate, a CRL or an order that has ended has ended.

_MINT: Final = object()
_ROLES: Final = tuple(SignatureRole)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken, numbered as in this module's docstring. `signature` counts from 0."""

    number: int
    title: str
    ok: bool
    detail: str
    signature: int | None = None


class Unverified(Exception):
    """Not genuine, as far as can be told. `code` is the finding's, `steps` how far it came."""

    def __init__(self, code: str, detail: str, steps: tuple[Step, ...]) -> None:
        super().__init__(detail)
        self.code: Final = code
        self.detail: Final = detail
        self.steps: Final = steps


@final
@dataclass(frozen=True, slots=True)
class UnverifiedOrder:
    """An order that can be read, and that nobody may rely on. `digest` is of `raw`."""

    order: Order
    raw: bytes
    digest: str
    form: OrderForm


@final
class VerifiedOrder:
    """Proof that the signatories have signed the order. Made by `verify_order` alone."""

    __slots__ = ("digest", "issuer_certificate", "order", "raw", "replay_key", "signatories", "steps")

    def __init__(
        self,
        unverified: UnverifiedOrder,
        signatories: tuple[Signatory, ...],
        issuer_certificate: x509.Certificate,
        steps: tuple[Step, ...],
        *,
        mint: object,
    ) -> None:
        if mint is not _MINT:
            raise TypeError("a VerifiedOrder is made by policy.verification.verify_order")
        self.order: Final = unverified.order
        self.raw: Final = unverified.raw
        self.digest: Final = unverified.digest
        self.signatories: Final = signatories
        self.issuer_certificate: Final = issuer_certificate
        self.steps: Final = steps
        self.replay_key: Final = _replay_key(signatories[0], unverified.order.reference)

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError("a VerifiedOrder does not change")
        super().__setattr__(name, value)

    def __reduce__(self) -> NoReturn:
        # A copy would be made without the verification that it stands for.
        raise TypeError("a VerifiedOrder is not copied or stored: verify the order again")

    @property
    def issuer(self) -> Signatory:
        """The authority that made the order, named as the trust list names it."""
        return self.signatories[0]


def read_order(raw: bytes | str) -> UnverifiedOrder:
    """Step 1. Raises MalformedOrder naming the field and the rule; trusts nothing."""
    try:
        octets = raw.encode("utf-8") if isinstance(raw, str) else raw
    except UnicodeEncodeError:
        raise MalformedOrder("order", "a text that UTF-8 can write is expected") from None
    form = read_form(octets)
    try:
        claims = parse(form.payload)
        order = Order.parse(claims)
    except JsonFault as fault:
        raise MalformedOrder("payload", str(fault)) from None
    except ClaimError as error:
        raise MalformedOrder(error.claim, error.rule) from None
    if order.deliver_to is not None:
        _check_certificate(order.deliver_to)
    return UnverifiedOrder(order, octets, f"sha256:{sha256(octets).hexdigest()}", form)


def verify_order(unverified: UnverifiedOrder, trust: Trust, now: datetime) -> VerifiedOrder:
    """Steps 2 to 9, at `now` (aware, UTC). Raises Unverified at the first step that fails."""
    if now.tzinfo is None:
        raise ValueError("now: an aware datetime is expected")
    form = unverified.form
    walk = _Walk()
    walk.passed(1, "form", f"{len(form.signatures)} signature(s), {len(form.payload)} octets of claims")
    issuing = sum(signature.role is SignatureRole.ISSUE for signature in form.signatures)
    walk.require(issuing == 1, 2, "parts", f"{issuing} of {len(form.signatures)} signatures issue the order")
    signed: dict[str, tuple[Signatory, x509.Certificate]] = {}
    for walk.signature, signature in enumerate(form.signatures):
        spki, signatory = _verify_signature(signature, form.encoded_payload, trust, now, walk)
        if spki in signed:  # a validation or a recognition is somebody else's
            walk.failed(8, "office", f"{signatory.name} has signed already")
        signed[spki] = (signatory, signature.chain[0])
    walk.signature = None
    issued = unverified.order.issued_at
    walk.require(
        issued - now <= ISSUED_AHEAD, 9, "date", f"issued at {issued:%Y-%m-%dT%H:%M:%SZ}", code="in-force"
    )
    # Whoever wrote the signatures down in whatever order, the same follows from them.
    ranked = sorted(signed.values(), key=lambda each: _rank(each[0]))
    signatories = tuple(signatory for signatory, _ in ranked)
    return VerifiedOrder(unverified, signatories, ranked[0][1], tuple(walk.steps), mint=_MINT)


class _Walk:
    """The steps taken so far; the first that fails ends the walk."""

    def __init__(self) -> None:
        self.steps: Final[list[Step]] = []
        self.signature: int | None = None

    def passed(self, number: int, title: str, detail: str) -> None:
        self.steps.append(Step(number, title, True, one_line(detail, 400), self.signature))

    def failed(self, number: int, title: str, detail: str, code: str = "signature") -> NoReturn:
        step = Step(number, title, False, one_line(detail, 400), self.signature)
        self.steps.append(step)
        place = "" if self.signature is None else f"signatures[{self.signature}]: "
        raise Unverified(code, f"{place}{title}: {step.detail}", tuple(self.steps))

    def require(self, ok: bool, number: int, title: str, detail: str, *, code: str = "signature") -> None:
        if not ok:
            self.failed(number, title, detail, code)
        self.passed(number, title, detail)


def _verify_signature(
    signature: SignatureForm, encoded_payload: str, trust: Trust, now: datetime, walk: _Walk
) -> tuple[str, Signatory]:
    """Steps 3 to 8 -> the key's SPKI digest and whose it is."""
    leaf = signature.chain[0]
    try:
        algorithms = algorithms_for(leaf)
    except KeyRefused as error:
        walk.failed(3, "key", str(error))
    usable = f"this key signs with {' or '.join(sorted(algorithms))}"
    walk.require(signature.algorithm in algorithms, 3, "key", f"alg is {signature.algorithm!r:.40}, {usable}")
    path = _certify(signature.chain, trust, now, walk)
    signed = f"{signature.protected}.{encoded_payload}".encode("ascii")
    genuine = is_genuine(signed, signature.signature, leaf, signature.algorithm)
    walk.require(genuine, 7, "signature", f"{signature.algorithm} over {len(signed)} octets")
    spki = spki_sha256(leaf)
    authority = trust.authority(path.jurisdiction, spki)
    if authority is None:
        walk.failed(8, "office", f"{path.jurisdiction} lists no authority with the key {spki}", "issuer-role")
    offices = ", ".join(sorted(authority.roles))
    walk.passed(8, "office", f"{authority.name} of {path.jurisdiction} signs as {signature.role}: {offices}")
    return spki, Signatory(signature.role, path.jurisdiction, authority.roles, authority.name)


def _certify(chain: tuple[x509.Certificate, ...], trust: Trust, now: datetime, walk: _Walk) -> Path:
    """Steps 4 to 6."""
    subject = chain[0].subject.rfc4514_string()
    number, title = 4, "purpose"
    try:
        check_purpose(chain[0])
        walk.passed(number, title, f"{subject} signs documents (RFC 9336)")
        number, title = 5, "path"
        path = find_path(chain, trust, now)
        walk.passed(
            number, title, f"{len(path.certificates)} certificates to an anchor of {path.jurisdiction}"
        )
        number, title = 6, "revocation"
        check_revocation(path, trust, now)
        walk.passed(number, title, f"{len(path.certificates) - 1} certificates cleared by current CRLs")
    except Uncertified as error:
        walk.failed(number, title, str(error))
    return path


def _rank(signatory: Signatory) -> tuple[int, str, str]:
    return _ROLES.index(signatory.role), signatory.jurisdiction.code, signatory.name


def _replay_key(issuer: Signatory, reference: str) -> str:
    """Whose order it is, and its reference; not its octets, nor the key or the certificate of the day.

    A signature made again, a signature added, another serialisation or a renewed certificate
    leave it as it is. The name is the trust list's: `iss` is the sender's to choose.
    """
    identity = json.dumps([issuer.jurisdiction.code, issuer.name, reference], ensure_ascii=True)
    return sha256(identity.encode("ascii")).hexdigest()


def _check_certificate(pem: str) -> None:
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode("utf-8"))
    except ValueError:
        certificates = []
    if len(certificates) != 1 or pem.count("-----BEGIN ") != 1:  # and nothing else, such as a private key
        raise MalformedOrder("deliver_to", "one certificate in PEM is expected")
