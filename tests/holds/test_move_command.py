"""`situs account move`, for real: killed in the middle, seen by the fence, ended by the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from gateway.house import House
from storage.control import s3_client
from storage.identity import utc_now
from storage.moving import CLAIM
from tests.engines import GERMANY, IRELAND, EngineKind, Engines
from tests.gateway.deployments import provision_deployment, situs, write_deployment

THEN = datetime(2020, 5, 6, tzinfo=UTC).timestamp()
AOIFE = "aoife@example.ie"
MESSAGES = 60


@pytest.fixture
def config(engines: Engines, engine_kind: EngineKind, tmp_path: Path) -> Path:
    """Ireland and Germany, with an account in Ireland and its mail."""
    path = tmp_path / "situs.toml"
    running = {region: engines.of(engine_kind, region) for region in (IRELAND, GERMANY)}
    write_deployment(path, running, registrar=IRELAND)
    provision_deployment(path)
    (tmp_path / "Maildir" / "cur").mkdir(parents=True)
    for number in range(MESSAGES):
        mail = tmp_path / "Maildir" / "cur" / f"{number}.host:2,S"
        mail.write_bytes(f"From: b@court.example\nSubject: {number}\n\nHello\n".encode())
        os.utime(mail, (THEN, THEN))
    assert situs(path, "account", "create", AOIFE, "--home", "eu-west-1").status == 0
    brought = situs(path, "mail", "import", AOIFE, "--maildir", str(tmp_path / "Maildir"), "--json")
    assert brought.json() == {"imported": MESSAGES, "there_already": 0}
    return path


def copies(path: Path) -> int:
    """How many messages lie in Germany."""
    settings = load_config(path).regions[GERMANY.code]
    page = s3_client(settings).list_objects_v2(Bucket=settings.bucket, Prefix="mail/")
    return page["KeyCount"]


def killed_in_the_middle(path: Path, *words: str) -> None:
    """A process of its own, ended by SIGKILL as soon as Germany has the first of the mail."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *words, "--config", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while copies(path) == 0:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def exported(path: Path, to: Path) -> set[bytes]:
    assert situs(path, "mail", "export", AOIFE, "--to", str(to), "--json").json()["messages"] == MESSAGES
    return {one.read_bytes() for one in to.rglob("*.eml")}


def test_a_mailbox_moves_whoever_dies_on_the_way(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = ("account", "move", AOIFE, "--to", "eu-central-1", "--reason", "ticket 17")
    before = exported(config, tmp_path / "before")
    for without in (move[:-2], (*move[:-1], " "), (*move[:-1], "a\nb")):
        unsaid = situs(config, *without)
        assert (unsaid.status, unsaid.err.count("\n"), "--reason: a reason" in unsaid.err) == (2, 1, True)

    killed_in_the_middle(config, *move)
    fence = situs(config, "fence", "verify", "--json")
    assert fence.status == 0, fence.err
    (moving,) = fence.json()["regions"]["eu-central-1"]["moving"]
    assert (moving["leaves"], moving["goes_to"]) == ("eu-west-1", "eu-central-1")
    assert moving["phase"] in ("copying", "frozen"), "as far as it came before the signal"
    assert "moving from eu-west-1 to eu-central-1" in situs(config, "fence", "verify").out
    assert situs(config, "account", "show", AOIFE, "--json").json()["home"] == "eu-west-1"
    assert situs(config, *move).status == 75, "the one who was killed may still be at it"

    # Two minutes later; and nobody has to wait for an ingress process, since there is none.
    open_house = House.open

    def later(*arguments: Any) -> Any:
        return open_house(*arguments, clock=lambda: utc_now() + CLAIM + timedelta(seconds=1))

    monkeypatch.setattr("gateway.cli.errand.House.open", later)
    monkeypatch.setattr("gateway.cli.account_ending.SETTLE", 0.1)
    moved = situs(config, *move, "--json")
    assert (moved.status, moved.json()) == (0, {"address": AOIFE, "home": "eu-central-1"}), moved.err
    assert situs(config, *move).status == 1, "it is at home there already"
    monkeypatch.undo()

    assert situs(config, "account", "show", AOIFE, "--json").json()["home"] == "eu-central-1"
    fence = situs(config, "fence", "verify", "--json")
    assert (fence.status, fence.json()["ok"]) == (0, True), fence.out
    assert [region["moving"] for region in fence.json()["regions"].values()] == [[], []]
    assert exported(config, tmp_path / "after") == before
    for region in ("eu-west-1", "eu-central-1"):
        assert "account.moved" in situs(config, "audit", "list", "--region", region, "--json").out
        assert situs(config, "audit", "verify", "--region", region).status == 0
