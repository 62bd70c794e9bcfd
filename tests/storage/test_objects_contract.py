"""One contract for `Bucket`, held by every engine: moto and SeaweedFS, each a real server process.

What `storage.objects` promises in its docstring is what stands here, one promise a test.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from storage.control import error_code, s3_client
from storage.credentials import StaticKeys
from storage.errors import AlreadyExists, Conflict, Forbidden, NotFound, Rejected, Unavailable
from storage.objects import Bucket
from storage.region import RegionStore
from storage.versions import Versions
from tests.engines import EngineKind, keys_of
from tests.faults import Fault, FaultProxy, Moment, Request

RACERS = 50


@pytest.fixture
def region(shared_region: RegionStore) -> RegionStore:
    return shared_region


@pytest.fixture
def bucket(region: RegionStore) -> Bucket:
    return region.mail


@pytest.fixture
def at() -> str:
    """A folder that no other test uses."""
    return f"test/{secrets.token_hex(8)}"


@pytest.fixture
async def proxy(region: RegionStore) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(region.settings.endpoint) as proxy:
        yield proxy


def through(proxy: FaultProxy, region: RegionStore, deadline: float = 5.0) -> Bucket:
    """The region's mail bucket, reached by way of the proxy."""
    access = replace(region.settings.access, endpoint=proxy.endpoint)
    return Bucket(region.settings.bucket, access, deadline=deadline)


def is_put(request: Request) -> bool:
    return request.method == "PUT"


async def keys(bucket: Bucket, prefix: str, start_after: str | None = None) -> list[str]:
    return [found.key async for found in bucket.list(prefix, start_after=start_after)]


async def test_what_was_put_is_what_is_got(bucket: Bucket, at: str) -> None:
    etag = await bucket.put_if_absent(f"{at}/a", b"\x00octets\xff")
    blob = await bucket.get(f"{at}/a")
    assert (blob.body, blob.etag) == (b"\x00octets\xff", etag)


async def test_an_empty_object_and_one_of_many_megabytes_are_whole(bucket: Bucket, at: str) -> None:
    big = bytes(range(256)) * 40_000  # above obstore's multipart threshold
    await bucket.put_if_absent(f"{at}/empty", b"")
    await bucket.put_if_absent(f"{at}/big", big)
    await bucket.put(f"{at}/big2", big)
    await bucket.put_if_absent(f"{at}/big3", big, fresh_key=True)
    await bucket.put_if_absent(f"{at}/empty2", b"", fresh_key=True)
    assert (await bucket.get(f"{at}/empty")).body == b""
    assert (await bucket.get(f"{at}/big")).body == big
    assert (await bucket.get(f"{at}/big2")).body == big
    assert (await bucket.get(f"{at}/big3")).body == big
    assert (await bucket.get(f"{at}/empty2")).body == b""


async def test_an_absent_object_is_not_found(bucket: Bucket, at: str) -> None:
    with pytest.raises(NotFound) as caught:
        await bucket.get(f"{at}/none")
    assert caught.value.key == f"{at}/none"
    with pytest.raises(NotFound):
        await bucket.get_range(f"{at}/none", 0, 10)


async def test_an_absent_bucket_is_not_an_absent_object(region: RegionStore, at: str) -> None:
    """`NotFound` becomes "unknown user", for good: a bucket that is gone must never say it."""
    nowhere = Bucket("situs-no-such-bucket", region.settings.access, deadline=3)
    with pytest.raises(Unavailable):
        await nowhere.get(f"{at}/x")
    with pytest.raises(Unavailable):
        await nowhere.put_if_absent(f"{at}/x", b"x")


def fifty_processes(region: RegionStore) -> list[Bucket]:
    """As many clients that know nothing of each other: one process would queue its own racers."""
    return [Bucket(region.settings.bucket, region.settings.access, deadline=60) for _ in range(RACERS)]


async def test_of_fifty_racing_creators_one_wins(region: RegionStore, at: str) -> None:
    async def race(racer: int, bucket: Bucket) -> int | None:
        try:
            await bucket.put_if_absent(f"{at}/taken", b"racer %d" % racer)
        except AlreadyExists:
            return None
        return racer

    done = await asyncio.gather(*itertools.starmap(race, enumerate(fifty_processes(region))))
    winners = [racer for racer in done if racer is not None]
    assert len(winners) == 1
    assert (await region.mail.get(f"{at}/taken")).body == b"racer %d" % winners[0]


