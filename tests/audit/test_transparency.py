"""The transparency report: the figures that anybody with the log would count, and a picture of them."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.chart import as_svg
from gateway.transparency import COLUMNS, NotVerified, RegionFigures, as_csv, as_json, region_figures
from policy.geography import Jurisdiction, Region
from policy.order import DataCategory
from storage.audit.entry import Entry, Event, Result
from storage.audit.log import AuditLog
from storage.audit.source import BackendSource
from storage.audit.statistics import ANY_CATEGORY, Answer, Cell
from tests.audit.logs import REGION, SIGNER
from tests.audit.suspicious import SuspiciousBucket

IRELAND = Region(REGION, Jurisdiction("IE"))
BOTH = frozenset({DataCategory.TRAFFIC, DataCategory.CONTENT})
TRAFFIC = frozenset({DataCategory.TRAFFIC})
START = datetime(2026, 10, 30, 12, tzinfo=UTC)
BOB, EVE = "b" * 32, "e" * 32


def _entry(event: Event, disclosure: str | None, after: timedelta, outcome: Result | None = None) -> Entry:
    return Entry(time=START + after, event=event, region=REGION, disclosure=disclosure, outcome=outcome)


def _decided(
    disclosure: str,
    state: str,
    instrument: str,
    outcome: Result,
    granted: frozenset[DataCategory],
    *,
    after: timedelta = timedelta(0),
    account: str = BOB,
    findings: tuple[str, ...] = (),
    emergency: bool = False,
) -> Entry:
    return replace(
        _entry(Event.DISCLOSURE_DECIDED, disclosure, after, outcome),
        claimed_jurisdiction=Jurisdiction(state),
        instrument=instrument,
        requested=BOTH,
        categories=granted,
        account=account,
        findings=findings,
        emergency=emergency,
    )


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STORY = [
    _entry(Event.SERVER_STARTED, None, timedelta(0)),
    # An Irish order, granted in full within an hour; its package lapses later, which changes nothing.
    _decided("d1", "IE", "ie.production-order", Result.PERMIT, BOTH),
    _entry(Event.DISCLOSURE_APPROVED, "d1", HOUR / 2),
    _entry(Event.DISCLOSURE_RELEASED, "d1", HOUR / 2, Result.PERMIT),
    _entry(Event.DISCLOSURE_COMPLETED, "d1", HOUR, Result.FULL),
    _entry(Event.DISCLOSURE_EXPIRED, "d1", 14 * DAY),
    # A US warrant, refused at once.
    _decided("d2", "US", "us.sca-warrant", Result.REFUSE, frozenset(), findings=("storage-law",)),
    # The same, as an Irish court took it up: granted, of traffic alone, three hours later.
    _decided("d3", "US", "mla.request", Result.PERMIT, TRAFFIC, account=EVE),
    _entry(Event.DISCLOSURE_COMPLETED, "d3", 3 * HOUR, Result.FULL),
    # A German order that found nothing, rejected by nobody, an emergency; in the next month.
    _decided("d4", "DE", "eu.epoc", Result.AWAIT, BOTH, after=2 * DAY, emergency=True),
    _entry(Event.DISCLOSURE_COMPLETED, "d4", 2 * DAY + 2 * HOUR, Result.NO_DATA),
    # Rejected by the approver; cancelled; expired; still pending; preserved.
    _decided("d5", "DE", "eu.epoc", Result.PERMIT, BOTH, after=2 * DAY),
    _entry(Event.DISCLOSURE_REJECTED, "d5", 2 * DAY + 4 * HOUR),
    _decided("d6", "DE", "eu.epoc", Result.PERMIT, BOTH, after=2 * DAY),
    _entry(Event.DISCLOSURE_CANCELLED, "d6", 3 * DAY),
    _decided("d7", "FR", "eu.epoc", Result.PERMIT, BOTH, after=2 * DAY),
    _entry(Event.DISCLOSURE_EXPIRED, "d7", 9 * DAY),
    _decided("d8", "FR", "eu.epoc", Result.PERMIT, BOTH, after=2 * DAY),
    _decided("d9", "US", "us.sca-2703f", Result.PRESERVE, BOTH, after=2 * DAY),
    # What never came to a decision.
    _entry(Event.ATTEMPT_MALFORMED, None, DAY, Result.REFUSE),
    _entry(Event.ATTEMPT_UNAUTHENTICATED, None, DAY, Result.REFUSE),
    _entry(Event.ATTEMPT_MALFORMED, None, 3 * DAY, Result.REFUSE),
]


async def _figures(since: datetime | None = None, until: datetime | None = None) -> RegionFigures:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        for each in STORY:
            await log.append(each)
    return await region_figures(BackendSource(bucket), SIGNER.key, IRELAND, since, until)


async def test_each_request_is_counted_once_by_what_became_of_it() -> None:
    figures = (await _figures()).figures
    assert figures.answers() == {
        Answer.FULL: 1,
        Answer.PART: 1,  # all that the law carried, and less than was asked for
        Answer.NO_DATA: 1,
        Answer.REFUSED: 1,
        Answer.REJECTED: 1,
        Answer.CANCELLED: 1,
        Answer.EXPIRED: 1,
        Answer.PENDING: 1,
        Answer.PRESERVED: 1,
    }
    assert (figures.requests, figures.accounts, figures.emergencies) == (9, 2, 1)
    assert (figures.foreign, figures.foreign_granted) == (8, 2)
    assert figures.reasons == {"storage-law": 1}
    assert figures.attempts == {"malformed": 2, "unauthenticated": 1}
    # One hour, three, two, and four until the rejection.
    assert figures.median_seconds == 2.5 * 3600


async def test_cells_are_by_period_state_instrument_category_and_outcome() -> None:
    cells = (await _figures()).figures.cells
    for category in (ANY_CATEGORY, "traffic", "content"):
        assert cells[Cell("2026-10", "IE", "ie.production-order", category, Answer.FULL)] == 1
        assert cells[Cell("2026-11", "DE", "eu.epoc", category, Answer.NO_DATA)] == 1
    assert sum(count for cell, count in cells.items() if cell.category == ANY_CATEGORY) == 9


async def test_a_period_is_of_the_decisions_in_it() -> None:
    november = datetime(2026, 11, 1, tzinfo=UTC)
    before, after = await _figures(until=november), await _figures(since=november)
    assert (before.figures.requests, after.figures.requests) == (3, 6)
    assert (before.figures.attempts, after.figures.attempts) == (
        {"malformed": 1, "unauthenticated": 1},
        {"malformed": 1},
    )


async def test_a_log_that_does_not_verify_gives_no_figures() -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await asyncio.gather(*map(log.append, STORY))
    key = next(key for key in bucket.versions if key.startswith("log/tile/entries/"))
    bucket.versions[key] = [bucket.versions[key][0].replace(b"refuse", b"permit")]
    with pytest.raises(NotVerified, match="entry-changed"):
        await region_figures(BackendSource(bucket), SIGNER.key, IRELAND)


async def test_the_forms_agree_with_each_other_and_with_the_checkpoint() -> None:
    each = await _figures()
    told = json.loads(json.dumps(as_json([each])))["regions"][0]
    assert told["computed_from"]["size"] == len(STORY)
    assert SIGNER.name in told["computed_from"]["checkpoint"]
    rows = list(csv.DictReader(io.StringIO(as_csv([each]))))
    assert tuple(rows[0]) == COLUMNS
    assert {row["log_root"] for row in rows} == {told["computed_from"]["root"]}
    names = ("period", "requesting_state", "instrument", "category", "outcome")
    counted = {tuple(count[name] for name in names): count["requests"] for count in told["counts"]}
    assert {tuple(row[name] for name in names): int(row["requests"]) for row in rows} == counted
    for row in rows:
        assert int(row["accounts"]) == told["accounts"]
        assert int(row["emergencies"]) == told["emergencies"]
        assert int(row["foreign_requests"]) == told["foreign"]["requests"]
        assert int(row["foreign_granted"]) == told["foreign"]["granted"]
        assert float(row["median_seconds"]) == told["median_seconds_to_answer"]
        because = dict(reason.rsplit(" ", 1) for reason in row["refused_because"].split("; "))
        assert {code: int(count) for code, count in because.items()} == told["refused_because"]


async def test_a_table_of_nothing_still_names_its_checkpoint() -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await log.append(STORY[0])
    each = await region_figures(BackendSource(bucket), SIGNER.key, IRELAND)
    (row,) = csv.DictReader(io.StringIO(as_csv([each])))
    assert (row["region"], row["requests"], row["category"], row["median_seconds"]) == (
        "eu-west-1", "0", "any", "",
    )  # fmt: skip
    assert (row["log_size"], row["log_root"]) == ("1", base64.b64encode(each.report.root).decode())


def _bars(picture: str) -> list[float]:
    return [
        float(rect.attrib["width"])
        for rect in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
        if "stroke" in rect.attrib
    ]


async def test_the_picture_shows_each_count_in_proportion() -> None:
    each = await _figures()
    picture = as_svg([each])
    texts = [t.text or "" for t in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"DE", "FR", "IE", "US"} <= set(texts)
    assert any("9 requests about 2 accounts" in text for text in texts)
    assert any(SIGNER.name in text and f"{len(STORY)} entries" in text for text in texts)
    # Nine requests with nine outcomes in four bars, DE and US the longest with three each.
    widths = _bars(picture)
    assert len(widths) == 9
    assert max(widths) == pytest.approx(min(widths), abs=0.2)
    assert 3 * max(widths) == pytest.approx(880 - 96 - 64, abs=1)
    for forbidden in ("<script", "http://", "https://", "@import"):
        assert forbidden not in picture.replace("http://www.w3.org/2000/svg", "")


async def test_a_picture_of_nothing_is_a_picture() -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await log.append(STORY[0])
    each = await region_figures(BackendSource(bucket), SIGNER.key, IRELAND)
    assert "no requests" in as_svg([each])
    assert each.figures.median_seconds is None
