"""Fault x outcome: whatever fails, and wherever a process dies, no acknowledged entry is missing,
none stands twice, the log never forks, and the next process goes on without a repair by hand."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import pytest

from storage.audit.backend import CHECKPOINT, LOCK, staging_key
from storage.audit.log import AuditLog, Committed, LogUnavailable
from storage.audit.note import open_checkpoint, sign_checkpoint
from storage.audit.publisher import pauses
from storage.audit.sequencer import Sequencer
from storage.audit.source import BackendSource
from storage.audit.staging import Batch
from storage.audit.verify import verify
from storage.errors import Corrupt
from tests.audit.logs import REGION, SIGNER, committed_entries, entry, mth
from tests.audit.suspicious import Fault, Kind, SuspiciousBucket


class Outcome(StrEnum):
    """What becomes of the entries whose commit met the fault."""

    ACKNOWLEDGED = "committed, and the caller is told so"
    RECOVERED = "committed, though the caller never heard"
    LOST = "never committed, and the caller never heard"


FAILING = [Fault.BEFORE, Fault.AFTER, Fault.LATE]
WRITES = [Kind.STAGING, Kind.LOCK, Kind.BUNDLE, Kind.TILE, Kind.CHECKPOINT]
# A write that fails is sent again. A process that dies before the swap took effect leaves
# nothing; after it, the next process completes what the lock names.
TABLE: dict[tuple[Kind, Fault], Outcome] = {
    **{(kind, fault): Outcome.ACKNOWLEDGED for kind in WRITES for fault in FAILING},
    (Kind.STAGING, Fault.KILLED_BEFORE): Outcome.LOST,
    (Kind.STAGING, Fault.KILLED_AFTER): Outcome.LOST,
    (Kind.LOCK, Fault.KILLED_BEFORE): Outcome.LOST,
    (Kind.LOCK, Fault.KILLED_AFTER): Outcome.RECOVERED,
    **{
        (kind, fault): Outcome.ACKNOWLEDGED
        for kind in (Kind.BUNDLE, Kind.TILE, Kind.CHECKPOINT)
        for fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
    },
}  # fmt: skip
BATCH = 4


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pauses between attempts, a hundred times shorter."""
    for module in ("sequencer", "publisher"):
        monkeypatch.setattr(f"storage.audit.{module}.pauses", lambda: pauses(0.0005, 0.02))


@asynccontextmanager
async def _process(bucket: SuspiciousBucket, *, killed: bool) -> AsyncIterator[AuditLog]:
    """A process with one log in it; `killed` ends it as kill -9 does: nothing is finished."""
    before = asyncio.all_tasks()
    log = await AuditLog.open(bucket, REGION, SIGNER, deadline=5)
    own = asyncio.all_tasks() - before
    try:
        yield log
    finally:
        if killed:
            own |= {task for task in asyncio.all_tasks() - before if "audit" in task.get_name()}
            for task in own:
                task.cancel()
            await asyncio.gather(*own, return_exceptions=True)
        else:
            await log.close()


async def _ready_for(bucket: SuspiciousBucket, size: int) -> None:
    """A healthy log of `size` entries."""
    async with _process(bucket, killed=False) as log:
        await asyncio.gather(*(log.append(entry(n)) for n in range(size)))


def _once(bucket: SuspiciousBucket, kind: Kind, fault: Fault) -> None:
    nth = bucket.writes[kind] + 1
    bucket.plan = lambda k, n: fault if (k, n) == (kind, nth) else None


@pytest.mark.parametrize("size", [0, 254, 300], ids=["empty", "over the end of a tile", "inside a tile"])
@pytest.mark.parametrize(("kind", "fault"), TABLE, ids=[f"{k}-{f.name.lower()}" for k, f in TABLE])
async def test_a_write_that_goes_wrong(kind: Kind, fault: Fault, size: int) -> None:
    expected = TABLE[kind, fault]
    bucket = SuspiciousBucket()
    await _ready_for(bucket, size)
    kill = fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
    numbers = range(1000, 1000 + BATCH)
    async with _process(bucket, killed=kill) as log:
        await log.published(size)
        _once(bucket, kind, fault)
        appends = [asyncio.create_task(log.append(entry(n))) for n in numbers]
        if kill:
            await bucket.hanging.wait()
            # The next step of the protocol is the store's: whoever was to be told has been.
            await asyncio.sleep(0.02)
        else:
            await asyncio.gather(*appends)
        acknowledged = [(n, task.result()) for n, task in zip(numbers, appends, strict=True) if task.done()]
        for task in appends:
            task.cancel()
    assert len(acknowledged) == (BATCH if expected is Outcome.ACKNOWLEDGED else 0)

    async with _process(bucket, killed=False) as log:
        after = await log.append(entry(2000))
    bucket.land_late_writes()

    ids = await _sound(bucket, [*acknowledged, (2000, after)])
    committed = sum(entry(n).id in ids for n in numbers)
    assert committed == (0 if expected is Outcome.LOST else BATCH)


