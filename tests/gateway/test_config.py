"""`situs.toml`: each fault is one line that names file, key and what was expected; exit 2."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from gateway.config import ConfigError, load_config
from gateway.config_file import ConfigFile
from gateway.disclosure.terms import Terms
from gateway.ingress.limits import Limits
from policy.geography import RegionCode
from storage.credentials import Credentials, Machine, Profile, StaticKeys
from tests.gateway.demos import situs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "deploy" / "situs.toml").read_text()


def written(directory: Path, text: str) -> Path:
    path = directory / "situs.toml"
    path.write_text(text)
    (directory / "secrets").mkdir(exist_ok=True)
    (directory / "secrets" / "rspamd.password").write_text("p\n")
    return path


def test_the_example_of_the_operators_guide_is_a_configuration(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, EXAMPLE))
    assert config.serves == (RegionCode("eu-west-1"),)
    assert config.directory_key_file == tmp_path / "secrets" / "directory.key"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('deployment = "mail.example"', 'deployment = "Mail Example"', "deployment: "),
        ('deployment = "mail.example"', 'colour = "red"\ndeployment = "m"', "colour: unknown key"),
        (
            'serves = ["eu-west-1"]',
            'serves = ["eu-west-9"]',
            "serves[0]: 'eu-west-9' is not one of the regions",
        ),
        ('serves = ["eu-west-1"]', "serves = []", "serves: at least one region"),
        ('serves = ["eu-west-1"]', 'serves = "eu-west-1"', "serves: "),
        ('country = "IE"', 'country = "Ireland"', "regions.eu-west-1.country: 'Ireland'"),
        ('country = "IE"', "", "regions.eu-west-1.country: this key is required"),
        ('bucket = "mail-example-ie"', "bucket = 7", "regions.eu-west-1.bucket: "),
        ('"mail-example-ie-audit"', '"mail-example-ie"', "buckets of their own"),
        ('service = "kms"', 'service = "vault"', "regions.eu-west-1.keys"),
        ('# access_key_id = "', 'access_key_id = "', "regions.eu-west-1.credentials: either a profile or"),
        ("profile = ", "# profile = ", "regions.eu-west-1.credentials.profile: this key is required"),
        ('key_id = "arn', 'key_idd = "arn', "regions.eu-west-1.keys.key_id"),
        ("[regions.eu-west-1]", '[regions."eu west"]', "regions.eu west"),
        ('listen = "127.0.0.1:8025"', 'listen = "8025"', "gateway.listen: 'HOST:PORT'"),
        ('listen = "127.0.0.1:8025"', 'listen = "127.0.0.1:99999"', "gateway.listen: 'HOST:PORT'"),
        ('seat = "eu-west-1"', 'seat = "eu-west-2"', "gateway.seat: 'eu-west-2'"),
        ("package_lifetime_days = 14", "package_lifetime_days = 0", "gateway.package_lifetime_days: "),
        ("requests_per_minute = 600", "requests_per_minute = 0", "gateway.requests_per_minute: "),
        ("message_size = 26214400", "message_size = 1", "limits: message_size must be at least"),
        ("message_size = 26214400", "message_sizes = 1", "limits.message_sizes: unknown key"),
        ("message_size = 26214400", "message_size = 1.5", "limits.message_size: a whole number"),
        ("message_size = 26214400", "message_size = true", "limits.message_size: "),
        ('key = "tls/mx.key"', "", "smtp.certificate: certificate and key go together"),
        ('unreachable = "defer"', 'unreachable = "hope"', "rspamd.unreachable: "),
        ('url = "http:', 'url = "ftp:', "rspamd.url: "),
        ('url = "https:', 'url = "ftp:', "regions.eu-west-1.audit.witness.0.url: "),
        ("+78c73e32+", "+00000000+", "regions.eu-west-1.audit.witness.0.key: "),
        ('"secrets/rspamd.password"', '"nowhere"', "rspamd.password_file: nowhere: "),
        ("[law]", "[law", "situs.toml: "),
    ],
)
def test_a_fault_names_file_key_and_rule(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in EXAMPLE
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, EXAMPLE.replace(old, new)))
    line = str(caught.value)
    assert expected in line
    assert str(tmp_path / "situs.toml") in line
    assert "\n" not in line


def test_the_gateways_terms_are_the_files(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, EXAMPLE)).gateway_terms == Terms()  # the example shows the defaults
    text = EXAMPLE.replace("package_lifetime_days = 14", "package_lifetime_days = 3")
    text = text.replace("requests_per_minute = 600", "requests_per_minute = 40")
    terms = load_config(written(tmp_path, text)).gateway_terms
    assert (terms.package_lifetime, terms.attempts_a_minute) == (timedelta(days=3), 40)


PAIR = 'access_key_id = "K"\nsecret_access_key = "S"\n'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (PAIR, StaticKeys("K", "S")),
        ("", Machine()),
        ('credentials = { profile = "p" }\n', Profile("p")),
        ('credentials = { profile = "p", file = "aws" }\n', Profile("p", Path("aws"))),
        ('access_key_id = "K"\n', None),
        ('secret_access_key = "S"\n', None),
        (PAIR + 'credentials = { profile = "p" }\n', None),
    ],
    ids=["pair", "machine", "profile", "file", "id alone", "secret alone", "both"],
)
def test_as_whom_a_region_is_reached(tmp_path: Path, words: str, expected: Credentials | None) -> None:
    table = EXAMPLE.index("# A profile in a file of AWS's form"), EXAMPLE.index("[regions.eu-west-1.audit]")
    text = EXAMPLE[: table[0]] + EXAMPLE[table[1] :]
    text = text.replace('country = "IE"\n', f'country = "IE"\n{words}')
    if expected is None:
        with pytest.raises(ConfigError, match=r"regions\.eu-west-1\.(credentials|access_key_id): "):
            load_config(written(tmp_path, text))
        return
    if isinstance(expected, Profile) and expected.file:
        expected = replace(expected, file=tmp_path / expected.file)
    assert load_config(written(tmp_path, text)).regions[RegionCode("eu-west-1")].credentials == expected


def test_a_listener_has_what_its_door_has_but_for_what_it_says(tmp_path: Path) -> None:
    door = load_config(written(tmp_path, EXAMPLE)).smtp
    (further,) = door.more
    assert further == replace(
        door, listen=("0.0.0.0:465",), implicit_tls=True, connect_from=("192.0.2.0/24",), more=()
    )
    assert door.addresses == ("0.0.0.0:25", "0.0.0.0:465")


def test_a_missing_file_and_a_wrong_key_end_a_command_with_2(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", written(tmp_path, EXAMPLE + "\n[surprise]\n")):
        ended = situs("serve", "--config", str(path))
        assert ended.returncode == 2
        assert str(path) in ended.stderr
        assert "Traceback" not in ended.stderr
        assert ended.stdout == ""


def test_every_key_of_the_example_is_explained() -> None:
    """Each key has a comment above it, or shares the comment of the keys right above it."""
    lines = EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", "[")):
            above = number - 1
            while lines[above] and not lines[above].startswith(("#", "[")):
                above -= 1
            assert lines[above].startswith("#"), line


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    """The names of all keys that a section may hold, its tables' keys too."""
    for name, field in section.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys_of(kind)


def test_every_key_of_the_code_stands_in_the_example() -> None:
    """What the example left out would be a key that nobody finds."""
    shown = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE, re.M))
    tables = {part for name in re.findall(r"^\[+(.+?)\]+$", EXAMPLE, re.M) for part in name.split(".")}
    assert set(keys_of(ConfigFile)) - shown <= tables


def test_the_example_shows_each_limit_with_its_default(tmp_path: Path) -> None:
    shown = tomllib.loads(EXAMPLE)["limits"]
    assert shown == {field.name: field.default for field in fields(Limits)}
