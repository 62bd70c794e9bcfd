"""`situs package verify`: whatever was done to a package on its way is named, and nothing else is needed."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.package import package as package_command
from gateway.disclosure.zipping import Archive, Packed
from tests.policy.pki import NOW

MAIL = b"Subject: The accounts\r\n\r\nHere they are.\r\n"


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as it could have been received, made without a gateway."""
    directory = tmp_path_factory.mktemp("package")
    archive, path = Archive(), f"messages/{'0' * 32}.eml"
    file = Packed.of(MAIL)
    volume = archive.before(path, NOW, file) + file.octets + archive.end()
    (directory / "content-0001.zip").write_bytes(volume)
    digest = f"sha256:{'0' * 64}"
    manifest = {
        "manifest": "situs-package/1", "disclosure": "0" * 32, "region": "eu-west-1", "reference": "DC-1",
        "categories": ["content"], "timespan_start": None, "timespan_end": None, "decision_digest": digest,
        "order_digest": digest, "audit": {"region": "eu-west-1", "index": 0},
        "custody": {"asked_by": "ina", "asked": NOW.isoformat(), "approved_by": "art",
                    "approved": NOW.isoformat(), "packaged": NOW.isoformat(), "software": "situs",
                    "recipient": digest},
        "counts": {"messages": 1, "traffic_records": 0, "errors": 0},
        "parts": [{"name": "content-0001.zip", "media_type": "application/zip", "size": len(volume),
                   "sha256": hashlib.sha256(volume).hexdigest(), "encrypted_size": 0,
                   "encrypted_sha256": "0" * 64}],
        "errors": [], "expires": NOW.isoformat(),
        "messages": [{"part": "content-0001.zip", "path": path, "message_id": "0" * 32,
                      "received_at": NOW.isoformat(), "size": len(MAIL),
                      "sha256": hashlib.sha256(MAIL).hexdigest()}],
    }  # fmt: skip
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def verified(directory: Path) -> tuple[int, str]:
    run = CliRunner().invoke(package_command, ["verify", str(directory)])
    return run.exit_code, run.output


@pytest.mark.parametrize(
    ("damage", "status", "says"),
    [
        (lambda d: None, 0, "ok  content-0001.zip"),
        (lambda d: flip(d / "content-0001.zip"), 1, "NO  content-0001.zip: its SHA-256"),
        (lambda d: (d / "content-0001.zip").unlink(), 1, "NO  content-0001.zip: missing"),
        (lambda d: (d / "more.eml").write_bytes(b""), 1, "NO  more.eml: not a part"),
        (lambda d: edit(d, lambda m: m["messages"][0].update(sha256="0" * 64)), 1, "messages/000"),
        (lambda d: edit(d, lambda m: m["messages"].clear()), 1, "NO  counts"),
        (lambda d: (d / "manifest.json").unlink(), 2, "manifest.json: No such file"),
        (lambda d: (d / "manifest.json").write_text("{"), 2, "manifest.json: "),
        (lambda d: edit(d, lambda m: m["parts"][0].update(name="../../etc/passwd")), 2, "parts.0.name"),
        (lambda d: remake(d, method=8), 1, "cannot be read"),  # as if deflated, which it is not
        (lambda d: remake(d, method=99), 1, "cannot be read"),
        (lambda d: remake(d, flags=1), 1, "cannot be read"),
    ],
    ids=[
        "whole",
        "flipped",
        "missing",
        "stranger",
        "digest",
        "fewer",
        "no manifest",
        "no JSON",
        "path trick",
        "no deflate",
        "unknown method",
        "encrypted inside",
    ],
)
def test_whatever_was_done_to_a_package_is_named(
    received: Path, tmp_path: Path, damage: Any, status: int, says: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in received.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damage(copy)
    code, output = verified(copy)
    assert (code, says in output) == (status, True), output
    assert "Traceback" not in output


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[60] ^= 1
    path.write_bytes(bytes(body))


def remake(directory: Path, *, method: int = 0, flags: int = 0) -> None:
    """Another ZIP under a manifest that was made for it."""
    volume = bytearray((directory / "content-0001.zip").read_bytes())
    central = volume.index(b"PK\x01\x02")
    # APPNOTE.TXT 4.3.7 and 4.3.12: flags and method, in the local header and in the directory
    volume[6:10] = volume[central + 8 : central + 12] = struct.pack("<HH", flags, method)
    (directory / "content-0001.zip").write_bytes(bytes(volume))
    digest = hashlib.sha256(volume).hexdigest()
    edit(directory, lambda manifest: manifest["parts"][0].update(sha256=digest))


def edit(directory: Path, change: Any) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    change(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))
