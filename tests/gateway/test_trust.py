"""The trust lists on disk: what the demo writes is read, and each fault names its file and rule."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.demo.pki import DemoAuthority, make_pki, revoke
from gateway.disclosure.cms import Recipient, envelope
from gateway.trust import TrustDirectory, TrustUnusable, load_trust
from policy.geography import Jurisdiction
from policy.jose import SigningKey
from policy.order import IssuerRole, SignatureRole
from policy.signing import sign_order
from policy.verification import Trust, Unverified
from tests import peers
from tests.policy.pki import NOW, claims, verify

IE = Jurisdiction.parse("IE")


@dataclass(frozen=True)
class Made:
    """The demo's PKI in a directory."""

    directory: Path
    authorities: tuple[DemoAuthority, ...]

    @property
    def trust(self) -> Path:
        return self.directory / "trust"

    def authority(self, code: str, role: IssuerRole) -> DemoAuthority:
        return next(a for a in self.authorities if a.jurisdiction.code == code and role in a.roles)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: eleven RSA keys take a second."""
    directory = tmp_path_factory.mktemp("pki")
    make_pki(directory, NOW)
    return directory


@pytest.fixture
def made(pki: Path, tmp_path: Path) -> Made:
    """A copy to spoil. `make_pki` finds the authorities that are there already."""
    shutil.copytree(pki, tmp_path, dirs_exist_ok=True)
    return Made(tmp_path, make_pki(tmp_path, NOW))


def sign(authority: DemoAuthority) -> str:
    key = load_pem_private_key(authority.key.read_bytes(), None)
    assert isinstance(key, SigningKey)
    chain = x509.load_pem_x509_certificates(authority.chain.read_bytes())
    cert = x509.load_pem_x509_certificate(authority.cert.read_bytes())
    return sign_order(claims(), cert, key, chain, SignatureRole.ISSUE)


def test_every_authority_of_the_demo_is_verified_under_its_name_and_offices(made: Made) -> None:
    trust = load_trust(made.trust)
    for authority in made.authorities:
        issuer = verify(sign(authority), trust).issuer
        assert (issuer.name, issuer.jurisdiction) == (authority.name, authority.jurisdiction)
        assert issuer.issuer_roles == authority.roles


def test_the_demo_has_the_authorities_that_its_story_needs(made: Made) -> None:
    for code in ("IE", "DE", "US", "FR", "GB"):
        made.authority(code, IssuerRole.JUDGE)
    for code in ("DE", "US"):
        made.authority(code, IssuerRole.PROSECUTOR)
    for code in ("IE", "DE", "US"):
        made.authority(code, IssuerRole.POLICE)
    made.authority("FR", IssuerRole.OTHER_AUTHORITY)


def test_a_package_for_each_authority_of_the_demo_opens_with_its_key(made: Made, tmp_path: Path) -> None:
    openssl = peers.require("openssl")
    for authority in made.authorities:
        certificate = x509.load_pem_x509_certificate(authority.cert.read_bytes())
        (tmp_path / "part").write_bytes(envelope(b"the package", Recipient(certificate, NOW)))
        command = [openssl, "cms", "-decrypt", "-inform", "DER", "-in", "part", "-binary"]
        command += ["-recip", str(authority.cert), "-inkey", str(authority.key)]
        opened = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=30)
        assert opened.stdout == b"the package"


def test_private_keys_are_for_their_owner_alone(made: Made) -> None:
    keys = sorted(made.directory.rglob("*key*"))
    assert len(keys) == len(made.authorities) + 2 * 5
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_a_second_start_keeps_the_keys_and_renews_the_lists(made: Made) -> None:
    judge = made.authority("IE", IssuerRole.JUDGE)
    before = judge.key.read_bytes(), judge.cert.read_bytes()
    revoke(made.directory, made.authority("IE", IssuerRole.POLICE), NOW)
    assert make_pki(made.directory, NOW) == made.authorities
    assert (judge.key.read_bytes(), judge.cert.read_bytes()) == before
    trust = load_trust(made.trust)
    assert verify(sign(judge), trust)
    with pytest.raises(Unverified, match="is revoked"):
        verify(sign(made.authority("IE", IssuerRole.POLICE)), trust)


def test_a_revocation_is_seen_without_a_restart(made: Made) -> None:
    current = TrustDirectory(made.trust)
    police = made.authority("IE", IssuerRole.POLICE)
    order = sign(police)
    first = current()
    assert verify(order, first)
    assert current() is first
    revoke(made.directory, police, NOW)
    with pytest.raises(Unverified, match="is revoked"):
        verify(order, current())


def test_a_directory_that_breaks_answers_no_more_until_it_is_mended(made: Made) -> None:
    current = TrustDirectory(made.trust)
    crl = made.trust / "IE" / "crl" / "issuing.crl"
    genuine = crl.read_bytes()
    crl.write_bytes(b"half a")
    for _ in range(2):
        with pytest.raises(TrustUnusable, match=r"issuing\.crl"):
            current()
    crl.write_bytes(genuine)
    assert isinstance(current(), Trust)


def test_a_crl_may_be_in_der(made: Made) -> None:
    for path in (made.trust / "IE" / "crl").iterdir():
        path.write_bytes(x509.load_pem_x509_crl(path.read_bytes()).public_bytes(Encoding.DER))
    assert verify(sign(made.authority("IE", IssuerRole.JUDGE)), load_trust(made.trust))


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(trust: Path) -> None:
        path = trust / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def _write(name: str, octets: bytes) -> Callable[[Path], None]:
    def change(trust: Path) -> None:
        path = trust / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)

    return change


def _copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda trust: _write(target, (trust / source).read_bytes())(trust)


def _remove(name: str) -> Callable[[Path], None]:
    return lambda trust: (trust / name).unlink()


LIST = "IE/authorities.toml"
FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a stray file": (_write("notes.txt", b""), "notes.txt", "'notes.txt' is not an ISO 3166-1"),
    "a stray file in a jurisdiction": (_write("IE/ocsp", b""), "IE/ocsp", "only anchors/, crl/"),
    "no list of authorities": (_remove(LIST), LIST, "No such file"),
    "TOML that is none": (_write(LIST, b"[[authority"), LIST, "Expected"),
    "an unknown key": (_replace(LIST, "roles", "role"), LIST, "authority[0].role: unknown key"),
    "a key that is left out": (
        _replace(LIST, "name", "title"),
        LIST,
        "authority[0].name: a text of 1 to 256",
    ),
    "a role that is none": (
        _replace(LIST, '"judge"', '"sheriff"'),
        LIST,
        "authority[0].roles: a list of judge",
    ),
    "a digest that is none": (_replace(LIST, 'sha256 = "', 'sha256 = "X'), LIST, "64 lower-case hexadecimal"),
    "an unknown table": (
        _replace(LIST, "[[authority]]", "[[court]]\n[[authority]]"),
        LIST,
        "court: unknown key",
    ),
    "an anchor that is no certificate": (
        _write("IE/anchors/root.pem", b"-"),
        "root.pem",
        "certificates in PEM",
    ),
    "an anchor of another suffix": (_write("IE/anchors/b.crt", b""), "b.crt", "only *.pem files"),
    "a CRL that is none": (_write("IE/crl/root.crl", b"\x30\x00"), "root.crl", "in PEM or DER is expected"),
    "a CRL of another suffix": (_write("IE/crl/root.pem", b""), "root.pem", "only *.crl files"),
    "a leaf as an anchor": (
        _copy("../authorities/ie-district-court/cert.pem", "IE/anchors/court.pem"),
        "IE/anchors/court.pem",
        "an anchor is a CA",
    ),
    "one CA in two jurisdictions": (
        _copy("IE/anchors/root.pem", "US/anchors/ireland.pem"),
        "US/anchors/ireland.pem",
        "this CA is an anchor of IE too",
    ),
    "one key in two jurisdictions": (
        _copy(LIST, "US/authorities.toml"),
        "US/authorities.toml",
        "listed by IE too",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_its_file_and_its_rule(made: Made, name: str) -> None:
    change, file, rule = FAULTS[name]
    change(made.trust)
    with pytest.raises(TrustUnusable) as caught:
        load_trust(made.trust)
    lines = str(caught.value).splitlines()
    assert any(str(made.trust / "") in line and file in line and rule in line for line in lines), lines


def test_every_fault_is_told_at_once(made: Made) -> None:
    _write("IE/crl/root.crl", b"-")(made.trust)
    _write("US/anchors/root.pem", b"-")(made.trust)
    _replace(LIST, "roles", "role")(made.trust)
    with pytest.raises(TrustUnusable) as caught:
        load_trust(made.trust)
    assert len(str(caught.value).splitlines()) >= 3


def test_a_directory_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(TrustUnusable, match="No such file"):
        load_trust(tmp_path / "nowhere")
    with pytest.raises(TrustUnusable, match="at least one jurisdiction"):
        load_trust(tmp_path)


def test_hidden_files_are_none_of_ours(made: Made) -> None:
    _write(".git/HEAD", b"")(made.trust)
    _write("IE/crl/.root.crl.tmp", os.urandom(9))(made.trust)
    load_trust(made.trust)
