"""The audit log: its entries, searched, and the proof that one stands where it says."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from gateway.console.forms import read_filters, understood
from gateway.console.pages import page
from gateway.disclosure.auditing import audited, prove
from gateway.disclosure.desk import DESK, admitted
from gateway.disclosure.models import Asked
from gateway.disclosure.problems import Kind, Problem
from policy.clearance import Role
from storage.audit.entry import Entry, Event
from storage.audit.log import AuditLog
from storage.audit.merkle import ProofError
from storage.audit.note import NoteError

_PAGE: Final = 50  # entries shown
_READ: Final = 2000  # entries looked through for one page: what is older is the next page's


class _Search(Asked):
    """`before`: only entries older than that index. `text`: anywhere in the entry."""

    event: Event | None = None
    text: Annotated[str | None, Field(max_length=256)] = None
    before: Annotated[int | None, Field(ge=0, lt=1 << 53)] = None


async def get_audit(request: web.Request) -> web.StreamResponse:
    """The regions whose logs the asker may read."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        regions = sorted(map(str, attempt.asker.regions(Role.AUDITOR)))
        if not regions:
            raise Problem(Kind.ROLE, f"the role {Role.AUDITOR} is needed")
        sizes = [(region, await audited(attempt, region).log.size()) for region in regions]
    return page(request, "logs.html", title="Audit logs", sizes=sizes)


async def get_entries(request: web.Request) -> web.StreamResponse:
    """The newest entries first that answer to the search."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        chamber = audited(attempt, request.match_info["region"])
        search = understood(_Search, read_filters(request, "event", "text", "before"))
        size = await chamber.log.size()
        end = size if search.before is None else min(search.before, size)
        found, reached = await _search(chamber.log, search, end)
    return page(
        request,
        "entries.html",
        title=f"Audit log of {chamber.region.code}",
        region=str(chamber.region.code),
        size=size,
        found=found,
        older=reached if reached > 0 else None,
        search=search,
        events=list(Event),
    )


async def _search(log: AuditLog, search: _Search, end: int) -> tuple[list[tuple[int, Entry]], int]:
    """Entries before `end`, the newest first, and the index that all older ones lie before."""
    start = max(0, end - _READ)
    found: list[tuple[int, Entry]] = []
    entries = await log.entries(start, end - start)
    for index in range(start + len(entries) - 1, start - 1, -1):
        entry = entries[index - start]
        if _answers(entry, search):
            if len(found) == _PAGE:
                return found, index + 1
            found.append((index, entry))
    return found, start


def _answers(entry: Entry, search: _Search) -> bool:
    if search.event is not None and entry.event is not search.event:
        return False
    return search.text is None or search.text.casefold() in json.dumps(entry.to_json()).casefold()


async def get_entry(request: web.Request) -> web.StreamResponse:
    """One entry with its inclusion proof, checked here under the log's key, and how to check it elsewhere."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        chamber = audited(attempt, request.match_info["region"])
        proof = await prove(chamber, request.match_info["index"])
    fault = None
    try:
        proof.verify(chamber.log.key)
    except (NoteError, ProofError) as error:
        fault = str(error)
    return page(
        request,
        "entry.html",
        title=f"Entry {proof.index} of {chamber.region.code}",
        region=str(chamber.region.code),
        proof=proof,
        fields=Entry.decode(proof.entry).to_json(),
        hashes=[base64.b64encode(each).decode() for each in proof.path],
        checkpoint=proof.checkpoint.decode(),
        key=str(chamber.log.key),
        fault=fault,
    )