async def test_of_fifty_racing_swappers_one_wins(region: RegionStore, at: str) -> None:
    etag = await region.mail.put_if_absent(f"{at}/f", b"as read by all")

    async def race(racer: int, bucket: Bucket) -> int | None:
        try:
            await bucket.compare_and_swap(f"{at}/f", b"racer %d" % racer, etag)
        except Conflict:
            return None
        return racer

    done = await asyncio.gather(*itertools.starmap(race, enumerate(fifty_processes(region))))
    winners = [racer for racer in done if racer is not None]
    assert len(winners) == 1
    assert (await region.mail.get(f"{at}/f")).body == b"racer %d" % winners[0]


async def test_those_who_count_in_one_process_lose_nothing(
    bucket: Bucket,
    at: str,
) -> None:
    await bucket.put_if_absent(f"{at}/counter", b"0")

    async def increment() -> None:
        while True:
            blob = await bucket.get(f"{at}/counter")
            try:
                await bucket.compare_and_swap(f"{at}/counter", b"%d" % (int(blob.body) + 1), blob.etag)
            except Conflict:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(10)))
    assert (await bucket.get(f"{at}/counter")).body == b"10"


async def test_compare_and_swap_replaces_only_what_was_read(bucket: Bucket, at: str) -> None:
    first = await bucket.compare_and_swap(f"{at}/f", b"1", None)
    second = await bucket.compare_and_swap(f"{at}/f", b"2", first)
    for stale in (None, first):
        with pytest.raises(Conflict):
            await bucket.compare_and_swap(f"{at}/f", b"3", stale)
    with pytest.raises(Conflict):
        await bucket.compare_and_swap(f"{at}/gone", b"3", second)
    assert (await bucket.get(f"{at}/f")).body == b"2"


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.WRONG_BODY])
@pytest.mark.parametrize("moment", list(Moment))
async def test_a_write_whose_answer_was_lost_is_known_for_ones_own(
    region: RegionStore, proxy: FaultProxy, fault: Fault, moment: Moment, at: str
) -> None:
    """After the fault the write is repeated; the 412 that one's own first attempt causes is success."""
    bucket = through(proxy, region)
    proxy.fail(fault, moment, when=is_put)
    await bucket.put_if_absent(f"{at}/own", b"mine")
    assert len(proxy.failed) == 1
    etag = (await region.mail.get(f"{at}/own")).etag
    proxy.fail(fault, moment, when=is_put)
    await bucket.compare_and_swap(f"{at}/own", b"mine too", etag)
    assert len(proxy.failed) == 2
    assert (await region.mail.get(f"{at}/own")).body == b"mine too"


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_write_that_stalls_is_repeated_within_its_deadline_and_known_for_ones_own(
    region: RegionStore, proxy: FaultProxy, moment: Moment, at: str
) -> None:
    """An attempt has a share of the deadline: a connection that died silently leaves time for another."""
    bucket = through(proxy, region, deadline=2)
    proxy.fail(Fault.STALL, moment, when=is_put)
    await bucket.put_if_absent(f"{at}/own", b"mine")
    assert [request.method for request in proxy.requests][:2] == ["PUT", "PUT"]
    assert (await region.mail.get(f"{at}/own")).body == b"mine"


