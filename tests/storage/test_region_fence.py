"""The fence: a store exists only as proof of its region, and there are two ways to one.

Every test of a refusal takes one thing away from a region that is in order, and reads the one
reason that the refusal gives.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from policy.geography import Jurisdiction, Region, RegionCode
from storage.control import kms_client, s3_client
from storage.credentials import StaticKeys
from storage.errors import FenceBroken, Unavailable
from storage.identity import AccountId
from storage.keys import PrivateKey, PublicKeys, Purpose
from storage.located import AccountStatus, Located
from storage.proof import MARKER, Marker, Provisioned
from storage.provision import provision
from storage.region import Ground, KeyFileSettings, KmsSettings, RegionSettings, RegionStore
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, VIRGINIA, EngineKind, Settle
from tests.faults import Fault, FaultProxy

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def settings(settle: Settle, engine_kind: EngineKind) -> RegionSettings:
    settings = settle(engine_kind, IRELAND)
    await provision(settings, DEPLOYMENT)
    return settings


SOMEBODY_ELSE = StaticKeys("SOMEBODYELSE", "guessed")


@pytest.fixture
async def on_moto(settle: Settle) -> RegionSettings:
    """For what SeaweedFS has no word for."""
    settings = settle(EngineKind.MOTO, IRELAND)
    await provision(settings, DEPLOYMENT)
    return settings


async def reason(settings: RegionSettings, deployment: str = DEPLOYMENT) -> str:
    with pytest.raises(FenceBroken) as refused:
        await RegionStore.open(settings, deployment)
    return refused.value.reason


def located(home: Region) -> Located:
    keys = PublicKeys(1, *(PrivateKey.generate(1, purpose).public for purpose in Purpose))
    return Located(AccountId.new(), home, keys, AccountStatus.ACTIVE)


# --- RegionStore.open refuses, and says the one thing


async def test_a_missing_bucket(settings: RegionSettings) -> None:
    assert (await reason(replace(settings, audit_bucket="situs-not-there"))).startswith(
        "region eu-west-1 (IE): audit_bucket situs-not-there: exists: no such bucket, expected one made by"
    )


async def test_a_missing_marker(settings: RegionSettings) -> None:
    s3_client(settings).delete_object(Bucket=settings.bucket, Key=MARKER)
    assert f"bucket {settings.bucket}: marker: no {MARKER}, expected one" in await reason(settings)


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        (Marker("other", IRELAND).to_bytes(), "says deployment 'other', expected 'test'"),
        (Marker(DEPLOYMENT, GERMANY).to_bytes(), "says region 'eu-central-1', expected 'eu-west-1'"),
        (
            Marker(DEPLOYMENT, Region(IRELAND.code, Jurisdiction("US"))).to_bytes(),
            "says country 'US', expected 'IE'",
        ),
        (b"not JSON", "is not JSON"),
        (b"[]", "says version None, expected 1"),
        (b'{"version": 2}', "says version 2, expected 1"),
    ],
)
async def test_a_marker_that_names_something_else(settings: RegionSettings, marker: bytes, says: str) -> None:
    s3_client(settings).put_object(Bucket=settings.bucket, Key=MARKER, Body=marker)
    assert f"bucket {settings.bucket}: marker: {MARKER} {says}" in await reason(settings)


async def test_a_location_that_is_not_the_region(on_moto: RegionSettings) -> None:
    """The marker may be forged, or copied with the bucket: where the engine knows its place, it says."""
    client = s3_client(replace(on_moto, region=GERMANY))
    name = f"{on_moto.bucket}-abroad"
    client.create_bucket(
        Bucket=name,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    client.put_object(Bucket=name, Key=MARKER, Body=Marker(DEPLOYMENT, IRELAND).to_bytes())
    said = await reason(replace(on_moto, bucket=name))
    assert said.endswith(f"bucket {name}: location: eu-central-1, expected eu-west-1")


async def test_a_location_of_null_is_us_east_1_and_not_anywhere(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, VIRGINIA)
    await provision(settings, DEPLOYMENT)
    claimed = replace(settings, region=Region(RegionCode("eu-west-1"), Jurisdiction("IE")))
    assert "location: us-east-1, expected eu-west-1" in await reason(claimed)


async def test_suspended_versioning(on_moto: RegionSettings) -> None:
    s3_client(on_moto).put_bucket_versioning(
        Bucket=on_moto.bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    assert (await reason(on_moto)).endswith("versioning: Suspended, expected Enabled")


async def test_a_bucket_without_object_lock(settings: RegionSettings) -> None:
    client = s3_client(settings)
    name = f"{settings.bucket}-plain"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=name, Key=MARKER, Body=Marker(DEPLOYMENT, IRELAND).to_bytes())
    assert (await reason(replace(settings, bucket=name))).endswith(
        "object lock: not enabled, expected Enabled"
    )


async def test_an_audit_bucket_that_retains_for_less_than_is_asked(settings: RegionSettings) -> None:
    longer = replace(settings, audit_retention_days=2)
    assert (await reason(longer)).endswith("object lock: COMPLIANCE 1 days, expected COMPLIANCE 2 days")


async def test_a_replication_rule_even_one_that_is_switched_off(on_moto: RegionSettings) -> None:
    s3_client(on_moto).put_bucket_replication(
        Bucket=on_moto.bucket,
        ReplicationConfiguration={
            "Role": "arn:aws:iam::123456789012:role/replicate",
            "Rules": [
                {
                    "Status": "Disabled",
                    "Prefix": "",
                    "Destination": {"Bucket": f"arn:aws:s3:::{on_moto.audit_bucket}"},
                }
            ],
        },
    )
    assert (await reason(on_moto)).endswith(
        f"replication: 1 rule(s) to arn:aws:s3:::{on_moto.audit_bucket}, expected none"
    )


async def test_public_access_that_is_not_blocked(on_moto: RegionSettings) -> None:
    client = s3_client(on_moto)
    client.put_public_access_block(
        Bucket=on_moto.bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": False,
            "RestrictPublicBuckets": True,
        },
    )
    assert "public access: BlockPublicPolicy off, expected all four" in await reason(on_moto)
    client.delete_public_access_block(Bucket=on_moto.bucket)
    assert "public access: not blocked, expected all four" in await reason(on_moto)


async def test_a_key_file_that_others_can_read(settings: RegionSettings) -> None:
    assert isinstance(settings.key_service, KeyFileSettings)
    settings.key_service.path.chmod(0o644)
    assert "key service: key file" in (said := await reason(settings))
    assert "expected 0600" in said


async def test_a_multi_region_key(on_moto: RegionSettings) -> None:
    kms = KmsSettings("", on_moto.endpoint)
    key = kms_client(on_moto, kms).create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    said = await reason(replace(on_moto, key_service=replace(kms, key_id=key)))
    assert said.endswith("is a multi-Region key, expected a single-Region one")


async def test_another_regions_credentials(settings: RegionSettings) -> None:
    with pytest.raises(FenceBroken, match=r"not proven|no such bucket"):
        await RegionStore.open(replace(settings, credentials=SOMEBODY_ELSE), DEPLOYMENT)


async def test_a_region_that_is_down_is_not_a_broken_fence(settings: RegionSettings) -> None:
    down = replace(settings, endpoint="http://127.0.0.1:1", deadline_seconds=0.5)
    with pytest.raises(Unavailable):
        await RegionStore.open(down, DEPLOYMENT)


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.RESET, Fault.WRONG_BODY])
async def test_no_fault_of_the_network_opens_a_region_or_breaks_its_fence(
    settings: RegionSettings, fault: Fault
) -> None:
    """Whichever of the proof's requests gets no good answer, nothing is concluded from that."""
    async with FaultProxy(settings.endpoint) as proxy:
        behind = replace(settings, endpoint=proxy.endpoint, deadline_seconds=1)
        await RegionStore.open(behind, DEPLOYMENT)
        asked = len(proxy.requests)
        assert asked >= 14
        for chosen in range(0, asked, 3):
            proxy.fail_from(fault, len(proxy.requests) + chosen)
            with pytest.raises(Unavailable):
                await RegionStore.open(behind, DEPLOYMENT)
            proxy.heal()