@pytest.mark.parametrize("kind", WRITES[:4])
async def test_a_store_that_keeps_failing_is_unavailable_and_then_well_again(kind: Kind) -> None:
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=0.3) as log:
        bucket.plan = lambda k, _: Fault.BEFORE if k is kind else None
        # The tiles of the first batch are what the second one waits for.
        first = await asyncio.gather(log.append(entry(10)), return_exceptions=True)
        second = await asyncio.gather(log.append(entry(11)), return_exceptions=True)
        assert isinstance(second[0], LogUnavailable)
        assert isinstance(first[0], LogUnavailable) == (kind in (Kind.STAGING, Kind.LOCK))
        bucket.plan = lambda _k, _n: None
        async with asyncio.timeout(10):
            while True:
                try:
                    healed = await log.append(entry(12))
                    break
                except LogUnavailable:
                    continue
    told = [(10, place) for place in first if isinstance(place, Committed)]
    await _sound(bucket, [*told, (12, healed)])


async def test_a_swap_whose_every_answer_is_lost_still_commits_once() -> None:
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    bucket.plan = lambda kind, _: Fault.AFTER if kind is Kind.LOCK else None
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        places = [await log.append(entry(n)) for n in range(10, 15)]
    await _sound(bucket, list(zip(range(10, 15), places, strict=True)))


async def test_a_swap_that_landed_under_another_process_s_is_recognised() -> None:
    """Ours took effect unheard; another process built on it before we could look."""
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    ours = await AuditLog.open(bucket, REGION, SIGNER)
    theirs = await AuditLog.open(bucket, REGION, SIGNER)
    nth = bucket.writes[Kind.LOCK] + 1
    bucket.plan = lambda kind, n: Fault.AFTER if (kind, n) == (Kind.LOCK, nth) else None
    mine = asyncio.create_task(ours.append(entry(10)))
    while bucket.writes[Kind.LOCK] < nth:
        await asyncio.sleep(0)
    place = await theirs.append(entry(11))
    assert place.index == 4
    assert (await mine).index == 3
    await ours.close()
    await theirs.close()
    await _sound(bucket, [(10, await mine), (11, place)])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("processes", [2, 8])
async def test_processes_in_a_storm(processes: int, seed: int) -> None:
    """Every write may fail before, after, or land late; reads fail too; processes die and come back."""
    chance = random.Random(seed)
    bucket = SuspiciousBucket()
    bucket.plan = lambda _k, _n: chance.choice(FAILING) if chance.random() < 0.15 else None
    bucket.read_fails = lambda: chance.random() < 0.05
    told: list[tuple[int, Committed]] = []

    async def process(which: int) -> None:
        for life in range(3):
            numbers = [which * 1000 + life * 100 + n for n in range(5)]
            async with _process(bucket, killed=life == 1) as log:
                places = await asyncio.gather(
                    *(log.append(entry(n)) for n in numbers), return_exceptions=True
                )
            told.extend((n, p) for n, p in zip(numbers, places, strict=True) if isinstance(p, Committed))
            bucket.land_late_writes()

    # Not one after the other in a TaskGroup: `_process` tells its tasks by when they were made.
    for part in [process(which) for which in range(processes)]:
        await part
    await _together(bucket, processes, told)
    bucket.land_late_writes()
    bucket.plan, bucket.read_fails = (lambda _k, _n: None), (lambda: False)
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        told.append((999_999, await log.append(entry(999_999))))
    assert len(told) > processes * 15
    await _sound(bucket, told)


