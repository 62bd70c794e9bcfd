"""The two commands of the README: what a newcomer sees."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.cli.demo import report
from gateway.cli.outcome import AnswerIsNo
from gateway.demo.invitation import invite
from gateway.demo.plan import Doors
from gateway.demo.scenes import SCENES, Step, play
from gateway.demo.site import Engine, Site, open_site
from tests.gateway.demos import RunningDemo, running_demo, situs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo") / "state") as running:
        yield running


def alike(transcript: str) -> str:
    """A transcript without the numbers that differ from run to run."""
    return re.sub(r"\d+", "#", transcript).strip()


def test_once_plays_the_ireland_case_as_the_readme_shows_it() -> None:
    shown = re.search(
        r"```console\n\$ situs demo --once --ephemeral\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert shown is not None
    played = situs("demo", "--once", "--ephemeral")
    assert played.returncode == 0, played.stdout + played.stderr
    assert alike(played.stdout) == alike(shown.group(1))


def test_once_says_it_all_in_one_json_object() -> None:
    played = situs("demo", "--once", "--ephemeral", "--json")
    told = json.loads(played.stdout)
    assert played.returncode == 0
    assert told["ok"] is True
    assert len(told["steps"]) == len(SCENES)
    assert told["regions"] == {"eu-west-1": "IE", "eu-central-1": "DE", "us-east-1": "US"}


async def test_a_step_that_does_not_do_what_it_should_is_a_no(tmp_path: Path) -> None:
    """Sabotage: the Irish revocation lists are gone. Nothing Irish may be believed, so the case fails."""
    async with open_site(Site(tmp_path / "state", Engine.MOTO, Doors.free())) as card:
        for crl in (tmp_path / "state" / "trust" / "IE" / "crl").iterdir():
            crl.unlink()
        steps = [step async for step in play(card)]
    failed = {step.name for step in steps if not step.ok}
    assert failed == {"irish order opens it", "recognised request opens it", "replay is refused"}
    with pytest.raises(AnswerIsNo) as ended:
        report(steps, card, as_json=False)
    assert ended.value.exit_code == 1


def test_the_card_says_what_the_contract_asks(demo: RunningDemo) -> None:
    card = demo.card
    assert card.pid == demo.process.pid
    assert {code: region.country for code, region in card.regions.items()} == {
        "eu-west-1": "IE",
        "eu-central-1": "DE",
        "us-east-1": "US",
    }
    assert len({region.endpoint for region in card.regions.values()}) == 3
    assert len({region.access_key_id for region in card.regions.values()}) == 3
    assert {account.home for account in card.accounts} == set(card.regions)
    for region in card.regions:
        held = [role for operator in card.operators if region in operator.regions for role in operator.roles]
        assert {"intake", "approver", "custodian", "auditor", "administrator"} <= set(held)
        assert held.count("approver") >= 2
    for jurisdiction, office in (
        ("IE", "judge"),
        ("DE", "judge"),
        ("US", "judge"),
        ("DE", "prosecutor"),
        ("IE", "police"),
    ):
        authority = card.authority(jurisdiction, office)
        assert all(
            Path(part).read_bytes().startswith(b"-----BEGIN")
            for part in (authority.cert, authority.key, authority.chain)
        )
    assert (demo.state / "demo.json").stat().st_mode & 0o077 == 0


def test_each_thing_to_try_can_be_pasted_and_works(demo: RunningDemo) -> None:
    commands = re.findall(r"^     (\S(?:.*\\\n)*.*)$", demo.said, re.M)
    assert len(commands) == 4

    def paste(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)

    send, read, refuse, verify = commands
    sent = paste(send)
    assert sent.returncode == 0, sent.stderr
    owned = paste(read)
    assert "It stays in Ireland." in owned.stdout, owned.stderr
    refused = paste(refuse)
    problem = json.loads(refused.stdout)
    assert problem["status"] == 403
    assert "storage-law" in {
        finding["code"] for finding in problem["decision"]["findings"] if not finding["ok"]
    }
    verified = paste(verify)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_console_opens_with_the_token_that_is_printed(demo: RunningDemo) -> None:
    found = re.search(r"(http://\S+)/console, with .*'s token (\S+)$", demo.said, re.M)
    assert found
    gateway, token = found.groups()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    form = urllib.parse.urlencode({"token": token}).encode()
    sign_in = urllib.request.Request(f"{gateway}/console/sign-in", form, {"Origin": gateway})
    with browser.open(sign_in, timeout=30) as page:
        assert "<h1>Disclosures</h1>" in page.read().decode()


def test_ctrl_c_stops_everything_and_leaves_no_process(tmp_path: Path) -> None:
    with running_demo(tmp_path / "state") as running:
        children = running.children()
        assert len(children) >= 3
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    assert not [child for child in children if child.is_running()]


def test_kill_9_leaves_no_server_behind(tmp_path: Path) -> None:
    with running_demo(tmp_path / "state") as running:
        children = running.children()
        running.process.kill()
        running.process.wait(30)
        # Each engine watches a pipe that the dead process held: their ends are waited for, not a time.
        _, left = psutil.wait_procs(children, timeout=30)
        assert left == []


def test_a_port_in_use_is_one_line_that_names_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 2525))
        except OSError:
            pass  # somebody else has it: taken all the same
        else:
            taken.listen()
        ended = situs("demo", "--state", str(tmp_path / "state"))
    assert ended.returncode == 2
    assert "127.0.0.1:2525" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_directory_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("my only copy")
    ended = situs("demo", "--ephemeral", "--once", "--state", str(tmp_path))
    assert ended.returncode == 2
    assert str(tmp_path) in ended.stderr
    assert (tmp_path / "thesis.txt").read_text() == "my only copy"


def test_a_second_demo_in_the_same_directory_does_not_wipe_the_first(demo: RunningDemo) -> None:
    ended = situs("demo", "--ephemeral", "--once", "--state", str(demo.state))
    assert ended.returncode == 2
    assert "running there already" in ended.stderr


def test_seaweedfs_keeps_its_mail_over_a_restart(tmp_path: Path) -> None:
    """`--engine seaweedfs --state DIR`: the mail of the first run is there in the second."""
    state = tmp_path / "state"
    with running_demo(state, "--engine", "seaweedfs") as first:
        (send, *_) = re.findall(r"^     (\S.*)$", first.said, re.M)
        subprocess.run(["sh", "-c", send], check=True, timeout=60)
        accounts = first.card.accounts
    with running_demo(state, "--engine", "seaweedfs") as second:
        assert second.card.accounts == accounts
        verified = situs("audit", "verify", "--region", "eu-west-1", "--config", second.card.config)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        fenced = situs("fence", "verify", "--json", "--config", second.card.config)
        assert fenced.returncode == 0, fenced.stdout + fenced.stderr
        assert json.loads(fenced.stdout)


def test_a_report_without_a_failure_is_a_yes(demo: RunningDemo, capsys: pytest.CaptureFixture[str]) -> None:
    report([Step("one", True, "as it should be")], demo.card, as_json=True)
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_the_refusal_can_be_shown_without_curl(
    demo: RunningDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    text = invite(demo.card, tmp_path / "demo.json")
    monkeypatch.undo()
    (command,) = re.findall(r"^     (\S.*http\.client.*)$", text, re.M)
    refused = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(refused.stdout)["status"] == 403


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('deployment = "demo"', 'deployment = "other"', "deployment"),
        ('country = "IE"', 'country = "FR"', "eu-west-1"),
        ("situs-mail-ie", "situs-mail-nowhere", "situs-mail-nowhere"),
        ("situs-audit-de", "situs-audit-nowhere", "situs-audit-nowhere"),
    ],
)
def test_ground_that_is_not_as_configured_is_one_line_and_2(
    demo: RunningDemo, old: str, new: str, named: str
) -> None:
    config = Path(demo.card.config)
    changed = config.with_name("changed.toml")
    changed.write_text(config.read_text().replace(old, new))
    ended = situs("serve", "--config", str(changed))
    assert ended.returncode == 2
    assert named in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""