# --- the two ways to a store


def test_no_store_and_no_proof_can_be_made_by_hand(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"made by storage\.proof\.prove"):
        Provisioned(IRELAND, DEPLOYMENT, mint=object())
    with pytest.raises(TypeError, match=r"made by RegionStore\.open"):
        RegionStore(None, None, None, mint=object())  # type: ignore[arg-type]


@pytest.fixture
async def ground(settle: Settle) -> AsyncIterator[Ground]:
    places = [settle(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)]
    await asyncio.gather(*(provision(place, DEPLOYMENT) for place in places))
    async with await Ground.open(places, DEPLOYMENT) as ground:
        yield ground


async def test_a_located_home_gives_that_homes_store(ground: Ground) -> None:
    assert ground.home(located(IRELAND)).region == IRELAND
    assert ground.home(located(GERMANY)).region == GERMANY


async def test_a_home_that_is_not_configured_is_unavailable_never_another(ground: Ground) -> None:
    with pytest.raises(Unavailable, match="us-east-1 is not configured here"):
        ground.home(located(VIRGINIA))


async def test_a_home_in_another_country_than_the_directory_says(ground: Ground) -> None:
    with pytest.raises(FenceBroken, match="lies in IE, expected GB"):
        ground.home(located(Region(IRELAND.code, Jurisdiction("GB"))))


