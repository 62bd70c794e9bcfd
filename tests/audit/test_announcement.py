"""The log says under which lawbook and trust lists a server ran, and when they changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.announcement import Basis, announcing, last_told, trust_digest
from storage.audit.entry import Event
from storage.audit.log import AuditLog
from tests.audit.logs import NOW, REGION, SIGNER, entry
from tests.audit.suspicious import SuspiciousBucket

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64


def _trust(directory: Path) -> Path:
    for name in ("IE/authorities.toml", "IE/anchors/root.pem", "IE/crl/root.crl"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


async def _told(log: AuditLog, count: int) -> list[tuple[Event, str | None, str | None]]:
    """Wait for so many entries."""
    async with asyncio.timeout(10):
        while await log.size() < count:
            await asyncio.sleep(0.005)
    return [(e.event, e.lawbook, e.subject) for e in await log.entries(0, 1000)]


async def test_a_start_says_what_is_decided_by_and_the_next_one_what_has_changed(tmp_path: Path) -> None:
    trust = _trust(tmp_path)
    lists = trust_digest(trust)
    async with await AuditLog.open(SuspiciousBucket(), REGION, SIGNER) as log:
        async with announcing({REGION: log}, OLD, trust, lambda: NOW):
            assert await _told(log, 1) == [(Event.SERVER_STARTED, OLD, lists)]
        await asyncio.gather(*(log.append(entry(n)) for n in range(600)))  # a long time passes
        async with announcing({REGION: log}, OLD, trust, lambda: NOW):
            assert (await _told(log, 602))[601] == (Event.SERVER_STARTED, OLD, lists)
        async with announcing({REGION: log}, NEW, trust, lambda: NOW):
            told = await _told(log, 604)
    assert told[602:] == [(Event.LAWBOOK_CHANGED, NEW, lists), (Event.SERVER_STARTED, NEW, lists)]


async def test_a_trust_list_that_changes_while_the_server_runs_is_told_once(tmp_path: Path) -> None:
    """Two processes see it; neither repeats what the log has already."""
    trust = _trust(tmp_path)
    async with await AuditLog.open(SuspiciousBucket(), REGION, SIGNER) as log:
        async with announcing({REGION: log}, OLD, trust, lambda: NOW, every=0.01):
            await _told(log, 1)
            (trust / "IE/crl/.root.crl.new").write_text("half a list")
            await asyncio.sleep(0.05)
            assert await log.size() == 1
            (trust / "IE/crl/root.crl").write_text("renewed")
            assert (await _told(log, 2))[1] == (Event.TRUST_CHANGED, OLD, trust_digest(trust))
        assert await last_told(log) == Basis(OLD, trust_digest(trust))
        async with announcing({REGION: log}, OLD, trust, lambda: NOW, every=0.01):
            assert (await _told(log, 3))[2][0] == Event.SERVER_STARTED
            await asyncio.sleep(0.05)
        assert await log.size() == 3


async def test_a_region_that_is_down_is_told_when_it_is_back(tmp_path: Path) -> None:
    bucket = SuspiciousBucket()
    bucket.down = True
    async with (
        await AuditLog.open(bucket, REGION, SIGNER, deadline=0.1) as log,
        announcing({REGION: log}, OLD, _trust(tmp_path), lambda: NOW, every=0.01),
    ):
        await asyncio.sleep(0.05)
        bucket.down = False
        async with asyncio.timeout(5):
            while not bucket.objects().get("log/checkpoint"):
                await asyncio.sleep(0.01)
        assert (await _told(log, 1))[0][0] == Event.SERVER_STARTED
