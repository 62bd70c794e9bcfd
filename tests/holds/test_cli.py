"""`situs hold`, `mail`, `retention`, and what `account close`, `erase` and `move` answer under hold."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.house import House
from gateway.keeping import keeping
from policy.address import Address
from storage.coverage import Coverer
from tests.engines import GERMANY, IRELAND, EngineKind, Engines
from tests.gateway.deployments import Ended, provision_deployment, situs, write_deployment
from tests.holds.people import NORA, on

THEN = datetime(2020, 5, 6, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def config(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ireland and Germany, with an account in Ireland and two messages in it."""
    directory = tmp_path_factory.mktemp("holds")
    path = directory / "situs.toml"
    running = {region: engines.of(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)}
    write_deployment(path, running, registrar=IRELAND)
    provision_deployment(path)
    (directory / "Maildir" / "cur").mkdir(parents=True)
    for number in range(2):
        mail = directory / "Maildir" / "cur" / f"{number}.host:2,S"
        mail.write_bytes(b"From: b@court.example\n\nHello\n")
        os.utime(mail, (THEN, THEN))
    assert situs(path, "account", "create", "aoife@example.ie", "--home", "eu-west-1").status == 0
    return path


@pytest.fixture(scope="module")
def tokens(config: Path) -> dict[str, str]:
    return {
        name: situs(
            config, "operator", "add", name, "--role", "custodian", "--region", "eu-west-1"
        ).out.strip()
        for name in ("nora", "liam")
    }


