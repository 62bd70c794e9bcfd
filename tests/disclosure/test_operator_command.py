"""`situs operator`, from the command line to the region's records and its log."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import load_config
from gateway.house import House
from policy.clearance import Role
from policy.trust import spki_sha256
from storage.audit.entry import Entry, Event
from storage.operators import HeldKey, OperatorRecord, OperatorRegister, Subject, Token
from tests.engines import GERMANY, IRELAND, EngineKind, Engines
from tests.gateway.deployments import Ended, provision_deployment, situs, write_deployment
from tests.policy import pki


@dataclass(frozen=True)
class Deployment:
    config: Path

    def run(self, *words: str) -> Ended:
        return situs(self.config, "operator", *words)

    def kept(self) -> tuple[dict[str, tuple[OperatorRecord, ...]], list[Entry]]:
        """Each region's records, and Ireland's log."""

        async def read() -> tuple[dict[str, tuple[OperatorRecord, ...]], list[Entry]]:
            async with House.open(load_config(self.config)) as house:
                records = {}
                for region in (IRELAND, GERMANY):
                    chamber = await house.chamber(region.code)
                    records[str(region.code)] = await OperatorRegister(chamber.vault).list()
                return records, list(await (await house.chamber(IRELAND.code)).log.entries(0, 1000))

        return asyncio.run(read())


@pytest.fixture(scope="module")
def deployment(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    config = tmp_path_factory.mktemp("deployment") / "situs.toml"
    running = {region: engines.of(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)}
    write_deployment(config, running, registrar=IRELAND)
    provision_deployment(config)
    return Deployment(config)


def test_a_token_is_shown_once_and_kept_as_a_hash_in_each_region_it_clears(deployment: Deployment) -> None:
    ended = deployment.run("add", "Niamh", "--role", "intake", "--role", "auditor", "--region", "eu-west-1")
    token = Token.parse(ended.out.strip())
    assert (ended.status, token is not None) == (0, True), ended
    assert token is not None
    records, log = deployment.kept()
    (record,) = [each for each in records["eu-west-1"] if each.id == token.id]
    assert record.roles == {Role.INTAKE, Role.AUDITOR}
    assert token.matches(record.credential)
    assert token.id not in {each.id for each in records["eu-central-1"]}
    assert Event.OPERATOR_ADDED in {entry.event for entry in log}
    listed = deployment.run("list")
    assert token.id in listed.out
    assert token.secret not in listed.out + listed.err


def test_a_name_of_two_scripts_is_refused_before_anything_is_written(deployment: Deployment) -> None:
    ended = deployment.run("add", "Ni\u0430mh", "--role", "approver", "--region", "eu-west-1")
    assert ended.status == 2
    assert "NAME: letters of one script are expected, CYRILLIC and LATIN were found" in ended.err
    assert "Ni\u0430mh" not in {each.name for each in deployment.kept()[0]["eu-west-1"]}


def test_revoking_a_person_ends_every_token_of_theirs_everywhere(deployment: Deployment) -> None:
    for role in ("intake", "auditor"):
        both = ("--region", "eu-west-1", "--region", "eu-central-1")
        assert deployment.run("add", "Oisín", "--role", role, *both).status == 0
    ended = deployment.run("revoke", "OISÍN")
    assert (ended.status, ended.out.count("revoked")) == (0, 2)
    records, log = deployment.kept()
    theirs = [each for region in records.values() for each in region if each.name == "Oisín"]
    assert len(theirs) == 4
    assert all(each.revoked for each in theirs)
    assert [entry.event for entry in log].count(Event.OPERATOR_REVOKED) == 2
    assert deployment.run("revoke", "Oisín").status == 1


def test_json_is_one_object(deployment: Deployment) -> None:
    added = deployment.run(
        "add", "Jo", "--role", "custodian", "--region", "eu-west-1", "--days", "1", "--json"
    )
    assert Token.parse(added.json()["token"]) is not None
    found = {each["name"]: each for each in json.loads(deployment.run("list", "--json").out)["operators"]}
    assert found["Jo"]["roles"] == ["custodian"]
    assert "token" not in found["Jo"]
    assert "credential" not in found["Jo"]


def test_two_tokens_give_nobody_what_one_may_not(deployment: Deployment) -> None:
    def add(*roles: str) -> Ended:
        words = [word for role in roles for word in ("--role", role)]
        return deployment.run("add", "Max", *words, "--region", "eu-west-1")

    assert add("approver", "custodian", "administrator").status == 2
    assert add("approver", "custodian").status == 0
    ended = add("administrator")
    assert (ended.status, "at once" in ended.err) == (2, True)


def test_two_regions_and_two_ways_in_give_nobody_what_one_may_not(
    deployment: Deployment, tmp_path: Path
) -> None:
    def add(name: str, role: str, region: str, *more: str) -> Ended:
        return deployment.run("add", name, "--role", role, "--region", region, *more)

    assert add("Mary O'Shea", "approver", "eu-west-1").status == 0
    assert add("mary o\u2019shea", "custodian", "eu-central-1").status == 0
    certificate = tmp_path / "mary.pem"
    certificate.write_bytes(pki.judge("DE").cert.public_bytes(Encoding.PEM))
    shown = ("--certificate", str(certificate))
    for region, more in (("eu-west-1", ()), ("eu-central-1", ()), ("eu-central-1", shown)):
        ended = add("MARY  O'SHEA", "administrator", region, *more)
        assert (ended.status, "at once" in ended.err) == (2, True), ended
    assert deployment.run("revoke", "Mary O'Shea").status == 0
    assert add("Mary O'Shea", "administrator", "eu-west-1").status == 0


def test_whoever_signs_in_elsewhere_or_holds_a_key_has_a_record_and_no_token(
    deployment: Deployment, tmp_path: Path
) -> None:
    words = ("--role", "intake", "--region", "eu-west-1")
    assert "has no [gateway.oidc]" in deployment.run("add", "Sue", *words, "--oidc", "sue@idp").err
    text = deployment.config.read_text()
    with_issuer = deployment.config.with_name("oidc.toml")
    with_issuer.write_text(text + '[gateway.oidc]\nissuer = "https://idp.test"\naudience = "situs"\n')
    added = situs(with_issuer, "operator", "add", "Sue", *words, "--oidc", "sue@idp")
    subject = Subject("https://idp.test", "sue@idp")
    assert (added.status, added.out) == (0, f"{subject.id} added\n")
    certificate = tmp_path / "kay.pem"
    certificate.write_bytes(pki.judge("IE").cert.public_bytes(Encoding.PEM))
    assert deployment.run("add", "Kay", *words, "--certificate", str(certificate)).status == 0
    again = deployment.run("add", "Kay", *words, "--certificate", str(certificate))
    assert (again.status, "exists already" in again.err) == (1, True)
    kept = {record.name: record.credential for record in deployment.kept()[0]["eu-west-1"]}
    assert kept["Sue"] == subject.kept
    assert kept["Kay"] == HeldKey(spki_sha256(pki.judge("IE").cert)).kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "A", "--role", "intake", "--region", "us-east-1"), "does not serve it"),
        (("add", "A", "--role", "intake", "--region", "Ireland"), "is not a region code"),
        (("add", " ", "--role", "intake", "--region", "eu-west-1"), "printable"),
        (("add", "A", "--role", "root", "--region", "eu-west-1"), "'root' is not one of"),
        (("add", "A", "--role", "intake"), "--region"),
        (("add", "\ufe0f", "--role", "intake", "--region", "eu-west-1"), "printable"),
        (("revoke", ""), "printable"),
        (("revoke", "a\nb"), "printable"),
        (("revoke", "x" * 101), "printable"),
        (
            ("add", "A", "--role", "intake", "--region", "eu-west-1", "--certificate", "/nowhere"),
            "/nowhere: ",
        ),
        (("add", "A", "--role", "intake", "--region", "eu-west-1", "--certificate", __file__), "PEM"),
        (("add", "A", "--role", "intake", "--region", "eu-west-1", "--days", "0"), "--days"),
    ],
)
def test_wrong_usage_is_one_line_and_changes_nothing(
    deployment: Deployment, words: tuple[str, ...], says: str
) -> None:
    before, _ = deployment.kept()
    ended = deployment.run(*words)
    assert (ended.status, says in ended.err) == (2, True), ended
    assert deployment.kept()[0] == before
