"""The log on real S3 servers, and the command that verifies it there."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.audit import audit
from gateway.cli.report import report as report_command
from policy.clearance import Role
from storage.audit.entry import Event
from storage.audit.log import AuditLog
from storage.audit.note import Signer, generate_signer
from storage.audit.records import RecordRoom
from storage.audit.report import FaultCode
from storage.audit.source import BackendSource, DirectorySource
from storage.audit.tiles import join_entries, split_entries
from storage.audit.verify import Demands, verify
from storage.audit.view import Proof
from storage.control import s3_client
from storage.identity import utc_now
from storage.objects import Bucket
from storage.operators import OperatorRecord, OperatorRegister, Token
from storage.region import KeyFileSettings, RegionStore
from storage.settings import SIX_YEARS_IN_DAYS
from storage.vault import Vault
from storage.versions import Versions
from tests.audit.logs import REGION, entry
from tests.engines import DEPLOYMENT, IRELAND, EngineKind, Settle, keys_of, provisioned

SIGNER = Signer(f"situs/{DEPLOYMENT}/{REGION}", bytes(range(32)))


async def _fill(region: RegionStore, count: int, signer: Signer = SIGNER) -> None:
    async with await AuditLog.open(region.audit, REGION, signer) as log:
        committed = await asyncio.gather(*(log.append(entry(n)) for n in range(count)))
        assert sorted(place.index for place in committed) == list(range(count))


async def test_a_log_grows_and_verifies(region: RegionStore) -> None:
    await _fill(region, 600)
    async with await AuditLog.open(region.audit, REGION, SIGNER) as log:
        assert (await log.append(entry(600))).index == 600
        proof = await log.prove(300)
        assert proof.verify(SIGNER.key).size in (600, 601)  # the published head may trail
        assert [e.id for e in await log.entries(599, 5)] == [entry(599).id, entry(600).id]
    report = await verify(
        BackendSource(region.audit), SIGNER.key, Demands(history=Versions(region, of=region.audit))
    )
    assert report.faults == []
    assert report.entries == 601


@pytest.mark.parametrize("processes", [2, 8])
async def test_processes_that_append_at_once_share_one_history(region: RegionStore, processes: int) -> None:
    """Each log stands for a process: nothing is shared but the bucket."""
    buckets = [
        Bucket(region.settings.audit_bucket, region.settings.access, deadline=10) for _ in range(processes)
    ]
    logs = await asyncio.gather(*(AuditLog.open(bucket, REGION, SIGNER, deadline=60) for bucket in buckets))
    committed = await asyncio.gather(
        *(log.append(entry(which * 1000 + n)) for which, log in enumerate(logs) for n in range(12))
    )
    await asyncio.gather(*(log.close() for log in logs))
    assert sorted(place.index for place in committed) == list(range(processes * 12))
    async with await AuditLog.open(region.audit, REGION, SIGNER) as log:
        found = [e.id for e in await log.entries(0, 10_000)]
    assert len(set(found)) == len(found) == processes * 12
    assert (await verify(BackendSource(region.audit), SIGNER.key)).ok


async def test_a_version_forged_over_a_delete_marker_is_named(region: RegionStore) -> None:
    """Object Lock keeps the old version, not the view: the current one can be hidden and replaced."""
    await _fill(region, 300)
    key = "log/tile/entries/000"
    entries = split_entries((await region.audit.get(key)).body)
    entries[7] = entry(7777).encode()
    client = s3_client(region.settings)
    bucket = region.settings.audit_bucket
    await asyncio.to_thread(client.delete_object, Bucket=bucket, Key=key)
    await asyncio.to_thread(client.put_object, Bucket=bucket, Key=key, Body=join_entries(entries))
    report = await verify(
        BackendSource(region.audit), SIGNER.key, Demands(history=Versions(region, of=region.audit))
    )
    found = {(fault.code, fault.where) for fault in report.faults}
    assert found == {
        (FaultCode.ENTRY_CHANGED, "entry 7"),
        (FaultCode.FORGED_VERSION, key),
        (FaultCode.DELETE_MARKER, key),
    }


async def test_what_is_logged_cannot_be_deleted_for_good(region: RegionStore) -> None:
    await _fill(region, 3)
    client = s3_client(region.settings)
    bucket = region.settings.audit_bucket
    versions = await asyncio.to_thread(client.list_object_versions, Bucket=bucket, Prefix="log/tile/")
    for version in versions["Versions"]:
        with pytest.raises(client.exceptions.ClientError) as caught:
            await asyncio.to_thread(
                client.delete_object, Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"]
            )
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)


async def test_a_record_that_was_changed_or_lost_is_named(region: RegionStore) -> None:
    vault = Vault(region)
    room = RecordRoom(region, vault)
    digests = [await room.keep({"order": f"order {n}"}) for n in range(3)]
    async with await AuditLog.open(region.audit, REGION, SIGNER) as log:
        for number, digest in enumerate(digests):
            await log.append(replace(entry(number), record=digest))
    name = digests[1].removeprefix("sha256:")
    blob = await vault.get(f"records/{name}.json")
    await vault.compare_and_swap(f"records/{name}.json", b'{"order":"another"}', blob.etag)
    await region.mail.delete(f"records/{digests[2].removeprefix('sha256:')}.json")
    report = await verify(BackendSource(region.audit), SIGNER.key, Demands(records=room))
    assert report.records == 1
    assert {(fault.code, fault.where) for fault in report.faults} == {
        (FaultCode.RECORD_CHANGED, "entry 1"),
        (FaultCode.RECORD_MISSING, "entry 2"),
    }


def _configuration(region: RegionStore, directory: Path) -> Path:
    settings = region.settings
    assert isinstance(settings.key_service, KeyFileSettings)
    for name in ("directory.key", "pseudonym.key"):
        (directory / name).write_text("11" * 32)
        (directory / name).chmod(0o600)
    (directory / "trust").mkdir()
    path = directory / "situs.toml"
    path.write_text(
        f"""