def test_the_life_of_a_hold(
    config: Path, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def by(name: str, *words: str) -> Ended:
        monkeypatch.setenv("SITUS_TOKEN", tokens[name])
        return situs(config, "hold", *words)

    source = config.parent / "Maildir"
    imported = situs(config, "mail", "import", "aoife@example.ie", "--maildir", str(source), "--json")
    assert imported.json() == {"imported": 2, "there_already": 0}
    again = situs(config, "mail", "import", "aoife@example.ie", "--maildir", str(source), "--json")
    assert again.json() == {"imported": 0, "there_already": 2}

    placed = by("nora", "place", "aoife@example.ie", "--reason", "Byrne v. Example", "--json").json()
    assert (placed["phase"], placed["scope"]) == ("in force", {"address": "aoife@example.ie"})
    assert [one["id"] for one in by("liam", "list", "--region", "eu-west-1", "--json").json()["holds"]] == [
        placed["id"]
    ]
    before = by("nora", "status", placed["id"], "--json")
    assert (before.status, before.json()["coverage"]["not_locked"]) == (1, 4)
    assert by("nora", "cover", placed["id"], "--json").json()["coverage"]["status"] == "Preserved"
    proven = by("nora", "status", placed["id"], "--json")
    assert (proven.status, proven.json()["coverage"]["locked"]) == (0, 4)

    for refused in (
        situs(config, "account", "close", "aoife@example.ie"),
        situs(config, "account", "move", "aoife@example.ie", "--to", "eu-central-1", "--reason", "Berlin"),
    ):
        assert refused.status == 1
        assert placed["id"] in refused.err
    assert "close" in situs(config, "account", "erase", "aoife@example.ie").err

    assert by("nora", "release", placed["id"]).status == 2, "the first of the two says why"
    proposed = by("nora", "release", placed["id"], "--reason", "settled", "--json").json()
    assert proposed["phase"] == "release proposed"
    alone = by("nora", "release", placed["id"])
    assert (alone.status, "cannot confirm" in alone.err) == (1, True)
    assert by("liam", "release", placed["id"], "--json").json()["phase"] == "grace"
    assert situs(config, "account", "close", "aoife@example.ie").status == 1, "kept for 30 days more"

    out = tmp_path / "out"
    exported = situs(config, "mail", "export", "aoife@example.ie", "--to", str(out), "--json").json()
    assert (exported["messages"], exported["errors"]) == (2, 0)
    assert situs(config, "mail", "export", "aoife@example.ie", "--to", str(out)).status == 2


@pytest.mark.parametrize(
    ("token", "status", "said"),
    [("", 2, "SITUS_TOKEN"), ("situs_nonsense", 2, "not an operator token")],
)
def test_a_hold_is_placed_by_somebody(
    config: Path, monkeypatch: pytest.MonkeyPatch, token: str, status: int, said: str
) -> None:
    monkeypatch.setenv("SITUS_TOKEN", token)
    ended = situs(config, "hold", "place", "aoife@example.ie", "--reason", "x")
    assert (ended.status, said in ended.err) == (status, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aoife@example.ie"], "--reason"),
        (["--reason", "x"], "ADDRESS"),
        (["--domain", "example.ie", "--reason", "x"], "--region"),
        (["a@b.ie", "c@b.ie", "--reason", "x"], "--matter"),
        (["aoife@example.ie", "--reason", "x", "--until", "tomorrow"], "RFC 3339"),
        (["nobody at all", "--reason", "x"], "RFC 5321"),
    ],
)
def test_wrong_usage_is_one_line(
    config: Path, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setenv("SITUS_TOKEN", tokens["nora"])
    ended = situs(config, "hold", "place", *words)
    assert (ended.status, said in ended.err) == (2, True)


def test_retention_rules_and_a_sweep(config: Path) -> None:
    rule = ("retention", "set", "--region", "eu-central-1", "--delete-after", "30", "--json")
    assert situs(config, *rule).json() == {
        "rules": [{"for": "region", "name": "", "delete_after": 30, "keep_at_least": None}]
    }
    assert situs(config, "retention", "sweep", "--region", "eu-central-1", "--json").json()["held"] == 0
    assert situs(config, "retention", "set", "--region", "eu-central-1", "--delete-after", "0").status == 2
    removed = situs(config, "retention", "remove", "--region", "eu-central-1", "--json")
    assert removed.json() == {"rules": []}


async def test_a_running_gateway_covers_what_was_placed(
    config: Path, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITUS_TOKEN", tokens["nora"])
    code = IRELAND.code

    async with House.open(load_config(config)) as house:
        located = await house.directory.find(Address.parse("aoife@example.ie"))
        register, store = await house.holds(code), (await house.chamber(code)).store
        placed = await register.place(on(located.account), NORA)
        async with asyncio.timeout(30), keeping(house, keep_every=0.05, sweep_every=0.05):
            while (await Coverer(store, register).stands(placed.id)).complete is None:
                await asyncio.sleep(0.05)
        assert (await Coverer(store, register).prove(placed.id)).missing == []
        assert (await house.directory.find(Address.parse("aoife@example.ie"))).legal_hold


def test_what_a_hold_of_one_region_does_not_reach_is_said(
    config: Path, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITUS_TOKEN", tokens["nora"])
    for address, home in (("cara@firm.example", "eu-west-1"), ("jonas@firm.example", "eu-central-1")):
        assert situs(config, "account", "create", address, "--home", home).status == 0
    both = ("hold", "place", "cara@firm.example", "jonas@firm.example", "--matter", "m", "--reason", "r")
    refused = situs(config, *both)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "nothing is held" in refused.err
    assert "eu-central-1: jonas@firm.example; eu-west-1: cara@firm.example" in refused.err
    for_ever = ("--until", "9999-12-31", "--reason", "r", "--json")
    assert situs(config, "hold", "place", "cara@firm.example", *for_ever).json()["phase"] == "in force"
    assert situs(config, "hold", "place", "cara@firm.example", "--message-id", "<>", *for_ever).status == 2
    domain = ("hold", "place", "--domain", "FIRM.example", "--region", "eu-west-1", "--reason", "r", "--json")
    placed = situs(config, *domain)
    assert placed.json()["scope"] == {"domain": "firm.example"}
    assert "at home in eu-west-1, and none of another region" in placed.err


def test_a_retention_rule_is_for_somebody(config: Path) -> None:
    """A rule that is spelled otherwise than its domain or account keeps nothing, and nobody would know."""

    def rules(command: str, *words: str) -> Ended:
        return situs(config, "retention", command, "--region", "eu-west-1", "--json", *words)

    made = situs(config, "account", "create", "kept@books.example", "--home", "eu-west-1", "--json")
    account = made.json()["account"]
    assert rules("set", "--for", "domain", "--name", "BÜCHER.Example", "--keep-at-least", "9").status == 0
    named = rules("set", "--for", "account", "--name", "Kept@Books.example", "--keep-at-least", "9").json()
    assert [(one["for"], one["name"]) for one in named["rules"]] == [
        ("domain", "xn--bcher-kva.example"),
        ("account", account),
    ]
    for words, status in (
        (("set", "--for", "account", "--name", "zzz", "--delete-after", "9"), 2),
        (("set", "--for", "account", "--name", "nobody@books.example", "--delete-after", "9"), 1),
        (("set", "--for", "domain", "--name", "no domain", "--delete-after", "9"), 2),
        (("set", "--for", "region", "--delete-after", "999999999999"), 2),
        (("set", "--for", "region", "--delete-after", "-999999999999"), 2),
        (("remove", "--for", "domain", "--name", "other.example"), 1),
    ):
        refused = rules(*words)
        assert (refused.status, refused.err.count("\n")) == (status, 1), refused.err
    assert rules("remove", "--for", "domain", "--name", "bücher.example").status == 0
    assert rules("remove", "--for", "account", "--name", account).json() == {"rules": []}