async def test_a_region_that_stalls_keeps_no_other_waiting(
    region: RegionStore, proxy: FaultProxy, at: str
) -> None:
    """Puts into one region end while more puts than there are threads wait for another."""
    stalled = through(proxy, region, deadline=3)
    proxy.fail(Fault.STALL, times=1_000)
    puts = [asyncio.create_task(stalled.put_if_absent(f"{at}/s{n}", b"x")) for n in range(100)]
    lists = [asyncio.create_task(keys(stalled, at)) for _ in range(20)]
    while len(proxy.failed) < 100:
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    await asyncio.gather(*(region.mail.put_if_absent(f"{at}/f{n}", b"x") for n in range(20)))
    assert await keys(region.mail, at) == sorted(f"{at}/f{n}" for n in range(20))
    assert time.monotonic() - begun < 2, "less than the other region's deadline"
    ended = await asyncio.gather(*puts, *lists, return_exceptions=True)
    assert {type(one) for one in ended} == {Unavailable}


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_fresh_key_is_known_for_ones_own_without_reading(
    region: RegionStore, proxy: FaultProxy, moment: Moment, at: str
) -> None:
    """An ingress process may put and never read; what it sends again makes no second version."""
    proxy.fail(Fault.RESET, moment, when=is_put)
    await through(proxy, region).put_if_absent(f"{at}/fresh", b"mine", fresh_key=True)
    assert {request.method for request in proxy.requests} == {"PUT"}
    assert [request.headers.get("if-none-match") for request in proxy.requests] == [None, "*"]
    assert (await region.mail.get(f"{at}/fresh")).body == b"mine"
    with Versions(region) as versions:
        assert len(await versions.of(f"{at}/fresh")) == 1


async def test_a_412_on_somebody_elses_object_stays_a_412_after_a_lost_answer(
    region: RegionStore, proxy: FaultProxy, at: str
) -> None:
    bucket = through(proxy, region)
    etag = await region.mail.put_if_absent(f"{at}/theirs", b"theirs")
    proxy.fail(Fault.RESET, when=is_put)
    with pytest.raises(AlreadyExists):
        await bucket.put_if_absent(f"{at}/theirs", b"mine")
    await region.mail.put(f"{at}/theirs", b"changed")
    proxy.fail(Fault.RESET, when=is_put)
    with pytest.raises(Conflict):
        await bucket.compare_and_swap(f"{at}/theirs", b"mine", etag)
    assert len(proxy.failed) == 2
    assert (await region.mail.get(f"{at}/theirs")).body == b"changed"


async def test_the_same_bytes_by_somebody_else_are_not_ones_own(bucket: Bucket, at: str) -> None:
    """A replayed order has the bytes of the first: without a lost answer, a 412 is a 412."""
    await bucket.put_if_absent(f"{at}/o", b"claim")
    with pytest.raises(AlreadyExists):
        await bucket.put_if_absent(f"{at}/o", b"claim")


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.WRONG_BODY])
async def test_reads_listings_and_deletes_outlast_a_passing_fault(
    region: RegionStore, proxy: FaultProxy, fault: Fault, at: str
) -> None:
    bucket = through(proxy, region)
    await region.mail.put_if_absent(f"{at}/read", b"0123456789")
    proxy.fail(fault)
    assert (await bucket.get(f"{at}/read")).body == b"0123456789"
    proxy.fail(fault)
    assert await bucket.get_range(f"{at}/read", 2, 3) == b"234"
    proxy.fail(fault)
    assert await keys(bucket, at) == [f"{at}/read"]
    proxy.fail(fault)
    await bucket.put(f"{at}/other", b"x")
    proxy.fail(fault, Moment.AFTER)
    await bucket.delete(f"{at}/other")
    assert len(proxy.failed) == 5
    assert await keys(region.mail, at) == [f"{at}/read"]


@pytest.mark.parametrize(
    "operation", ["put", "put_if_absent", "put_fresh", "get", "get_range", "list", "delete"]
)
async def test_every_call_ends_within_its_deadline_when_the_engine_stalls(
    region: RegionStore, proxy: FaultProxy, operation: str, at: str
) -> None:
    bucket = through(proxy, region, deadline=0.5)
    proxy.fail(Fault.STALL, times=100)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: bucket.put(f"{at}/x", b"x"),
        "put_if_absent": lambda: bucket.put_if_absent(f"{at}/x", b"x"),
        "put_fresh": lambda: bucket.put_if_absent(f"{at}/x", b"x", fresh_key=True),
        "get": lambda: bucket.get(f"{at}/x"),
        "get_range": lambda: bucket.get_range(f"{at}/x", 0, 1),
        "list": lambda: keys(bucket, at),
        "delete": lambda: bucket.delete(f"{at}/x"),
    }
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await calls[operation]()
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize("fresh", [False, True], ids=["a name that others may take", "a fresh name"])
async def test_a_refused_connection_is_unavailable_within_the_deadline(
    region: RegionStore, fresh: bool, at: str
) -> None:
    access = replace(region.settings.access, endpoint="http://127.0.0.1:1")
    bucket = Bucket(region.settings.bucket, access, deadline=0.5)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await bucket.put_if_absent(f"{at}/x", b"x", fresh_key=fresh)
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize("fresh", [False, True], ids=["a name that others may take", "a fresh name"])
async def test_another_regions_credentials_are_forbidden(region: RegionStore, fresh: bool, at: str) -> None:
    somebody_else = StaticKeys("SOMEBODYELSE", "guessed")
    stranger = Bucket(
        region.settings.bucket, replace(region.settings.access, credentials=somebody_else), deadline=3
    )
    with pytest.raises(Forbidden):
        await stranger.put_if_absent(f"{at}/x", b"x", fresh_key=fresh)
    with pytest.raises(Forbidden):
        await stranger.get(f"{at}/x")