deployment = "{DEPLOYMENT}"
serves = ["{REGION}"]
provider_entities = ["IE"]
[directory]
key_file = "directory.key"
registrar = "{REGION}"
reads = "{REGION}"
[law]
trust = "trust"
[gateway]
listen = "127.0.0.1:0"
seat = "{REGION}"
[regions.{REGION}]
country = "IE"
endpoint = "{settings.endpoint}"
bucket = "{settings.bucket}"
audit_bucket = "{settings.audit_bucket}"
access_key_id = "{keys_of(settings).access_key_id}"
secret_access_key = "{keys_of(settings).secret_access_key}"
[regions.{REGION}.keys]
service = "file"
path = "{settings.key_service.path}"
[regions.{REGION}.audit]
signing_key_file = "audit.key"
pseudonym_key_file = "pseudonym.key"
"""
    )
    return path


async def _situs(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, audit, words)


async def test_the_command_verifies_a_region_and_names_an_entry(
    settle: Settle, engine_kind: EngineKind, tmp_path: Path
) -> None:
    # What a configuration without further words expects of a bucket.
    settings = replace(settle(engine_kind, IRELAND), audit_retention_days=SIX_YEARS_IN_DAYS)
    region = await provisioned(settings)
    signer = generate_signer(tmp_path / "audit.key", f"situs/{DEPLOYMENT}/{REGION}")
    config = str(_configuration(region, tmp_path))
    await _fill(region, 20, signer)
    good = await _situs("verify", "--region", str(REGION), "--config", config)
    assert (good.exit_code, good.stdout.count("20 entries")) == (0, 1), (good.output, good.exception)

    key = "log/tile/entries/000.p/20"
    body = bytearray((await region.audit.get(key)).body)
    body[body.index(entry(13).id.encode())] ^= 1
    await region.audit.put(key, bytes(body))
    bad = await _situs("verify", "--region", str(REGION), "--config", config, "--json")
    assert bad.exit_code == 1, bad.output
    answer = json.loads(bad.stdout)
    assert answer["ok"] is False
    assert {"entry-changed entry 13", f"forged-version {key}"} == {
        f"{fault['code']} {fault['where']}" for fault in answer["logs"][0]["faults"]
    }


async def test_an_auditor_reads_proves_exports_and_counts(
    settle: Settle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading of records, and each export, is an entry before it happens."""
    settings = replace(settle(EngineKind.MOTO, IRELAND), audit_retention_days=SIX_YEARS_IN_DAYS)
    region = await provisioned(settings)
    signer = generate_signer(tmp_path / "audit.key", f"situs/{DEPLOYMENT}/{REGION}")
    where = ("--region", str(REGION), "--config", str(_configuration(region, tmp_path)))
    vault = Vault(region)
    digest = await RecordRoom(region, vault).keep({"order": "sealed words"})
    async with await AuditLog.open(region.audit, REGION, signer) as log:
        await log.append(replace(entry(0), record=digest))

    public = await _situs("list", *where, "--json")
    assert [item["index"] for item in json.loads(public.stdout)["entries"]] == [0], public.output
    assert "sealed words" not in public.output
    assert (await _situs("list", *where, "--records")).exit_code == 2
    for role, expected in ((Role.INTAKE, 1), (Role.AUDITOR, 0)):
        token, now = Token.new(), utc_now()
        until = now + timedelta(days=1)
        who = (token.id, "ada", frozenset({role}), frozenset({REGION}), token.hash(), now, until)
        await OperatorRegister(vault).add(OperatorRecord(*who))
        monkeypatch.setenv("SITUS_TOKEN", token.text)
        joined = await _situs("list", *where, "--records")
        assert (joined.exit_code, "sealed words" in joined.stdout) == (expected, expected == 0)
    async with await AuditLog.open(region.audit, REGION, signer) as log:
        assert [e.event for e in await log.entries(1, 10)] == [Event.AUDIT_READ]

    proof = await _situs("prove", "0", *where)
    assert Proof.parse(proof.stdout).verify(signer.key).size == 2
    assert (await _situs("prove", "99", *where)).exit_code == 1
    exported = await _situs("export", *where, "--to", str(tmp_path / "copy"))
    assert exported.exit_code == 0, exported.output
    copy = await verify(DirectorySource(tmp_path / "copy"), signer.key)
    assert (copy.faults, copy.size) == ([], 3)
    told = await asyncio.to_thread(CliRunner().invoke, report_command, ["transparency", *where, "--json"])
    assert json.loads(told.stdout)["regions"][0]["computed_from"]["size"] == 3, told.output
