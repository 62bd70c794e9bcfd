"""`situs order`: the steps are numbered, and the exit status says yes, no or wrong usage."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.order import order
from gateway.demo.pki import make_pki, revoke
from policy import verification
from policy.order import IssuerRole
from tests.policy.pki import NOW, claims

AT = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Desk:
    """A directory with the demo's authorities, and the command run in it."""

    directory: Path

    def options(self, authority: str) -> list[str]:
        place = self.directory / "authorities" / authority
        return [f"--{name}={place / name}.pem" for name in ("cert", "key", "chain")]

    def run(self, *arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(order, list(arguments))
        assert result.exit_code == status, result.output + result.stderr
        return result

    def sign(self, name: str, authority: str, *arguments: str, status: int = 0) -> Path:
        result = self.run("sign", *arguments, *self.options(authority), status=status)
        path = self.directory / name
        path.write_text(result.stdout)
        return path

    def verify(self, path: Path, *arguments: str, status: int = 0) -> Result:
        trust = f"--trust={self.directory / 'trust'}"
        now = () if any(each.startswith("--now") for each in arguments) else (f"--now={AT}",)
        return self.run("verify", str(path), trust, *now, *arguments, status=status)


COURT, POLICE, SDNY = "ie-district-court", "ie-an-garda-siochana", "us-us-district-court-sdny"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    directory = tmp_path_factory.mktemp("desk")
    make_pki(directory, NOW)
    (directory / "claims.json").write_text(json.dumps(claims()))
    return Desk(directory)


@pytest.fixture(scope="module")
def signed(desk: Desk) -> Path:
    return desk.sign("order.jws", COURT, str(desk.directory / "claims.json"))


def test_verify_prints_each_step_numbered_as_in_the_code(desk: Desk, signed: Path) -> None:
    printed = desk.verify(signed).stdout
    numbers = [int(line[:3]) for line in printed.splitlines() if line[3:4] == "."]
    assert numbers == list(range(1, 10))
    assert verification.__doc__ is not None
    for number in numbers:
        assert (
            f"    {number}. The " in verification.__doc__
            or f"    {number}. Revocation" in verification.__doc__
        )
    assert "District Court of IE" in printed


def test_a_second_signature_is_added_and_verified(desk: Desk, signed: Path) -> None:
    both = desk.sign("both.json", SDNY, f"--add-to={signed}", "--as=recognise")
    report = json.loads(desk.verify(both, "--json").stdout)
    assert [each["role"] for each in report["signatories"]] == ["issue", "recognise"]
    assert report["genuine"] is report["in_force"] is True
    alone = json.loads(desk.verify(signed, "--json").stdout)
    assert alone["replay_key"] == report["replay_key"]


def test_the_claims_beside_an_order_must_be_its_own(desk: Desk, signed: Path) -> None:
    same = str(desk.directory / "claims.json")
    desk.sign("same.json", POLICE, same, f"--add-to={signed}", "--as=validate")
    other = desk.directory / "other.json"
    other.write_text(json.dumps(claims(jti="another")))
    result = desk.run(
        "sign", str(other), f"--add-to={signed}", "--as=validate", *desk.options(POLICE), status=2
    )
    assert "not the claims of" in result.stderr


@pytest.mark.parametrize("role", [(), ("--as=issue",)])
def test_an_added_signature_does_not_issue(desk: Desk, signed: Path, role: tuple[str, ...]) -> None:
    assert "--as" in desk.run("sign", f"--add-to={signed}", *role, *desk.options(POLICE), status=2).stderr


def test_an_altered_order_is_a_no_at_the_step_that_found_it(desk: Desk, signed: Path) -> None:
    head, payload, signature = signed.read_text().strip().split(".")
    altered = desk.directory / "altered.jws"
    altered.write_text(f"{head}.{payload}.{signature[:-4]}AAAA")
    result = desk.verify(altered, status=1)
    assert "  7. signature  NO" in result.stdout
    assert "  8." not in result.stdout
    assert result.stderr.count("\n") == 1
    altered.write_text("no order at all")
    assert "  1. form       NO" in desk.verify(altered, status=1).stdout
    report = json.loads(desk.verify(altered, "--json", status=1).stdout)
    assert (report["genuine"], report["steps"][0]["ok"]) == (False, False)


def test_a_revoked_authority_is_a_no(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(desk.directory, tmp_path, dirs_exist_ok=True)
    authorities = make_pki(tmp_path, NOW)
    here = Desk(tmp_path)
    path = here.sign("order.jws", POLICE, str(tmp_path / "claims.json"))
    here.verify(path)
    police = next(a for a in authorities if a.jurisdiction.code == "IE" and IssuerRole.POLICE in a.roles)
    revoke(tmp_path, police, NOW)
    assert "  6. revocation NO" in here.verify(path, status=1).stdout


def test_an_order_out_of_its_time_is_a_no_although_it_is_genuine(desk: Desk, signed: Path) -> None:
    result = desk.verify(signed, "--now=2026-12-20T00:00:00Z", status=1)
    assert "genuine, but not in force" in result.stderr
    assert "  9. date       ok" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "nowhere.jws", "--trust={trust}"], "nowhere.jws: No such file"),
        (["verify", "{order}", "--trust=nowhere"], "nowhere: No such file"),
        (["verify", "{order}", "--config=nowhere.toml"], "nowhere.toml: no such file"),
        (["verify", "{order}", "--trust={trust}", "--now=yesterday"], "--now: "),
        (["sign", "{order}", "{options}"], "not JSON"),
        (["sign", "{options}"], "CLAIMS: a file of claims is expected"),
        (["sign", "nowhere.json", "{options}"], "nowhere.json: No such file"),
        (["sign", "{claims}", "--cert={key}", "--key={key}"], "certificates in PEM are expected"),
        (["sign", "{claims}", "--cert={cert}", "--key={cert}"], "a private key in PEM"),
        (
            ["sign", "{claims}", "--cert={cert}", "--key={other}"],
            "not the one that the certificate certifies",
        ),
        (["sign", "--add-to={claims}", "--as=validate", "{options}"], "only payload, signatures"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    desk: Desk,
    signed: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through the whole command, which turns our errors into a line and a status."""
    court = desk.directory / "authorities" / COURT
    places = {
        "trust": desk.directory / "trust",
        "order": signed,
        "claims": desk.directory / "claims.json",
        "cert": court / "cert.pem",
        "key": court / "key.pem",
        "other": desk.directory / "authorities" / SDNY / "key.pem",
    }
    filled: list[str] = []
    for each in arguments:
        filled += desk.options(COURT) if each == "{options}" else [each.format(**places)]
    monkeypatch.setattr(sys, "argv", ["situs", "order", *filled])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


@pytest.mark.parametrize(
    ("changes", "claim"),
    [({"surprise": 1}, "surprise"), ({"exp": 1}, "exp"), ({"categories": []}, "categories")],
)
def test_claims_that_break_a_rule_are_named(desk: Desk, changes: dict[str, Any], claim: str) -> None:
    path = desk.directory / "bad.json"
    path.write_text(json.dumps(claims(**changes)))
    assert f"bad.json: {claim}: " in desk.run("sign", str(path), *desk.options(COURT), status=2).stderr