async def test_ranges_are_short_at_the_end_and_empty_beyond_it(bucket: Bucket, at: str) -> None:
    await bucket.put_if_absent(f"{at}/ten", b"0123456789")
    assert await bucket.get_range(f"{at}/ten", 0, 4) == b"0123"
    assert await bucket.get_range(f"{at}/ten", 8, 4) == b"89"
    assert await bucket.get_range(f"{at}/ten", 10, 4) == b""
    assert await bucket.get_range(f"{at}/ten", 100, 4) == b""


async def test_a_range_read_asks_for_the_range_alone(region: RegionStore, proxy: FaultProxy, at: str) -> None:
    await region.mail.put_if_absent(f"{at}/ten", b"0123456789")
    await through(proxy, region).get_range(f"{at}/ten", 2, 5)
    assert [(request.method, request.range) for request in proxy.requests] == [("GET", "bytes=2-6")]


async def test_listing_is_in_byte_order_and_starts_after_a_key(bucket: Bucket, at: str) -> None:
    names = [f"{at}/{account}/{number:04x}" for account, number in itertools.product("0a", (1, 2, 10, 255))]
    for name in reversed(names):
        await bucket.put_if_absent(name, name.encode())
    await bucket.put_if_absent(f"{at}box/other", b"a folder of the same beginning")
    assert await keys(bucket, at) == names
    assert await keys(bucket, f"{at}/a") == names[4:]
    assert await keys(bucket, f"{at}/a/") == names[4:]
    assert await keys(bucket, at, start_after=names[2]) == names[3:]
    assert await keys(bucket, at, start_after=names[-1]) == []
    assert await keys(bucket, "nothing") == []
    everything = await keys(bucket, "")
    assert everything == sorted(everything)
    assert set(names) < set(everything)


async def test_an_engine_that_lists_out_of_order_is_not_believed(
    region: RegionStore, engine_kind: EngineKind, at: str
) -> None:
    """SeaweedFS lists a folder before a name that continues it with a byte below '/'."""
    odd = region.audit  # not where the other tests list
    for key in (f"{at}/a.json/x", f"{at}/a/x"):
        await odd.put_if_absent(key, b"")
    if engine_kind is EngineKind.SEAWEEDFS:
        with pytest.raises(Unavailable, match="out of order"):
            await keys(odd, at)
    else:
        assert await keys(odd, at) == [f"{at}/a.json/x", f"{at}/a/x"]


async def test_listing_goes_on_over_pages_and_over_a_page_that_fails(
    region: RegionStore, proxy: FaultProxy, at: str
) -> None:
    names = [f"{at}/a/{number:05d}" for number in range(1_100)]
    slots = asyncio.Semaphore(16)

    async def put(name: str) -> None:
        async with slots:
            await region.mail.put_if_absent(name, b"x")

    await asyncio.gather(*map(put, names))
    second_page = itertools.count()
    proxy.fail(Fault.RESET, when=lambda request: "list-type=2" in request.query and next(second_page) == 1)
    listed = [(found.key, found.size) async for found in through(proxy, region).list(f"{at}/a")]
    assert listed == [(name, 1) for name in names]
    assert len(proxy.failed) == 1