async def test_the_control_plane_goes_by_provisioning(ground: Ground) -> None:
    proof = ground.provisioned(GERMANY.code)
    assert ground.control_plane(proof).region == GERMANY


async def test_the_same_region_twice_is_refused(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, IRELAND)
    with pytest.raises(FenceBroken, match="configured twice"):
        await Ground.open([settings, settings], DEPLOYMENT)


async def test_a_broken_fence_keeps_the_process_from_starting(settle: Settle) -> None:
    places = [settle(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)]
    await provision(places[0], DEPLOYMENT)
    with pytest.raises(FenceBroken, match=r"region eu-central-1 \(DE\)"):
        await Ground.open(places, DEPLOYMENT)


async def test_a_region_that_is_down_keeps_no_other_from_working_and_is_tried_again(
    settle: Settle,
) -> None:
    places = [settle(EngineKind.MOTO, region) for region in (IRELAND, GERMANY)]
    await asyncio.gather(*(provision(place, DEPLOYMENT) for place in places))
    async with FaultProxy(places[1].endpoint) as proxy:
        proxy.fail(Fault.INTERNAL_ERROR, times=10**6)
        behind = replace(places[1], endpoint=proxy.endpoint, deadline_seconds=1)
        async with await Ground.open([places[0], behind], DEPLOYMENT, retry_after=0.05) as ground:
            assert ground.home(located(IRELAND)).region == IRELAND
            assert list(ground.closed()) == [GERMANY.code]
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                ground.home(located(GERMANY))
            assert time.monotonic() - begun < 0.9, "whoever asks for a region that is down is told at once"
            proxy.heal()
            await until(lambda: opens(ground, GERMANY))
            assert ground.closed() == {}


async def test_a_fence_found_broken_later_stays_closed(settle: Settle) -> None:
    settings = settle(EngineKind.MOTO, IRELAND)
    await provision(settings, DEPLOYMENT)
    async with FaultProxy(settings.endpoint) as proxy:
        proxy.fail(Fault.INTERNAL_ERROR, times=10**6)
        behind = replace(settings, endpoint=proxy.endpoint, deadline_seconds=1)
        async with await Ground.open([behind], DEPLOYMENT, retry_after=0.05) as ground:
            s3_client(settings).delete_object(Bucket=settings.bucket, Key=MARKER)
            proxy.heal()
            await until(lambda: "marker" in str(ground.closed()) or opens(ground, IRELAND))
            with pytest.raises(FenceBroken, match="marker"):
                ground.home(located(IRELAND))


def opens(ground: Ground, region: Region) -> bool:
    try:
        ground.home(located(region))
    except (Unavailable, FenceBroken):
        return False
    return True


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.05)


