"""The demo's authorities and their public key infrastructure, one for each jurisdiction.

    root CA (P-256) -> issuing CA (P-256) -> authority's certificate (RSA-2048)

The authorities' keys are RSA because a package is enveloped to them with RSA key transport;
the CAs' are P-256 because they are made at every start of the demo. Below the directory:

    trust/<JURISDICTION>/anchors/root.pem  crl/root.crl  crl/issuing.crl  authorities.toml
    ca/<JURISDICTION>/{root,issuing}.{pem,key}     so that certificates can be revoked later
    authorities/<jurisdiction>-<name>/{cert,key,chain}.pem
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.demo.certificates import CertificateAuthority, PrivateKey, revocation
from policy.geography import Jurisdiction
from policy.order import IssuerRole
from policy.trust import spki_sha256


@dataclass(frozen=True, slots=True)
class DemoAuthority:
    """One authority: its offices, and the PEM files it signs and decrypts with."""

    name: str
    jurisdiction: Jurisdiction
    roles: frozenset[IssuerRole]
    cert: Path
    key: Path
    chain: Path


_CAST: Final[tuple[tuple[str, str, tuple[IssuerRole, ...]], ...]] = (
    ("IE", "District Court", (IssuerRole.JUDGE, IssuerRole.COURT)),
    ("IE", "An Garda Siochana", (IssuerRole.POLICE,)),
    ("DE", "Amtsgericht Frankfurt", (IssuerRole.JUDGE, IssuerRole.COURT)),
    ("DE", "Staatsanwaltschaft Frankfurt", (IssuerRole.PROSECUTOR,)),
    ("DE", "Bundeskriminalamt", (IssuerRole.POLICE,)),
    ("US", "US District Court SDNY", (IssuerRole.JUDGE, IssuerRole.COURT)),
    ("US", "US Attorney SDNY", (IssuerRole.PROSECUTOR,)),
    ("US", "Federal Bureau of Investigation", (IssuerRole.POLICE,)),
    ("FR", "Tribunal judiciaire de Paris", (IssuerRole.JUDGE, IssuerRole.INVESTIGATING_JUDGE)),
    ("FR", "Direction generale des douanes", (IssuerRole.OTHER_AUTHORITY,)),
    ("GB", "Crown Court at Southwark", (IssuerRole.JUDGE, IssuerRole.COURT)),
)


def make_pki(directory: Path, now: datetime) -> tuple[DemoAuthority, ...]:
    """The demo's authorities with everything that is needed to trust them.

    A directory that already has them keeps its keys, so that what was encrypted to an
    authority stays readable; only the revocation lists are made anew.
    """
    index = directory / "authorities" / "index.json"
    if index.exists():
        _renew_revocation_lists(directory, now)
        return tuple(_from_index(directory, entry) for entry in json.loads(index.read_text()))
    made: list[DemoAuthority] = []
    for code in dict.fromkeys(code for code, _, _ in _CAST):
        issuing = _make_cas(directory, code, now)
        local = [
            _make_authority(directory, issuing, code, name, roles, now)
            for c, name, roles in _CAST
            if c == code
        ]
        _write(directory / "trust" / code / "authorities.toml", _authorities_toml(local).encode())
        made += local
    _renew_revocation_lists(directory, now)
    _write(index, json.dumps([_to_index(directory, authority) for authority in made], indent=2).encode())
    return tuple(made)


def revoke(directory: Path, authority: DemoAuthority, now: datetime) -> None:
    """Put an authority's certificate on its CA's revocation list."""
    certificate = x509.load_pem_x509_certificate(authority.cert.read_bytes())
    _renew(directory, authority.jurisdiction.code, "issuing", now, [revocation(certificate, now)])


def _make_cas(directory: Path, code: str, now: datetime) -> CertificateAuthority:
    root = CertificateAuthority.root(f"{code} Judicial Root CA (demo)", now)
    issuing = root.subordinate(f"{code} Judicial Issuing CA (demo)", now)
    for name, ca in (("root", root), ("issuing", issuing)):
        _write(directory / "ca" / code / f"{name}.pem", _pem(ca.certificate))
        _write(directory / "ca" / code / f"{name}.key", _private_pem(ca.key), secret=True)
    _write(directory / "trust" / code / "anchors" / "root.pem", _pem(root.certificate))
    return issuing


def _make_authority(
    directory: Path,
    issuing: CertificateAuthority,
    code: str,
    name: str,
    roles: tuple[IssuerRole, ...],
    now: datetime,
) -> DemoAuthority:
    key = rsa.generate_private_key(65537, 2048)
    place = directory / "authorities" / f"{code.lower()}-{re.sub('[^a-z]+', '-', name.lower())}"
    authority = DemoAuthority(
        name,
        Jurisdiction.parse(code),
        frozenset(roles),
        place / "cert.pem",
        place / "key.pem",
        place / "chain.pem",
    )
    _write(authority.cert, _pem(issuing.issue(name, key, now)))
    _write(authority.key, _private_pem(key), secret=True)
    _write(authority.chain, _pem(issuing.certificate))
    return authority


def _renew_revocation_lists(directory: Path, now: datetime) -> None:
    for place in sorted((directory / "ca").iterdir()):
        for name in ("root", "issuing"):
            _renew(directory, place.name, name, now)


def _renew(
    directory: Path, code: str, name: str, now: datetime, added: Iterable[x509.RevokedCertificate] = ()
) -> None:
    target = directory / "trust" / code / "crl" / f"{name}.crl"
    kept = x509.load_pem_x509_crl(target.read_bytes()) if target.exists() else ()
    crl = _load_ca(directory / "ca" / code, name).revocation_list(now, [*kept, *added])
    _write(target, _pem(crl))


def _load_ca(place: Path, name: str) -> CertificateAuthority:
    key = serialization.load_pem_private_key((place / f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return CertificateAuthority(key, x509.load_pem_x509_certificate((place / f"{name}.pem").read_bytes()))


def _authorities_toml(authorities: Iterable[DemoAuthority]) -> str:
    entries = []
    for authority in authorities:
        certificate = x509.load_pem_x509_certificate(authority.cert.read_bytes())
        roles = ", ".join(f'"{role}"' for role in sorted(authority.roles))
        entries.append(
            f'[[authority]]\nname = "{authority.name}"\n'
            f'spki_sha256 = "{spki_sha256(certificate)}"\nroles = [{roles}]\n'
        )
    return "\n".join(entries)


def _to_index(directory: Path, authority: DemoAuthority) -> dict[str, object]:
    return {
        "name": authority.name,
        "jurisdiction": authority.jurisdiction.code,
        "roles": sorted(authority.roles),
        "place": str(authority.cert.parent.relative_to(directory)),
    }


def _from_index(directory: Path, entry: dict[str, object]) -> DemoAuthority:
    place = directory / str(entry["place"])
    roles = entry["roles"]
    assert isinstance(roles, list)
    return DemoAuthority(
        str(entry["name"]),
        Jurisdiction.parse(str(entry["jurisdiction"])),
        frozenset(IssuerRole(role) for role in roles),
        place / "cert.pem",
        place / "key.pem",
        place / "chain.pem",
    )


def _pem(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return thing.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, body: bytes, *, secret: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
    part.replace(path)  # a reader never sees half a revocation list
