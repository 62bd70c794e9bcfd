"""`situs account`, `situs alias` and `situs directory`, from the command line to the buckets."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.house import House
from policy.address import Address
from storage.accounts import SubscriberRecord
from storage.audit.entry import Entry, Event
from tests.engines import IRELAND, VIRGINIA, EngineKind, Engines
from tests.gateway.deployments import Ended, provision_deployment, situs, write_deployment

NEVER = "nobody-ever@nowhere.test"


@dataclass(frozen=True)
class Deployment:
    """Two regions; `config`, and the same with Virginia down."""

    config: Path
    virginia_down: Path

    def run(self, *words: str, stdin: str = "") -> Ended:
        return situs(self.config, *words, stdin=stdin)

    def entries(self) -> list[Entry]:
        """Ireland's log."""

        async def read() -> list[Entry]:
            async with House.open(load_config(self.config)) as house:
                return list(await (await house.chamber(IRELAND.code)).log.entries(0, 1000))

        return asyncio.run(read())


@pytest.fixture(scope="module")
def deployment(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    running = {region: engines.of(EngineKind.MOTO, region) for region in (IRELAND, VIRGINIA)}
    folder = tmp_path_factory.mktemp("deployment")
    made = Deployment(folder / "situs.toml", folder / "virginia-down.toml")
    name = write_deployment(made.config, running, registrar=IRELAND)
    write_deployment(made.virginia_down, running, registrar=IRELAND, down=frozenset({VIRGINIA}), like=name)
    provision_deployment(made.config)
    return made


@pytest.fixture
def domain() -> str:
    return f"{secrets.token_hex(5)}.test"


def test_create_and_show(deployment: Deployment, domain: str) -> None:
    address = f"Aoife@{domain}"
    made = deployment.run(
        "account", "create", address, "--home", "eu-west-1", "--name", "Aoife", "--password-stdin",
        "--json", stdin="correct horse\n",
    )  # fmt: skip
    assert made.status == 0
    told = made.json()
    assert (told["address"], told["home"], told["country"]) == (address.lower(), "eu-west-1", "IE")
    assert (told["status"], told["display_name"]) == ("active", "Aoife")
    assert deployment.run("account", "show", address, "--json").json() == told
    shown = deployment.run("account", "show", address)
    assert f"address       {address.lower()}" in shown.out
    assert "correct horse" not in made.out + made.err + shown.out
    assert _has_password(deployment, address, "correct horse")
    assert [entry.event for entry in deployment.entries()].count(Event.ACCOUNT_CREATED) >= 1
    assert domain not in "".join(entry.encode().decode() for entry in deployment.entries())


def _has_password(deployment: Deployment, address: str, password: str) -> bool:
    async def ask() -> bool:
        async with House.open(load_config(deployment.config)) as house:
            located = await house.directory.find(Address.parse(address))
            record = SubscriberRecord(house.ground.home(located), located.account)
            return await (await record.read()).has_password(password)

    return asyncio.run(ask())


def test_an_account_is_not_made_without_its_entry(
    deployment: Deployment, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.audit.log import AuditLog, LogUnavailable

    async def never(self: AuditLog, entry: Entry) -> object:
        raise LogUnavailable("the audit bucket is down")

    monkeypatch.setattr(AuditLog, "append", never)
    ended = deployment.run("account", "create", f"aoife@{domain}", "--home", "eu-west-1")
    assert ended.status == 75
    monkeypatch.undo()
    assert deployment.run("account", "show", f"aoife@{domain}").status == 1
    assert deployment.run("account", "create", f"aoife@{domain}", "--home", "eu-west-1").status == 0


def test_the_life_of_an_account(deployment: Deployment, domain: str) -> None:
    address = f"aoife@{domain}"
    deployment.run("account", "create", address, "--home", "us-east-1")
    before = len(deployment.entries())
    for command, status in (("suspend", "suspended"), ("resume", "active"), ("close", "closed")):
        ended = deployment.run("account", command, address, "--json")
        assert (ended.status, ended.json()["status"]) == (0, status)
    assert deployment.run("account", "rotate-keys", address, "--json").json()["status"] == "closed"
    assert len(deployment.entries()) == before  # it stands in Virginia's log, not in Ireland's
    again = deployment.run("account", "create", address, "--home", "eu-west-1")
    assert (again.status, again.out) == (1, "")
    assert again.err == f"Error: {address}: that address is somebody's\n"


@pytest.mark.parametrize("password", ["\0secret", "p" * 1_025, "é" * 513])
def test_a_password_that_nobody_could_sign_in_with_is_refused(deployment: Deployment, password: str) -> None:
    words = ("account", "create", "a@b.test", "--home", "eu-west-1", "--password-stdin")
    ended = deployment.run(*words, stdin=f"{password}\n")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "Error: password: 1 to 1024 octets without a NUL are expected\n"


def test_list(deployment: Deployment, domain: str) -> None:
    for name, home in (("a", "eu-west-1"), ("b", "us-east-1")):
        deployment.run("account", "create", f"{name}@{domain}", "--home", home)
    everywhere = deployment.run("account", "list", "--json").json()["accounts"]
    assert {f"a@{domain}", f"b@{domain}"} <= {each["address"] for each in everywhere}
    in_virginia = deployment.run("account", "list", "--home", "us-east-1")
    assert f"b@{domain}" in in_virginia.out
    assert f"a@{domain}" not in in_virginia.out


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("account", "create", "no address", "--home", "eu-west-1"), 2, "RFC 5321 4.1.2"),
        (("account", "create", "a@b.test", "--home", "ap-south-1"), 2, "not one of the regions in"),
        (("account", "create", "a@b.test", "--home", "Ireland"), 2, "is not a region code"),
        (("account", "create", "a@b.test"), 2, "--home"),
        (("account", "create", "a@b.test", "--home", "eu-west-1", "--password-stdin"), 2, "a password"),
        (("account", "show", NEVER), 1, f"{NEVER}: nobody here has that address"),
        (("account", "suspend", NEVER), 1, NEVER),
        (("account", "import", "/nowhere.csv"), 2, "/nowhere.csv"),
        (
            ("account", "create", "a@b.test", "--home", "eu-west-1", "--name", "x\x1b[2J"),
            2,
            "name: at most 200",
        ),
        (
            ("account", "create", "a@b.test", "--home", "eu-west-1", "--name", "x" * 201),
            2,
            "name: at most 200",
        ),
        (("alias", "add", "x@y.test", NEVER), 1, f"{NEVER}: no account has that address for its own"),
        (("alias", "add", "@@", NEVER), 2, "RFC 5321"),
        (("alias", "remove", NEVER), 1, NEVER),
        (("alias", "remove", "@nowhere.test"), 1, "has no catch-all"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    deployment: Deployment, words: tuple[str, ...], status: int, says: str
) -> None:
    ended = deployment.run(*words)
    assert (ended.status, ended.out) == (status, "")
    assert says in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("Error")]) == 1