async def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(bucket: Bucket, at: str) -> None:
    await bucket.put_if_absent(f"{at}/a", b"x")
    await bucket.delete(f"{at}/a")
    await bucket.delete(f"{at}/a")
    with pytest.raises(NotFound):
        await bucket.get(f"{at}/a")
    await bucket.put_if_absent(f"{at}/a", b"again")
    assert (await bucket.get(f"{at}/a")).body == b"again"


@pytest.mark.parametrize("fresh", [False, True], ids=["a name that others may take", "a fresh name"])
async def test_a_legal_hold_put_on_writing_is_held_by_the_bucket_itself(
    region: RegionStore, fresh: bool, at: str
) -> None:
    await region.mail.put_if_absent(f"{at}/held", b"evidence", legal_hold=True, fresh_key=fresh)
    await region.mail.put_if_absent(f"{at}/free", b"chatter")
    client = s3_client(region.settings)
    held, free = (
        client.list_object_versions(Bucket=region.settings.bucket, Prefix=key)["Versions"][0]["VersionId"]
        for key in (f"{at}/held", f"{at}/free")
    )
    hold = client.get_object_legal_hold(Bucket=region.settings.bucket, Key=f"{at}/held")
    assert hold["LegalHold"]["Status"] == "ON"
    client.delete_object(Bucket=region.settings.bucket, Key=f"{at}/free", VersionId=free)
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.delete_object(Bucket=region.settings.bucket, Key=f"{at}/held", VersionId=held)
    assert error_code(refused.value) == "AccessDenied"
    assert (await region.mail.get(f"{at}/held")).body == b"evidence"


@pytest.mark.parametrize("fresh", [False, True], ids=["a name that others may take", "a fresh name"])
async def test_a_lost_answer_to_a_put_under_hold_is_known_for_ones_own(
    region: RegionStore, proxy: FaultProxy, fresh: bool, at: str
) -> None:
    proxy.fail(Fault.RESET, Moment.AFTER, when=is_put)
    await through(proxy, region).put_if_absent(f"{at}/held", b"evidence", legal_hold=True, fresh_key=fresh)
    assert len(proxy.failed) == 1


@pytest.mark.parametrize("fresh", [False, True], ids=["a name that others may take", "a fresh name"])
async def test_a_hold_in_a_bucket_without_object_lock_is_refused_not_ignored(
    region: RegionStore, fresh: bool, at: str
) -> None:
    name = f"{region.settings.bucket[:40]}-plain-{fresh:d}"
    s3_client(region.settings).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    plain = Bucket(name, region.settings.access)
    with pytest.raises(Rejected):
        await plain.put_if_absent(f"{at}/held", b"evidence", legal_hold=True, fresh_key=fresh)


async def test_the_audit_bucket_keeps_every_version_of_what_is_written(region: RegionStore, at: str) -> None:
    etag = await region.audit.compare_and_swap(f"{at}/lock", b"1", None)
    await region.audit.compare_and_swap(f"{at}/lock", b"2", etag)
    client = s3_client(region.settings)
    versions = client.list_object_versions(Bucket=region.settings.audit_bucket, Prefix=f"{at}/lock")[
        "Versions"
    ]
    assert len(versions) == 2
    for version in versions:
        with pytest.raises(client.exceptions.ClientError) as refused:
            client.delete_object(
                Bucket=region.settings.audit_bucket, Key=f"{at}/lock", VersionId=version["VersionId"]
            )
        assert error_code(refused.value) == "AccessDenied"


async def test_what_the_environment_holds_for_aws_goes_into_no_request(
    region: RegionStore, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another program's")
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    await through(proxy, region).put_if_absent(f"{at}/x", b"x")
    [sent] = proxy.requests
    assert "x-amz-security-token" not in sent.headers
    assert "x-amz-server-side-encryption" not in sent.headers
    assert sent.headers["authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={keys_of(region.settings).access_key_id}/"
    )


@pytest.mark.parametrize("key", ["", "/mail", "mail//x", "mail/", "mail/../x", "mail/ä", "a b", "x" * 1025])
async def test_a_key_that_engines_would_store_unlike_each_other_is_a_fault_of_ours(
    bucket: Bucket, key: str
) -> None:
    with pytest.raises(ValueError, match="object key"):
        await bucket.put_if_absent(key, b"x")
