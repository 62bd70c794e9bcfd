"""`situs fence verify` finds whatever is not at home, each kind of it, on every kind of engine."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

from gateway.cli.fence import REPORT_TYPE, fence
from gateway.cli.outcome import AnswerIsNo
from gateway.config import load_config
from policy.geography import RegionCode
from storage.audit.note import Note, Signer
from storage.control import s3_client
from storage.directory_record import DirectoryKey
from storage.fence import FenceWalk, StrayKind, Walk
from storage.homes import HomeOf, Homes
from storage.identity import AccountId
from storage.keyring import Keyholder, create_keyring
from storage.keyservice import KeyFile
from storage.mailbox import append
from storage.objects import Bucket
from storage.proof import MARKER
from storage.region import KeyFileSettings, RegionSettings, RegionStore
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, EngineKind, Settle, keys_of, provisioned
from tests.storage.grounds import AOIFE, BORIS, DIRECTORY_KEY, NOW, World, envelope, world

OURS, THEIRS, NOBODYS = (AccountId(letter * 32) for letter in "abc")
KNOWN: Mapping[AccountId, RegionCode] = {OURS: IRELAND.code, THEIRS: GERMANY.code}


async def walked(
    settings: RegionSettings,
    known: Mapping[AccountId, RegionCode] = KNOWN,
    known_later: Mapping[AccountId, RegionCode] | None = None,
    deployment: str = DEPLOYMENT,
) -> Walk:
    """A walk with a directory that says `known`, and `known_later` when it is read again."""

    async def again() -> HomeOf:
        return homes_in(known if known_later is None else known_later)

    return await FenceWalk(settings, deployment).run(homes_in(known), again)


def homes_in(known: Mapping[AccountId, RegionCode]) -> HomeOf:
    def home(account: AccountId) -> RegionCode | None:
        return known.get(account)

    return home


def found(walk: Walk) -> set[tuple[str, StrayKind]]:
    return {(stray.key, stray.kind) for stray in walk.strays}


async def with_keyring(store: RegionStore, account: AccountId) -> None:
    await create_keyring(store.mail, store.keys, Keyholder(store.region.code, account), NOW)


async def test_a_region_in_order_has_no_strays(region: RegionStore) -> None:
    await with_keyring(region, OURS)
    await region.mail.put_if_absent(f"mail/{OURS}/1", b"x" * 100)
    await region.mail.put_if_absent(f"holds/{OURS}/1.json", b"x")
    await region.mail.put_if_absent("holds/wide/1.json", b"x")
    await region.mail.put_if_absent("disclosures/1.json", b"x")
    await region.audit.put_if_absent("log/checkpoint", b"x")
    walk = await walked(region.settings)
    assert walk.at_home
    assert (walk.strays, walk.stray_count) == ([], 0)
    assert walk.keyrings == 2  # the account's and the region's own
    assert walk.versions == 9  # these six, two markers, and the region's keyring


async def test_each_kind_of_stray_is_found(region: RegionStore) -> None:
    put = region.mail.put_if_absent
    foreign = KeyFile(b"the key service of other regions")
    await create_keyring(region.mail, foreign, Keyholder(IRELAND.code, OURS), NOW)
    await put(f"mail/{OURS}/1", b"at home")
    await put(f"mail/{THEIRS}/1", b"at home in Germany")
    await put(f"deleted/{THEIRS}/1", b"")
    await put(f"mail/{NOBODYS}/1", b"whose?")
    await put("accounts/aoife/account.json", b"no account id")
    await put("mail/1", b"under no account")
    await put("tmp/x", b"in no folder")
    await region.audit.put_if_absent("mail/x", b"in the wrong bucket")
    walk = await walked(region.settings)
    assert found(walk) == {
        (f"accounts/{OURS}/keys.json", StrayKind.FOREIGN_KEY),
        (f"mail/{THEIRS}/1", StrayKind.HOMED_ELSEWHERE),
        (f"deleted/{THEIRS}/1", StrayKind.HOMED_ELSEWHERE),
        (f"mail/{NOBODYS}/1", StrayKind.NO_ACCOUNT),
        ("accounts/aoife/account.json", StrayKind.NO_PLACE),
        ("mail/1", StrayKind.NO_PLACE),
        ("tmp/x", StrayKind.NO_PLACE),
        ("mail/x", StrayKind.NO_PLACE),
    }
    assert walk.stray_count == 8
    assert not walk.at_home
    details = {stray.kind: stray.detail for stray in walk.strays}
    assert details[StrayKind.HOMED_ELSEWHERE] == f"account {THEIRS} is at home in eu-central-1"
    assert details[StrayKind.FOREIGN_KEY] == f"wrapped by {foreign.key_id}, expected {region.keys.key_id}"


async def test_the_regions_own_keyring_is_compared_too(region: RegionStore) -> None:
    await region.mail.delete("situs/keys.json")
    foreign = KeyFile(b"the key service of other regions")
    await create_keyring(region.mail, foreign, Keyholder(IRELAND.code), NOW)
    assert found(await walked(region.settings)) == {("situs/keys.json", StrayKind.FOREIGN_KEY)}


async def test_an_unreadable_keyring_is_named(region: RegionStore) -> None:
    await region.mail.put_if_absent(f"accounts/{OURS}/keys.json", b'{"version": 9}')
    assert found(await walked(region.settings)) == {
        (f"accounts/{OURS}/keys.json", StrayKind.UNREADABLE_KEYRING)
    }


async def test_what_a_delete_marker_hides_is_still_there(region: RegionStore) -> None:
    await region.mail.put_if_absent(f"mail/{THEIRS}/1", b"x")
    await region.mail.put(f"mail/{THEIRS}/1", b"y")
    await region.mail.delete(f"mail/{THEIRS}/1")
    walk = await walked(region.settings)
    assert [stray.key for stray in walk.strays] == [f"mail/{THEIRS}/1"] * 2
    assert len({stray.version for stray in walk.strays}) == 2


async def test_an_account_that_was_made_meanwhile_is_no_stray(region: RegionStore) -> None:
    await region.mail.put_if_absent(f"mail/{NOBODYS}/1", b"x")
    walk = await walked(region.settings, known_later={**KNOWN, NOBODYS: IRELAND.code})
    assert walk.at_home


async def test_a_missing_marker_is_found_and_the_rest_is_walked(region: RegionStore) -> None:
    await region.mail.put_if_absent("tmp/x", b"x")
    s3_client(region.settings).delete_object(Bucket=region.settings.bucket, Key=MARKER)
    walk = await walked(region.settings)
    assert [check.name for check in walk.checks if not check.ok] == [
        f"bucket {region.settings.bucket}: marker"
    ]
    assert found(walk) == {("tmp/x", StrayKind.NO_PLACE)}
    assert not walk.at_home


async def test_a_replication_rule_is_found(settle: Settle) -> None:
    store = await provisioned(settle(EngineKind.MOTO, IRELAND))
    target = f"arn:aws:s3:::{store.settings.audit_bucket}"
    s3_client(store.settings).put_bucket_replication(
        Bucket=store.settings.bucket,
        ReplicationConfiguration={
            "Role": "arn:aws:iam::123456789012:role/replicate",
            "Rules": [{"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": target}}],
        },
    )
    walk = await walked(store.settings)
    assert [check.detail for check in walk.checks if not check.ok] == [
        f"1 rule(s) to {target}, expected none"
    ]
    assert not walk.at_home


async def test_a_missing_bucket_is_found(
    region: RegionStore, settle: Settle, engine_kind: EngineKind
) -> None:
    walk = await walked(settle(engine_kind, IRELAND))
    assert sum(not check.ok for check in walk.checks) == 3  # the key file, and both buckets
    assert walk.versions == 0


async def test_pages_go_on_and_strays_are_counted_beyond_those_that_are_listed(
    settle: Settle, engine_kind: EngineKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.fence.PAGE", 50)
    monkeypatch.setattr("storage.fence.MOST_LISTED", 10)
    settings = settle(engine_kind, IRELAND)
    store = await provisioned(settings)
    slots = asyncio.Semaphore(16)

    async def put(number: int) -> None:
        async with slots:
            await store.mail.put_if_absent(f"mail/{NOBODYS}/{number:04d}", b"x")

    await asyncio.gather(*map(put, range(220)))
    walk = await walked(settings)
    assert walk.versions == 220 + 3
    assert walk.stray_count == 220
    assert len(walk.strays) == 10


async def test_homes_are_read_out_of_the_directory(settle: Settle) -> None:
    async with world(settle, (IRELAND, GERMANY), deadline=5) as ours:
        aoife = await ours.directory.create(AOIFE, IRELAND.code)
        boris = await ours.directory.create(BORIS, GERMANY.code)
        registrar = ours.store(IRELAND).mail
        homes = await Homes.read(registrar, DirectoryKey(DIRECTORY_KEY))
        assert len(homes) == 2
        assert homes(aoife.id) == IRELAND.code
        assert homes(boris.id) == GERMANY.code
        assert homes(NOBODYS) is None
        await registrar.put_if_absent(f"directory/{'0' * 64}", b"forged")
        homes = await Homes.read(registrar, DirectoryKey(DIRECTORY_KEY))
        assert [corrupt.key for corrupt in homes.corrupt] == [f"directory/{'0' * 64}"]


# --- the command


@pytest.fixture
async def deployment(settle: Settle, tmp_path: Path) -> Path:
    """Two regions with a mailbox and a message each, and the configuration file for them."""
    async with world(settle, (IRELAND, GERMANY), deadline=5) as ours:
        for address, home in ((AOIFE, IRELAND), (BORIS, GERMANY)):
            await ours.directory.create(address, home.code)
            located = await ours.directory.locate(address)
            await append(
                ours.ground.home(located), located, envelope(str(address)), b"Subject: x\r\n\r\nx\r\n"
            )
        return _configuration(ours, tmp_path)


def _configuration(ours: World, directory: Path) -> Path:
    (directory / "directory.key").write_text(DIRECTORY_KEY.hex())
    (directory / "directory.key").chmod(0o600)
    lines = [
        f'deployment = "{DEPLOYMENT}"',
        'serves = ["eu-west-1"]',
        'provider_entities = ["IE"]',
        '[directory]\nkey_file = "directory.key"\nregistrar = "eu-west-1"\nreads = "eu-west-1"',
        '[law]\ntrust = "trust"',
        '[gateway]\nlisten = "127.0.0.1:0"\nseat = "eu-west-1"',
    ]
    for code, place in ours.places.items():
        key = directory / f"{code}.audit.key"
        key.write_text(Signer(f"situs/{DEPLOYMENT}/{code}", bytes(32)).text() + "\n")
        key.chmod(0o600)
        settings = place.settings
        keys = json.dumps(str(settings.key_service.path))  # type: ignore[union-attr]
        # The engine itself: the proxies end with the fixture.
        endpoint = f"http://{place.proxy.engine_address}"
        lines.append(
            f"""
