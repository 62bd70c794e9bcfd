"""`situs law` from outside: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.law import law
from gateway.config import ConfigError
from gateway.law import LawbookFilesError, lawbook_files, packaged_lawbook, save_lawbook
from policy.lawbook import read_lawbook
from tests.policy.lawcases import policy_cases, shipped_lawbook

Law = Callable[..., Result]


@pytest.fixture
def run() -> Law:
    runner = CliRunner()

    def run(*arguments: str | Path, stdin: str | None = None) -> Result:
        result = runner.invoke(law, [str(argument) for argument in arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def _scenario(name: str = "US warrant, Irish mailbox") -> dict[str, Any]:
    return next(case for case in policy_cases() if case.name == name).scenario


def test_list_is_a_table(run: Law) -> None:
    result = run("list")
    assert result.exit_code == 0
    for law_ in shipped_lawbook().laws:
        assert law_.name in result.stdout
        for instrument in law_.instruments:
            assert instrument.id in result.stdout
    assert shipped_lawbook().digest in result.stdout
    found = json.loads(run("list", "--json").stdout)
    assert found["lawbook"] == shipped_lawbook().digest
    assert {row["code"] for row in found["jurisdictions"]} >= {"IE", "EU", "*"}


@pytest.mark.parametrize("code", ["IE", "ie", "EU", "US", "*", "CH"])
def test_show_prints_every_figure_with_its_source(run: Law, code: str) -> None:
    """A lawyer proof-reads this: every source, every date, and every doubt must be on the page."""
    result = run("show", code)
    assert result.exit_code == 0
    law_ = next(each for each in shipped_lawbook().laws if str(each.code or "*") == code.upper())
    file = lawbook_files()[law_.file].decode("utf-8")
    for line in file.splitlines():
        key, _, value = line.partition(" = ")
        if key in {"source", "id", "name", "statute", "binds", "law"}:
            assert " ".join(json.loads(value).split()) in result.stdout, line
        if key in {"in_force_from", "until"}:
            assert value in result.stdout, line
    assert result.stdout.count("NOT CONFIRMED") == file.count("confirmed = false")
    assert json.loads(run("show", code, "--json").stdout)["lawbook"] == shipped_lawbook().digest


def test_show_an_instrument(run: Law) -> None:
    result = run("show", "eu.epoc")
    assert result.exit_code == 0
    for words in ("48 hours", "10 days", "8 hours", "96 hours", "Form 3", "at least 3 years", "Art. 4(2)"):
        assert words in result.stdout
    assert json.loads(run("show", "eu.epoc", "--json").stdout)["law"]["id"] == "eu.epoc"


def test_show_what_is_not_there(run: Law) -> None:
    for code in ("JP", "ie.nothing", ""):
        result = run("show", code)
        assert result.exit_code == 2
        assert "it knows" in result.stderr
        assert result.stdout == ""


def test_check_the_shipped_lawbook(run: Law) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert shipped_lawbook().digest in result.stdout
    assert json.loads(run("check", "--json").stdout)["ok"] is True


def test_check_says_every_fault_of_an_operators_directory(run: Law, tmp_path: Path) -> None:
    text = lawbook_files()["ie.toml"].decode("utf-8")
    text = text.replace('"judge", "court"', '"judge", "sheriff"').replace("in_force_from", "in_force_form")
    (tmp_path / "ie.toml").write_text(text)
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{tmp_path}: " in result.stderr
    assert "ie.toml:" in result.stderr
    assert "'sheriff' is not one of" in result.stderr
    assert "in_force_form: unknown key" in result.stderr
    found = json.loads(run("check", tmp_path, "--json").stdout)
    assert found["ok"] is False
    assert len(found["faults"]) == len(result.stderr.strip().splitlines()) - 1
    assert set(found["faults"][0]) == {"file", "line", "key", "rule"}


@pytest.mark.parametrize("command", ["list", "check", "explain"])
def test_a_directory_that_is_none(run: Law, tmp_path: Path, command: str) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps(_scenario()))
    empty = tmp_path / "empty"
    empty.mkdir()
    for directory, words in (
        (tmp_path / "nowhere", "No such file"),
        (empty, "no lawbook file"),
        (scenario, "ot a dir"),
    ):
        arguments = {
            "list": ["list", "--lawbook", directory],
            "check": ["check", directory],
            "explain": ["explain", scenario, "--lawbook", directory],
        }[command]
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in result.stderr
        assert str(directory) in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_explain_answers_a_refusal_with_status_1_and_all_else_with_0(run: Law, tmp_path: Path) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(_scenario()))
    answer = json.loads(run("explain", path, "--json").stdout)
    assert answer["outcome"] == "refuse"
    text = run("explain", path)
    assert text.exit_code == 1
    for words in (
        "REFUSE",
        "storage-law",
        "18 U.S.C. 2713",
        "no statutory clock",
        "mla.request",
        "lawbook sha256:",
    ):
        assert words in text.stdout
    for name in ("German EPOC for content, Irish mailbox", "German EPOC-PR, Irish mailbox"):
        assert run("explain", "-", stdin=json.dumps(_scenario(name))).exit_code == 0


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", "scenario: not JSON"),
        ("[1]", "scenario: a JSON object"),
        (json.dumps({**_scenario(), "colour": 1}), "colour: unknown"),
        (
            json.dumps({**_scenario(), "now": "2026-02-30T00:00:00Z"}),
            "now: '2026-02-30T00:00:00Z' is no possible time",
        ),
        (json.dumps({**_scenario(), "storage_region": "mars-1"}), "storage_region: mars-1"),
        (json.dumps({**_scenario(), "order": {**_scenario()["order"], "x": 1}}), "order.x: unknown claim"),
    ],
)
def test_explain_names_what_is_wrong(run: Law, stdin: str, words: str) -> None:
    result = run("explain", "-", "--json", stdin=stdin)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


def test_explain_a_file_that_is_not_there(run: Law, tmp_path: Path) -> None:
    result = run("explain", tmp_path / "none.json")
    assert result.exit_code == 2
    assert "none.json: No such file" in result.stderr
    big = tmp_path / "big.json"
    big.write_bytes(b" " * (1 << 20) + b"{}")
    assert "at most" in run("explain", big).stderr


def test_an_operator_overrides_a_file_and_adds_another(run: Law, tmp_path: Path) -> None:
    files = lawbook_files()
    own = files["ie.toml"].replace(b'recognisers = ["judge", "court"]', b'recognisers = ["court"]')
    (tmp_path / "ie.toml").write_bytes(own)
    japan = b'[jurisdiction]\nkind = "state"\ncode = "JP"\nname = "Japan"\n'
    (tmp_path / "jp.toml").write_bytes(japan)
    (tmp_path / "notes.txt").write_text("no law")
    book = packaged_lawbook(tmp_path)
    assert book.digest == read_lawbook({**files, "ie.toml": own, "jp.toml": japan}).digest
    assert book.digest != shipped_lawbook().digest
    scenario = json.dumps(_scenario("US warrant that an Irish judge has taken up, Irish mailbox"))
    shipped = json.loads(run("explain", "-", "--json", stdin=scenario).stdout)
    overridden = json.loads(run("explain", "-", "--json", "--lawbook", tmp_path, stdin=scenario).stdout)
    assert (shipped["outcome"], overridden["outcome"]) == ("permit", "refuse")
    assert overridden["lawbook"] == book.digest
    assert "Japan" in run("list", "--lawbook", tmp_path).stdout


def test_a_decision_is_made_again_under_the_lawbook_of_its_day(run: Law, tmp_path: Path) -> None:
    """The saved lawbook is whole: what Situs ships later, more files or other ones, plays no part."""
    of_its_day = tmp_path / "2026"
    assert shipped_lawbook().digest in run("save", of_its_day).stdout
    (of_its_day / "se.toml").unlink()  # as though Sweden's file had only been shipped later
    files = lawbook_files()
    del files["se.toml"]
    digest = read_lawbook(files).digest
    scenario = json.dumps(_scenario())
    answer = json.loads(run("explain", "-", "--json", "--lawbook", of_its_day, stdin=scenario).stdout)
    assert answer["lawbook"] == digest
    today = json.loads(run("explain", "-", "--json", stdin=scenario).stdout)
    assert {**answer, "lawbook": 0} == {**today, "lawbook": 0}
    again = run("save", of_its_day)
    assert again.exit_code == 2
    assert "an empty directory is expected" in again.stderr


def test_a_mark_that_says_something_else(tmp_path: Path) -> None:
    save_lawbook(lawbook_files(), tmp_path)
    for text in ("complete = false\n", "complete = true\nx = 1\n", "nonsense"):
        (tmp_path / "lawbook.toml").write_text(text)
        with pytest.raises(LawbookFilesError, match=r"lawbook\.toml"):
            lawbook_files(tmp_path)


def test_a_faulty_lawbook_stops_a_server_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "ie.toml").write_text('[jurisdiction]\nkind = "state"\ncode = "IE"\nmood = "x"\nsky = 1\n')
    with pytest.raises(ConfigError) as raised:
        packaged_lawbook(tmp_path)
    assert "ie.toml:" in str(raised.value)
    assert "more: `situs law check` names them all" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_too_large_for_a_law(tmp_path: Path) -> None:
    (tmp_path / "ie.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(LawbookFilesError, match="larger than"):
        lawbook_files(tmp_path)


def test_the_installed_command_answers(tmp_path: Path) -> None:
    """Once as a process of its own: exit status and streams as a shell sees them."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "law", "explain", "-", "--json"],
        input=json.dumps(_scenario()),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(done.stdout)["outcome"] == "refuse"
    assert done.stderr == ""
    wrong = subprocess.run(
        [sys.executable, "-m", "gateway", "law", "explain", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
