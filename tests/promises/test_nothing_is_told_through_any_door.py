"""Marked addresses, words, passwords and peers go through every door of a running deployment, and stand
nowhere but in sealed objects of the home region: in no line of log, no metric, no entry of the audit log, on
no disk, in no other region, in success, in refusal and while a region is down.

`tests/storage/test_nothing_is_told.py` does the same below the doors, with every fault of storage.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from gateway.demo.card import Card
from gateway.demo.scenes import GERMANY
from tests.gateway.demos import RunningDemo, running_demo
from tests.promises import marked as doors
from tests.promises.marked import MAIL, MARK, PEER, marked


def every_version(card: Card) -> Iterator[tuple[str, bytes]]:
    """Name and octets of every version in every bucket, as the regions' own servers give them."""
    for region, ground in card.regions.items():
        client = boto3.client(
            "s3",
            endpoint_url=ground.endpoint,
            region_name=region,
            aws_access_key_id=ground.access_key_id,
            aws_secret_access_key=ground.secret_access_key,
        )
        for bucket in (ground.bucket, ground.audit_bucket):
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for one in page.get("Versions", ()):
                    answer = client.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
                    about = f"{region} {one['Key']} {answer['Metadata']} {answer['ContentType']}"
                    yield about, answer["Body"].read()


def go_through_every_door(demo: RunningDemo, folder: Path) -> dict[str, bytes]:
    """What was shown to those who asked for everything and nobody."""
    card = demo.card
    doors.people(card, folder)
    doors.smtp(card)
    doors.lmtp(card)
    doors.imap(card)
    doors.api(card)
    doors.console(card)
    doors.owners_commands(card, folder)
    shown = dict(every_version(card))
    assert len(shown) > 100
    shown |= doors.public(card)
    shown |= {words: said.encode() for words, said in doors.verdicts(card).items()}
    demo.engine(GERMANY).kill()
    doors.smtp_while_a_region_is_down(card)
    return shown | {"/metrics, with a region down": doors.Gateway(card).ask("GET", "/metrics")[1]}


@pytest.mark.timeout(900)  # some twenty-five commands, one after the other
def test_nothing_is_told_through_any_door(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks, folder = tmp_path_factory.mktemp("disks"), tmp_path_factory.mktemp("brought")
    (disks / "tmp").mkdir()
    for name in ("TMPDIR", "RUNTIME_DIRECTORY", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(disks / "tmp"))
    monkeypatch.chdir(disks / "tmp")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with running_demo(disks / "state", "--engine", "seaweedfs") as demo:
        shown = go_through_every_door(demo, folder)
        said = demo.said
    for what, octets in shown.items():
        assert not marked(what.encode() + octets), what
    assert not marked(said.encode())
    written = [path for path in disks.rglob("*") if path.is_file()]
    # The engines keep their data there: the mail is in these files, sealed; so is what was logged.
    assert sum(path.stat().st_size for path in written) > 100_000
    assert (disks / "state.err").stat().st_size > 1_000
    for path in written:
        assert not marked(str(path.relative_to(disks)).encode() + path.read_bytes()), path


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_what_is_there(shift: int) -> None:
    assert marked(MAIL)
    assert marked(MARK.upper().encode())
    assert marked(base64.b64encode(b"x" * shift + MAIL))
    assert PEER is None or marked(f"connection from {PEER}".encode())
    assert not marked(b"nothing of the kind")