async def _together(bucket: SuspiciousBucket, processes: int, told: list[tuple[int, Committed]]) -> None:
    logs = [await AuditLog.open(bucket, REGION, SIGNER, deadline=30) for _ in range(processes)]
    numbers = [100_000 + which * 100 + n for which in range(processes) for n in range(8)]
    places = await asyncio.gather(
        *(logs[(n - 100_000) // 100].append(entry(n)) for n in numbers), return_exceptions=True
    )
    told.extend((n, p) for n, p in zip(numbers, places, strict=True) if isinstance(p, Committed))
    await asyncio.gather(*(log.close() for log in logs))


async def _sound(bucket: SuspiciousBucket, acknowledged: Sequence[tuple[int, Committed]]) -> set[str]:
    """All that must hold of a log, whatever happened to it. Returns the ids that stand in it."""
    entries = committed_entries(bucket.objects())
    counted = Counter(entries)
    for number, place in acknowledged:
        assert entries[place.index] == entry(number).encode(), "an acknowledged entry is elsewhere"
    assert max(counted.values()) == 1, "an entry stands twice"
    for key in (LOCK, CHECKPOINT):
        sizes = []
        for body in bucket.versions[key]:
            head, _ = open_checkpoint(body, SIGNER.key)
            assert head.root == mth(entries[: head.size]), "a signed head that is not of this history: a fork"
            sizes.append(head.size)
        assert sizes == sorted(sizes), f"{key} went back"
    report = await verify(BackendSource(bucket), SIGNER.key)
    assert report.faults == []
    return {data.partition(b'"id":"')[2][:32].decode() for data in entries}


async def test_a_late_swap_cannot_land_after_another_was_seen() -> None:
    """The delayed request is overtaken: its tag is gone, so that it can do no harm any more."""
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    _once(bucket, Kind.LOCK, Fault.LATE)
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        place = await log.append(entry(10))
        before = list(bucket.versions[LOCK])
        bucket.land_late_writes()
        assert bucket.versions[LOCK] == before
    await _sound(bucket, [(10, place)])


Sabotage = Callable[[SuspiciousBucket], None]


def _lock_gone(bucket: SuspiciousBucket) -> None:
    del bucket.versions[LOCK]


def _lock_rolled_back(bucket: SuspiciousBucket) -> None:
    bucket.versions[LOCK].append(bucket.versions[LOCK][1])


def _lock_of_another_tree(bucket: SuspiciousBucket) -> None:
    head, _ = open_checkpoint(bucket.versions[LOCK][-1], SIGNER.key)
    forged = type(head)(head.origin, head.size, bytes(32))
    bucket.versions[LOCK].append(sign_checkpoint(forged, SIGNER))


def _staged_batch_gone(bucket: SuspiciousBucket) -> None:
    head, _ = open_checkpoint(bucket.versions[LOCK][-1], SIGNER.key)
    del bucket.versions[f"staging/{head.size}-{head.root.hex()}"]


def _lock_and_checkpoint_gone(bucket: SuspiciousBucket) -> None:
    del bucket.versions[LOCK], bucket.versions[CHECKPOINT]


def _edge_tile_changed(bucket: SuspiciousBucket) -> None:
    bucket.versions["log/tile/0/000.p/5"] = [bytes(160)]


SABOTAGES = [
    _lock_gone,
    _lock_and_checkpoint_gone,
    _lock_rolled_back,
    _lock_of_another_tree,
    _staged_batch_gone,
    _edge_tile_changed,
]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__.strip("_"))
async def test_a_bucket_that_contradicts_itself_is_not_written_to(sabotage: Sabotage) -> None:
    """Whoever can change the bucket must not make the log sign a second history."""
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        for number in range(5):
            await log.append(entry(number))
    sabotage(bucket)
    versions = {key: list(bodies) for key, bodies in bucket.versions.items()}
    with pytest.raises(Corrupt):
        await AuditLog.open(bucket, REGION, SIGNER)
    assert bucket.versions == versions


async def test_a_running_log_notices_that_its_past_was_taken_back() -> None:
    """The lock and what is published both: only the process itself remembers."""
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=1) as log:
        for number in range(4):
            await log.append(entry(number))
            await log.published(number + 1)
        for key in (LOCK, CHECKPOINT):
            bucket.versions[key].append(bucket.versions[key][2])
        with pytest.raises(LogUnavailable, match="went back from 4 entries to 2"):
            await log.append(entry(9))


async def test_a_staged_batch_that_was_changed_is_not_rolled_forward() -> None:
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    async with _process(bucket, killed=True) as log:
        await log.published(3)
        _once(bucket, Kind.LOCK, Fault.KILLED_AFTER)
        lost = asyncio.create_task(log.append(entry(10)))
        await bucket.hanging.wait()
        lost.cancel()
    head, _ = open_checkpoint(bucket.versions[LOCK][-1], SIGNER.key)
    bucket.versions[staging_key(4, head.root)] = [Batch(3, (entry(666).encode(),)).encode()]
    with pytest.raises(Corrupt, match="does not lead to the root"):
        await AuditLog.open(bucket, REGION, SIGNER)
    assert "log/tile/entries/000.p/4" not in bucket.versions


