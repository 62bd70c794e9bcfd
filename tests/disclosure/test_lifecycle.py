"""States are types: what cannot follow does not pass mypy, and what is kept is read back as it was."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mypy import api

from gateway.disclosure.docket import Claim, Docket, Replayed
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingPreservation,
    Case,
    Deed,
    Disclosure,
    DisclosureId,
    Entry,
    Signed,
    from_bytes,
    to_bytes,
)
from policy.geography import RegionCode
from policy.order import DataCategory
from storage.errors import Conflict, Corrupt
from tests.disclosure.documents import Documents
from tests.policy.pki import NOW

IE = RegionCode("eu-west-1")
DEED = Deed("art", "0" * 16, NOW, Entry(IE, 7))


def case(**changes: object) -> Case:
    usual: dict[str, object] = {
        "id": DisclosureId.new(NOW), "region": IE, "account": "0" * 32, "order": "a.b.c",
        "order_digest": "sha256:" + "0" * 64, "reference": "DC-1", "issuer": "IE court",
        "instrument": "ie.production-order", "matter": None,
        "signatures": (Signed("IE court", "issue", "IE", ("judge",)),),
        "requested": (DataCategory.CONTENT,), "carried": (DataCategory.CONTENT,),
        "decision": {"outcome": "permit"}, "decision_digest": "sha256:" + "1" * 64,
        "asked": DEED, "due": NOW, "lapses": NOW + timedelta(days=1),
    }  # fmt: skip
    return Case(**(usual | changes))  # type: ignore[arg-type]


def every_state() -> list[Disclosure]:
    new, keep = AwaitingApproval(case()), AwaitingPreservation(case())
    waiting = new.approve(DEED)
    return [
        new,
        waiting,
        new.reject(DEED, "no"),
        new.reject(DEED, None),
        new.cancel("revoked", NOW),
        new.cancel("revoked", NOW, DEED),
        new.expire(NOW),
        waiting.disclose(DEED.entry, "sha256:x", NOW, NOW),
        waiting.find_nothing(DEED.entry, "sha256:x", NOW, NOW),
        waiting.cancel("revoked", NOW),
        keep,
        keep.preserve("h" * 32, NOW),
        keep.fail("no such account", NOW),
    ]


@pytest.mark.parametrize("state", every_state(), ids=lambda state: str(state.status))
def test_a_state_reads_back_as_it_was_written(state: Disclosure) -> None:
    assert from_bytes(to_bytes(state)) == state
    assert type(from_bytes(to_bytes(state))) is type(state)


def test_every_status_word_is_a_state() -> None:
    from gateway.disclosure.models import Status

    assert {state.status for state in every_state()} | {Status.INVALID} == set(Status)


@given(st.binary(max_size=200))
def test_what_is_no_document_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):
        from_bytes(document)


IMPOSSIBLE = """
from gateway.disclosure.lifecycle import *
from gateway.disclosure.lifecycle import Entry
def f(
    new: AwaitingApproval, waiting: AwaitingDisclosure, done: Disclosed, no: Rejected, keep: Preserved
) -> None:
    {line}
"""


@pytest.mark.parametrize(
    "line",
    [
        "new.disclose(Entry(new.case.region, 1), '', new.case.lapses, new.case.lapses)",
        "done.approve(done.approved)",
        "no.approve(done.approved)",
        "waiting.reject(done.approved, None)",
        "waiting.approve(done.approved)",
        "keep.disclose(done.release, '', done.at, done.at)",
        "done.cancel('', done.at)",
    ],
)
def test_an_impossible_transition_does_not_pass_mypy(line: str, tmp_path: Path) -> None:
    program = tmp_path / "impossible.py"
    program.write_text(IMPOSSIBLE.format(line=line))
    cache = Path(__file__).parents[2] / ".mypy_cache" / "transitions"
    out, _, status = api.run(["--strict", "--cache-dir", str(cache), "--follow-imports=silent", str(program)])
    assert status == 1, out
    assert re.search(r'has no attribute "\w+"', out), out


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [DisclosureId.new(NOW + timedelta(milliseconds=number)) for number in range(50)]
    assert sorted(ids) == ids
    assert all(re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", str(each)) for each in ids)


async def test_of_two_that_move_a_disclosure_one_does() -> None:
    docket = Docket(Documents())
    state = AwaitingApproval(case())
    filed = await docket.file(state)
    await docket.move(filed, state.approve(DEED))
    with pytest.raises(Conflict):
        await docket.move(filed, state.reject(DEED, None))
    with pytest.raises(ValueError, match="cannot change the case"):
        await docket.move(filed, AwaitingApproval(case()))


async def test_a_claim_that_was_abandoned_can_be_taken_over() -> None:
    """The process that claimed the order died before it filed a disclosure."""
    docket = Docket(Documents())
    dead, late = DisclosureId.new(NOW), DisclosureId.new(NOW)
    assert await docket.claim("k", Claim(dead, "sha256:x", NOW)) == dead
    with pytest.raises(Replayed):
        await docket.claim("k", Claim(late, "sha256:x", NOW + timedelta(seconds=119)))
    assert await docket.claim("k", Claim(late, "sha256:x", NOW + timedelta(seconds=121))) == late


async def test_a_document_that_is_no_disclosure_is_corrupt() -> None:
    documents = Documents()
    one = DisclosureId.new(NOW)
    await documents.put_if_absent(f"disclosures/{one}.json", b"{}")
    with pytest.raises(Corrupt, match=str(one)):
        await Docket(documents).get(one)


async def test_what_has_not_changed_is_not_read_twice() -> None:
    documents = Documents()
    docket = Docket(documents)
    for _ in range(3):
        await docket.file(AwaitingApproval(case()))
    assert len([filed async for filed in docket.all()]) == 3
    reads = documents.reads
    assert len([filed async for filed in docket.all()]) == 3
    assert documents.reads == reads