[regions.{code}]
country = "{settings.region.country}"
endpoint = "{endpoint}"
bucket = "{settings.bucket}"
audit_bucket = "{settings.audit_bucket}"
audit_retention_days = 1
access_key_id = "{keys_of(settings).access_key_id}"
secret_access_key = "{keys_of(settings).secret_access_key}"
keys = {{ service = "file", path = {keys} }}
audit = {{ signing_key_file = "{key.name}", pseudonym_key_file = "pseudonym.key" }}
"""
        )
    path = directory / "situs.toml"
    path.write_text("\n".join(lines))
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(fence, ["verify", "--config", str(config), *arguments], catch_exceptions=True)


async def test_the_command_prints_a_signed_report_and_ends_with_0(deployment: Path) -> None:
    done = await asyncio.to_thread(run, deployment, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    note = Note.parse(report.pop("note").encode())
    digest = hashlib.sha256(rfc8785.dumps(report)).hexdigest()
    assert note.text == f"{REPORT_TYPE}\nsha256:{digest}\n"
    signers = [Signer(f"situs/{DEPLOYMENT}/{code}", bytes(32)).key for code in report["regions"]]
    assert set(note.verified_by(signers)) == set(signers)
    assert report["ok"] is True
    assert report["accounts"] == 2
    assert {code: part["stray_count"] for code, part in report["regions"].items()} == {
        "eu-west-1": 0,
        "eu-central-1": 0,
    }


async def test_the_command_ends_with_1_and_lists_every_stray(deployment: Path) -> None:
    germany = load_config(deployment).regions[GERMANY.code]
    s3_client(germany).put_object(Bucket=germany.bucket, Key=f"mail/{NOBODYS}/1", Body=b"x")
    done = await asyncio.to_thread(run, deployment, "--json")
    assert done.exit_code == AnswerIsNo.exit_code
    part = json.loads(done.stdout)["regions"]["eu-central-1"]
    assert [(one["key"], one["kind"]) for one in part["strays"]] == [(f"mail/{NOBODYS}/1", "no-account")]
    table = await asyncio.to_thread(run, deployment)
    assert table.exit_code == 1
    assert f"mail/{NOBODYS}/1: no-account: account {NOBODYS} is not in the directory" in table.stdout
    only_ireland = await asyncio.to_thread(run, deployment, "--region", "eu-west-1")
    assert only_ireland.exit_code == 0


async def test_the_command_lists_each_of_the_five_kinds_of_fault(deployment: Path) -> None:
    """Each in a run of its own, and then all of them in one."""
    config = load_config(deployment)
    ireland, germany = config.regions[IRELAND.code], config.regions[GERMANY.code]
    client, abroad = s3_client(ireland), s3_client(germany)
    (keyring,) = [
        one["Key"]
        for one in abroad.list_objects_v2(Bucket=germany.bucket, Prefix="accounts")["Contents"]
        if one["Key"].endswith("keys.json")
    ]
    boris = keyring.split("/")[1]
    theirs = f"mail/{boris}/1"

    def homed_elsewhere() -> None:
        client.put_object(Bucket=ireland.bucket, Key=theirs, Body=b"x")

    def of_no_account() -> None:
        client.put_object(Bucket=ireland.bucket, Key=f"mail/{NOBODYS}/1", Body=b"x")

    def replicated() -> None:
        target = f"arn:aws:s3:::{germany.bucket}"
        rule: Any = {"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": target}}
        client.put_bucket_replication(
            Bucket=ireland.bucket,
            ReplicationConfiguration={"Role": "arn:aws:iam::123456789012:role/r", "Rules": [rule]},
        )

    def wrapped_by_another_region() -> None:
        assert isinstance(ireland.key_service, KeyFileSettings)
        abroad.delete_object(Bucket=germany.bucket, Key=keyring)
        bucket, irish = Bucket(germany.bucket, germany.access), KeyFile.load(ireland.key_service.path)
        asyncio.run(create_keyring(bucket, irish, Keyholder(GERMANY.code, AccountId(boris)), NOW))

    def without_its_marker() -> None:
        client.delete_object(Bucket=ireland.audit_bucket, Key=MARKER)

    expected: list[str] = []
    for go_wrong, found in (
        (homed_elsewhere, f"{theirs} homed-elsewhere"),
        (of_no_account, f"mail/{NOBODYS}/1 no-account"),
        (replicated, "replication"),
        (wrapped_by_another_region, f"{keyring} foreign-key"),
        (without_its_marker, "marker"),
    ):
        await asyncio.to_thread(go_wrong)
        expected.append(found)
        done = await asyncio.to_thread(run, deployment, "--json")
        assert done.exit_code == AnswerIsNo.exit_code
        report = json.loads(done.stdout)
        assert report["ok"] is False
        parts = report["regions"].values()
        told = [f"{one['key']} {one['kind']}" for part in parts for one in part["strays"]]
        told += [one["name"].rpartition(": ")[2] for part in parts for one in part["checks"] if not one["ok"]]
        assert sorted(told) == sorted(expected)
        table = await asyncio.to_thread(run, deployment)
        assert table.exit_code == AnswerIsNo.exit_code
        for line in (each.replace(" ", ": ") for each in expected):
            assert line in table.stdout


async def test_memory_does_not_grow_with_the_objects(settle: Settle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many objects take no more memory: what stays is what is listed."""
    store = await provisioned(settle(EngineKind.MOTO, IRELAND))
    slots = asyncio.Semaphore(16)

    async def put(number: int) -> None:
        async with slots:
            await store.mail.put_if_absent(f"mail/{OURS}/{number:05d}", b"x")

    async def peak() -> int:
        """Of the leanest of three walks: what the collector has not come to yet is not what a walk needs."""
        peaks = []
        for _ in range(3):
            gc.collect()
            tracemalloc.start()
            await walked(store.settings)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return min(peaks)

    monkeypatch.setattr("storage.fence.PAGE", 40)
    await asyncio.gather(*map(put, range(200)))
    first = await peak()
    await asyncio.gather(*map(put, range(200, 400)))
    assert await peak() < first * 1.2