async def test_a_write_is_never_redirected_to_another_host(on_moto: RegionSettings, settle: Settle) -> None:
    """S3 answers 307 for a bucket that is elsewhere. Mail does not follow."""
    abroad = settle(EngineKind.MOTO, GERMANY)
    async with FaultProxy(abroad.endpoint) as elsewhere, FaultProxy(on_moto.endpoint) as proxy:
        store = await RegionStore.open(replace(on_moto, endpoint=proxy.endpoint), DEPLOYMENT)
        proxy.redirect_to = elsewhere.endpoint
        for put in (
            store.mail.put_if_absent("mail/a/1", b"sealed mail"),
            store.mail.put_if_absent("mail/a/2", b"sealed mail", legal_hold=True),
            store.mail.put("mail/a/3", b"sealed mail"),
            store.mail.compare_and_swap("mail/a/4", b"sealed mail", None),
        ):
            with pytest.raises(Exception, match="HTTP 307"):
                await put
        assert elsewhere.requests == []


# --- no way around them, in all of the code


@functools.cache
def modules(*packages: str) -> dict[Path, ast.Module]:
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 50
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in files}


def calls(tree: ast.Module, name: str) -> list[ast.Call]:
    """Calls of a function or method by its last name."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == name)
            or (isinstance(node.func, ast.Attribute) and node.func.attr == name)
        )
    ]


def test_a_store_is_opened_by_the_ground_or_from_one_regions_settings() -> None:
    """Opening proves; but whoever opens must have a region's settings, and doors have none."""
    of_the_log = ("audit.py", "audit_list.py", "audit_logs.py")  # `situs audit --region CODE`
    allowed = {Path("storage/region.py"), *(Path("gateway/cli") / name for name in of_the_log)}
    openers = {
        path
        for path, tree in modules("storage", "gateway", "policy").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "RegionStore.open"
    }
    assert openers <= allowed


def test_a_bucket_is_made_where_a_region_is_proven_provisioned_or_walked_alone() -> None:
    allowed = {
        Path(name)
        for name in (
            "storage/region.py",
            "storage/provision.py",
            "storage/fence.py",
            "storage/passages.py",  # for the walk: records of moves, read where no store would open
            "gateway/cli/fence.py",
        )
    }
    makers = {path for path, tree in modules("storage", "gateway", "policy").items() if calls(tree, "Bucket")}
    assert makers <= allowed


# The name as it stands in an entry's octets, to be compared with; no store comes of it.
NAMES_IN_ENTRIES = {Path("storage/audit/canonical.py"), Path("storage/audit/verify.py")}


def test_no_function_takes_a_region_as_a_bare_string() -> None:
    """`region: str` is how mail gets abroad: one swapped argument. The command line and the
    configuration parse it; what they pass on is a RegionCode. (The demo plays an outsider.)"""
    takers = []
    for path, tree in modules("storage", "policy", "gateway").items():
        if path in NAMES_IN_ENTRIES or path.is_relative_to("gateway/demo"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_command(node):
                arguments = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
                takers += [f"{path}:{node.lineno} {node.name}({a.arg}: str)" for a in arguments if is_bare(a)]
    assert takers == []


def is_bare(argument: ast.arg) -> bool:
    """A region, and a string by its annotation."""
    if argument.arg not in ("region", "home", "region_code", "registrar") or argument.annotation is None:
        return False
    return "str" in {name.id for name in ast.walk(argument.annotation) if isinstance(name, ast.Name)}


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def test_obstore_and_s3_clients_are_made_in_three_modules() -> None:
    """Whoever could make a client of his own would need no store. (The demo looks from outside.)"""
    importers = {
        str(path)
        for path, tree in modules("storage", "gateway", "policy").items()
        if imported(tree) & {"obstore", "boto3"} and not path.is_relative_to("gateway/demo")
    }
    types_alone = {"storage/credentials.py"}  # keys for both clients, and no client
    assert importers - types_alone == {"storage/engine.py", "storage/objects.py", "storage/control.py"}