async def test_a_log_rewritten_from_scratch_with_the_right_key_is_not_continued() -> None:
    bucket, rewritten = SuspiciousBucket(), SuspiciousBucket()
    await _ready_for(bucket, 5)
    async with await AuditLog.open(rewritten, REGION, SIGNER) as log:
        await asyncio.gather(*(log.append(entry(500 + n)) for n in range(9)))
    rewritten.versions[CHECKPOINT] = bucket.versions[CHECKPOINT]
    with pytest.raises(Corrupt, match="does not begin with the 5 entries"):
        await AuditLog.open(rewritten, REGION, SIGNER)


async def test_a_conflict_out_of_nowhere_is_looked_into_and_tried_again() -> None:
    """A store that says Conflict though nobody else wrote costs a round, and no entry."""
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        _once(bucket, Kind.LOCK, Fault.SPURIOUS)
        place = await log.append(entry(10))
    await _sound(bucket, [(10, place)])


async def test_a_dead_bucket_refuses_at_the_deadline_and_does_not_keep_the_log_from_opening() -> None:
    bucket = SuspiciousBucket()
    bucket.down = True
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=0.3) as log:
        started = asyncio.get_running_loop().time()
        with pytest.raises(LogUnavailable, match="down"):
            await log.append(entry(1))
        assert asyncio.get_running_loop().time() - started < 1
        bucket.down = False
        async with asyncio.timeout(5):
            while True:
                try:
                    place = await log.append(entry(2))
                    break
                except LogUnavailable:
                    continue
    await _sound(bucket, [(2, place)])


async def test_a_caller_that_is_cancelled_leaves_its_entry_to_be_committed() -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        task = asyncio.create_task(log.append(entry(1)))
        await asyncio.sleep(0)
        task.cancel()
        place = await log.append(entry(2))
        assert place.index == 1
    assert entry(1).id in await _sound(bucket, [(2, place)])


async def test_a_closed_log_takes_nothing() -> None:
    log = await AuditLog.open(SuspiciousBucket(), REGION, SIGNER)
    await log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append(entry(1))


async def test_a_queue_that_is_full_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.audit.sequencer.QUEUE_LIMIT", 3)
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=1) as log:
        places = await asyncio.gather(*(log.append(entry(n)) for n in range(5)), return_exceptions=True)
    assert sum(isinstance(place, LogUnavailable) for place in places) == 2


def test_a_sequencer_is_one_per_log() -> None:
    """What the table above is about is the only writer there is."""
    assert [n for n in dir(Sequencer) if not n.startswith("_")] == [
        "head",
        "settled",
        "start",
        "stop",
        "submit",
    ]


async def test_a_batch_in_doubt_is_not_made_up_anew_when_one_of_its_callers_gives_up() -> None:
    """The swap landed unheard; before it is resolved, the first caller of the batch is gone.

    To send the rest of the batch as a new one would write its entries a second time.
    """
    bucket = SuspiciousBucket()
    await _ready_for(bucket, 3)
    async with await AuditLog.open(bucket, REGION, SIGNER, deadline=0.6) as log:
        bucket.plan = lambda kind, _: Fault.BEFORE if kind is Kind.LOCK else None
        tries = bucket.writes[Kind.LOCK]
        busy = asyncio.create_task(log.append(entry(10)))
        while bucket.writes[Kind.LOCK] == tries:
            await asyncio.sleep(0)
        impatient = asyncio.create_task(log.append(entry(11)))
        await asyncio.sleep(0.3)
        patient = asyncio.create_task(log.append(entry(12)))
        await asyncio.sleep(0)
        swap = bucket.writes[Kind.LOCK] + 2  # the one after the busy caller's

        def plan(kind: Kind, nth: int) -> Fault | None:
            if kind is not Kind.LOCK or nth < swap:
                return None
            return Fault.AFTER if nth == swap else Fault.BEFORE

        bucket.plan = plan
        assert (await busy).index == 3
        with pytest.raises(LogUnavailable):
            await impatient
        bucket.plan = lambda _k, _n: None
        place = await patient
    assert place.index == 5
    await _sound(bucket, [(10, await busy), (12, place)])