def test_aliases(deployment: Deployment, domain: str) -> None:
    owner, other = f"aoife@{domain}", f"boris@{domain}"
    for address in (owner, other):
        deployment.run("account", "create", address, "--home", "eu-west-1")
    assert deployment.run("alias", "add", f"af@{domain}", owner).out == f"af@{domain} -> {owner}\n"
    assert deployment.run("alias", "add", f"@{domain}", other).out == f"@{domain} -> {other}\n"
    assert deployment.run("alias", "add", f"af@{domain}", other).status == 1
    assert deployment.run("alias", "list", owner).out == f"af@{domain} -> {owner}\n"
    told = deployment.run("alias", "list", "--json").json()["aliases"]
    assert {"alias": f"@{domain}", "address": other} in told
    for name in (f"af@{domain}", f"@{domain}"):
        assert deployment.run("alias", "remove", name).out == f"{name} removed\n"
    assert deployment.run("alias", "list", other).out == ""


def test_a_region_that_was_down_is_synchronised(deployment: Deployment, domain: str) -> None:
    made = situs(deployment.virginia_down, "account", "create", f"aoife@{domain}", "--home", "eu-west-1")
    assert made.status == 0
    failed = situs(deployment.virginia_down, "directory", "sync", "--json")
    assert failed.status == 75
    assert failed.json()["regions"][0]["failure"]
    done = deployment.run("directory", "sync", "--json")
    assert (done.status, done.json()["registrar"]) == (0, "eu-west-1")
    (virginia,) = done.json()["regions"]
    assert virginia["copied"] >= 2  # the account, and its domain
    again = deployment.run("directory", "sync")
    assert again.out == f"us-east-1: {virginia['compared']} compared, 0 copied\n"


# Import.


def csv(folder: Path, text: str) -> str:
    path = folder / "accounts.csv"
    path.write_bytes(text.encode())
    return str(path)


