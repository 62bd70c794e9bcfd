"""`situs order`: sign an order as an authority would, and verify one step by step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import load_config
from gateway.trust import load_trust
from policy.jose import SigningKey
from policy.jws import MAX_ORDER
from policy.keys import KeyRefused
from policy.order import ClaimError, Order, SignatureRole, parse_moment
from policy.signing import SigningFault, add_signature, sign_order
from policy.strict_json import JsonFault, parse
from policy.verification import (
    MalformedOrder,
    Step,
    Trust,
    Unverified,
    VerifiedOrder,
    read_order,
    verify_order,
)

_FILE = click.Path(path_type=Path)


@click.group()
def order() -> None:
    """Sign and verify lawful orders."""


@order.command()
@click.argument("claims", type=_FILE, required=False)
@click.option("--cert", type=_FILE, required=True, help="The authority's certificate (PEM).")
@click.option("--key", type=_FILE, required=True, help="Its private key (PEM, not encrypted).")
@click.option("--chain", type=_FILE, help="The certificates from its issuer upwards (PEM).")
@click.option("--as", "role", type=click.Choice([str(role) for role in SignatureRole]), default=None)
@click.option("--add-to", type=_FILE, help="A signed order that gets one more signature.")
def sign(
    claims: Path | None, cert: Path, key: Path, chain: Path | None, role: str | None, add_to: Path | None
) -> None:
    """Print the signed order: CLAIMS as a compact JWS, or --add-to's order as general JSON.

    With both, CLAIMS must be what that order says already. `-` reads standard input.
    """
    certificates = [*_certificates(cert), *(_certificates(chain) if chain else ())]
    private_key = _private_key(key)
    try:
        if add_to is None:
            if claims is None:
                raise UsageFault("CLAIMS: a file of claims is expected, or --add-to a signed order")
            signed = sign_order(
                _claims(claims),
                certificates[0],
                private_key,
                certificates[1:],
                SignatureRole(role or SignatureRole.ISSUE),
            )
        else:
            signed = add_signature(
                _agreeing(add_to, claims),
                certificates[0],
                private_key,
                certificates[1:],
                _added_role(role),
            )
    except MalformedOrder as error:
        raise UsageFault(f"{add_to}: {error}") from None
    except ClaimError as error:
        raise UsageFault(f"{claims}: {error}") from None
    except SigningFault as error:
        raise UsageFault(f"{key}: {error}") from None
    except KeyRefused as error:
        raise UsageFault(f"{cert}: {error}") from None
    click.echo(signed)


@order.command()
@click.argument("file", type=_FILE)
@click.option("--trust", type=_FILE, help="The trust lists; by default those of the configuration.")
@click.option("--config", type=_FILE, help="situs.toml; by default $SITUS_CONFIG or the one here.")
@click.option("--now", "moment", metavar="RFC3339", help="Verify as of this time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def verify(file: Path, trust: Path | None, config: Path | None, moment: str | None, as_json: bool) -> None:
    """Verify a signed order and print each step, numbered as in policy/verification.py."""
    now = datetime.now(UTC) if moment is None else _moment(moment)
    raw = _octets(file)
    lists = trust or load_config(config or Path(os.environ.get("SITUS_CONFIG", "situs.toml"))).trust
    steps, verified, fault = _examine(raw, load_trust(lists), now)
    in_force = verified is not None and _in_force(verified.order, now)
    if as_json:
        click.echo(json.dumps(_report(steps, verified, in_force, fault), indent=2))
    else:
        for line in _lines(steps, verified):
            click.echo(line)
    if verified is None:
        raise AnswerIsNo(f"{file}: not genuine: {fault}")
    if not in_force:
        raise AnswerIsNo(f"{file}: genuine, but not in force at {_stamp(now)}")


def _examine(
    raw: bytes, trust: Trust, now: datetime
) -> tuple[tuple[Step, ...], VerifiedOrder | None, str | None]:
    try:
        verified = verify_order(read_order(raw), trust, now)
    except MalformedOrder as error:
        return (Step(1, "form", False, str(error)),), None, str(error)
    except Unverified as error:
        return error.steps, None, error.detail
    return verified.steps, verified, None


def _in_force(order: Order, now: datetime) -> bool:
    """As `policy.case` has it: where `nbf` only repeats `iat`, step 9 has allowed for the clocks."""
    begun = order.not_before == order.issued_at or order.not_before <= now
    return begun and now < order.expires_at


def _lines(steps: tuple[Step, ...], verified: VerifiedOrder | None) -> Iterator[str]:
    signature = None
    for step in steps:
        if step.signature != signature and step.signature is not None:
            yield f"signatures[{step.signature}]"
        signature = step.signature
        yield f"{step.number:>3}. {step.title:<10} {'ok' if step.ok else 'NO':<3} {step.detail}"
    if verified is None:
        return
    order = verified.order
    yield f"order        {order.reference!r} by {verified.issuer.name} of {verified.issuer.jurisdiction}"
    yield f"in force     {_stamp(order.not_before)} until {_stamp(order.expires_at)}"
    yield f"digest       {verified.digest}"
    yield f"replay key   {verified.replay_key}"


def _report(
    steps: tuple[Step, ...], verified: VerifiedOrder | None, in_force: bool, fault: str | None
) -> dict[str, object]:
    return {
        "genuine": verified is not None,
        "in_force": in_force,
        "fault": fault,
        "steps": [
            {"number": s.number, "title": s.title, "ok": s.ok, "detail": s.detail, "signature": s.signature}
            for s in steps
        ],
        "signatories": [
            {
                "role": str(each.role),
                "jurisdiction": str(each.jurisdiction),
                "issuer_roles": sorted(each.issuer_roles),
                "name": each.name,
            }
            for each in (verified.signatories if verified else ())
        ],
        "digest": verified.digest if verified else None,
        "replay_key": verified.replay_key if verified else None,
    }


def _added_role(role: str | None) -> SignatureRole:
    if role not in (SignatureRole.VALIDATE, SignatureRole.RECOGNISE):
        raise UsageFault(
            "--as: validate or recognise is expected with --add-to; one signature issues an order"
        )
    return SignatureRole(role)


def _agreeing(add_to: Path, claims: Path | None) -> bytes:
    """The order to add to. An authority that names CLAIMS signs those and no others."""
    raw = _octets(add_to)
    signed = parse(read_order(raw).form.payload)
    if claims is not None and _claims(claims) != signed:
        raise UsageFault(f"{claims}: these are not the claims of {add_to}")
    return raw


def _claims(path: Path) -> dict[str, Any]:
    try:
        claims = parse(_octets(path))
    except JsonFault as fault:
        raise UsageFault(f"{path}: {fault}") from None
    if not isinstance(claims, dict):
        raise UsageFault(f"{path}: a JSON object of claims is expected")
    return claims


def _octets(path: Path) -> bytes:
    """At most what an order may have, and one octet more, so that a larger one is refused as such."""
    try:
        with click.open_file(str(path), "rb") as file:
            octets = file.read(MAX_ORDER + 1)
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}") from None
    assert isinstance(octets, bytes)
    return octets


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_octets(path))
    except ValueError:
        raise UsageFault(f"{path}: certificates in PEM are expected") from None


def _private_key(path: Path) -> SigningKey:
    try:
        key = load_pem_private_key(_octets(path), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise UsageFault(f"{path}: a private key in PEM, not encrypted, is expected") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise UsageFault(f"{path}: a key on P-256, P-384 or Ed25519, or an RSA key, is expected")
    return key


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text, "--now")
    except ClaimError as error:
        raise UsageFault(str(error)) from None


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
