"""`GET /v1/transparency`: open to anybody, computed from the verified log, in three forms."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from storage.audit.note import Note
from tests.disclosure.desk import IRELAND, NOW, Gateway, order
from tests.policy import pki

PATH = "/v1/transparency"


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_asked_and_what_became_of_it_is_there_for_anybody(desk: Gateway) -> None:
    refused = await desk.present(order(pki.judge("US"), instrument="us.sca-warrant", issuing_state="US"))
    assert refused.status == 403, refused.body
    log = desk.chamber().log
    await log.published(await log.size())  # the published checkpoint trails what is committed
    answer = await desk.ask("GET", PATH, None)
    assert answer.status == 200, answer.body
    assert {each["region"] for each in answer.json["regions"]} == set(map(str, desk.office.chambers))
    told = next(each for each in answer.json["regions"] if each["region"] == str(IRELAND.code))
    assert told["stored_in"] == "IE"
    assert told["answers"]["refused"] >= 1
    assert told["refused_because"]["storage-law"] >= 1
    assert told["foreign"]["requests"] >= 1
    # The checkpoint that it was computed from is one that the log has signed.
    key = desk.chamber().log.key
    note = Note.parse(told["computed_from"]["checkpoint"].encode())
    assert key in note.verified_by([key])


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_as_a_table_and_as_a_picture(desk: Gateway) -> None:
    table = await desk.ask("GET", f"{PATH}?format=csv", None)
    assert table.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert {row["region"] for row in rows} == set(map(str, desk.office.chambers))
    assert all((int(row["requests"]) > 0) == bool(row["outcome"]) for row in rows)
    picture = await desk.ask("GET", f"{PATH}?format=svg", None)
    assert picture.headers["Content-Type"].startswith("image/svg+xml")
    assert ET.fromstring(picture.body).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "query",
    [
        "format=pdf",
        "from=yesterday",
        "from=2026-01-01",
        "from=2026-11-01T00:00:00Z&until=2026-10-01T00:00:00Z",
        "x=1",
    ],
)
async def test_a_query_that_means_nothing_is_422(desk: Gateway, query: str) -> None:
    answer = await desk.ask("GET", f"{PATH}?{query}", None)
    assert (answer.status, answer.problem) == (422, "invalid-request")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_period_without_requests_is_empty(desk: Gateway) -> None:
    later = (NOW + timedelta(days=4000)).isoformat().replace("+00:00", "Z")
    answer = await desk.ask("GET", f"{PATH}?from={later}", None)
    assert {each["requests"] for each in answer.json["regions"]} == {0}


@pytest.mark.asyncio(loop_scope="module")
async def test_whoever_asks_for_period_after_period_is_slowed_down(desk: Gateway) -> None:
    limit = desk.office.terms.strangers_a_minute
    statuses = set()
    for number in range(limit + 200):
        answer = await desk.ask("GET", f"{PATH}?format=csv&until={2000 + number % 3}-01-01T00:00:00Z", None)
        statuses.add(answer.status)
    assert statuses == {200, 429}