def test_import_and_import_again(deployment: Deployment, domain: str, tmp_path: Path) -> None:
    lines = [f"u{n}@{domain},{('eu-west-1', 'us-east-1')[n % 2]},User {n}," for n in range(60)]
    lines[7] += "secret seven"
    half = csv(tmp_path, "\r\n".join(["address,home,display_name,password", *lines[:30]]))
    first = deployment.run("account", "import", half, "--json")
    assert first.json()["made"] == 30, first.err
    file = csv(tmp_path, "\ufeffaddress,home,display_name,password\n" + "\n\n".join(lines) + "\n")
    ended = deployment.run("account", "import", file, "--json")
    assert ended.status == 0
    assert ended.json() == {"made": 30, "there": 30, "failed": 0, "faults": []}
    assert deployment.run("account", "import", file).out == "0 made, 60 there already, 0 failed\n"
    told = deployment.run("account", "show", f"u7@{domain}", "--json").json()
    assert (told["home"], told["display_name"]) == ("us-east-1", "User 7")
    assert _has_password(deployment, f"u7@{domain}", "secret seven")
    assert not _has_password(deployment, f"u8@{domain}", "")


def test_lines_that_are_wrong_are_named_and_the_others_are_done(
    deployment: Deployment, domain: str, tmp_path: Path
) -> None:
    deployment.run("account", "create", f"elsewhere@{domain}", "--home", "us-east-1")
    file = csv(
        tmp_path,
        "home,address,display_name,password\n"
        f"eu-west-1,good@{domain}\n"
        "eu-west-1,not an address\n"
        f"ap-south-1,far@{domain}\n"
        f"eu-west-1,GOOD@{domain}\n"
        f"eu-west-1,elsewhere@{domain}\n"
        f"eu-west-1,many@{domain},,,more\n"
        f"eu-west-1,strange@{domain},\x1b[2J,\n"
        f"eu-west-1,long@{domain},,{'p' * 1_025}\n"
        f"eu-west-1,last@{domain}\n",
    )
    ended = deployment.run("account", "import", file)
    assert (ended.status, ended.out) == (1, "2 made, 0 there already, 7 failed\n")
    *faults, last = ended.err.splitlines()
    assert [fault.removeprefix(f"{file}:").split(":")[0] for fault in faults] == [*"3456789"]
    for fault, says in zip(
        faults,
        ("RFC 5321", "ap-south-1", "line 2", "at home in us-east-1", "more fields", "name:", "password:"),
        strict=True,
    ):
        assert says in fault
    assert "7 lines are wrong" in last


def test_what_a_killed_import_was_at_is_a_reason_to_run_it_again(
    deployment: Deployment, domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reserved an address and died: for a minute nobody knows that it is dead."""

    class Killed(BaseException):
        pass

    async def dies(*_: object, **__: object) -> None:
        raise Killed

    half = csv(tmp_path, f"address,home\nb@{domain},eu-west-1\n")
    with monkeypatch.context() as patch:
        patch.setattr(SubscriberRecord, "create", dies)
        with pytest.raises(Killed):
            deployment.run("account", "import", half)
    file = csv(tmp_path, f"address,home\na@{domain},eu-west-1\nb@{domain},eu-west-1\n")
    ended = deployment.run("account", "import", file)
    assert (ended.status, ended.out) == (75, "1 made, 0 there already, 1 failed\n")
    assert f"{file}:3: an account with that address is being made at this moment" in ended.err
    assert "run it again" in ended.err


def test_a_region_that_is_down_is_a_reason_to_run_it_again(
    deployment: Deployment, domain: str, tmp_path: Path
) -> None:
    file = csv(tmp_path, f"address,home\na@{domain},eu-west-1\nb@{domain},us-east-1\n")
    ended = situs(deployment.virginia_down, "account", "import", file)
    assert (ended.status, ended.out) == (75, "1 made, 0 there already, 1 failed\n")
    assert "run it again" in ended.err
    ended = deployment.run("account", "import", file)
    assert (ended.status, ended.out) == (0, "1 made, 1 there already, 0 failed\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'address'"),
        ("address\na@b.test\n", "no column 'home'"),
        ("address,home,colour\n", "unknown column 'colour'"),
        ("address,home,home\n", "stands twice"),
        ('address,home\na@b.test,eu-west-1\n"c@b.test,eu-west-1\n', "no CSV after line 2: unexpected end"),
        ("address,home\na@b.test," + "x" * 140_000 + "\n", "no CSV after line 1: field larger"),
    ],
)
def test_a_file_that_is_no_list_of_accounts_makes_none(
    deployment: Deployment, tmp_path: Path, text: str, says: str
) -> None:
    ended = deployment.run("account", "import", csv(tmp_path, text))
    assert (ended.status, ended.out) == (2, "")
    assert says in ended.err


def test_a_file_that_is_not_utf_8(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("address,home,display_name\na@b.test,eu-west-1,Séan\n".encode("latin-1"))
    ended = deployment.run("account", "import", str(path))
    assert (ended.status, ended.out) == (2, "")
    assert f"{path}:2: not a CSV file in UTF-8" in ended.err
