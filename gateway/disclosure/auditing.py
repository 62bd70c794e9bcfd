"""The log for auditors: entries by index, and proofs. Everything here can be had from the tiles as well."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from gateway.disclosure import hold_models
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, admitted, cleared
from gateway.disclosure.office import Chamber
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import json_response, read_query
from policy.clearance import Role
from policy.geography import GeographyError, RegionCode
from storage.audit.view import NoSuchEntry, Proof

_INDEX: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z")


async def list_entries(request: web.Request) -> web.StreamResponse:
    """A page of entries, in the order of the log."""
    attempt = request.app[DESK].attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        chamber = audited(attempt, request.match_info["region"])
        query = read_query(request, hold_models.AuditQuery)
        entries = await chamber.log.entries(query.start, query.pageSize)
        following = query.start + len(entries)
        more = bool(entries) and following < await chamber.log.size()
    shown = [
        hold_models.AuditEntry(index=query.start + offset, entry=entry.to_json())
        for offset, entry in enumerate(entries)
    ]
    return json_response(
        hold_models.AuditEntryList(
            region=str(chamber.region.code), entries=shown, next=following if more else None
        )
    )


async def get_proof(request: web.Request) -> web.StreamResponse:
    """One entry with its inclusion proof and the signed checkpoint that it leads to."""
    attempt = request.app[DESK].attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        proof = await prove(audited(attempt, request.match_info["region"]), request.match_info["index"])
    return json_response(hold_models.AuditProof.model_validate(proof.to_json()))


async def prove(chamber: Chamber, index: str) -> Proof:
    """The inclusion proof of the entry with that index. Raises Problem 404."""
    if not _INDEX.match(index):
        raise Problem(Kind.NOT_FOUND, "the log has no such entry")
    try:
        return await chamber.log.prove(int(index))
    except NoSuchEntry:
        raise Problem(Kind.NOT_FOUND, "the log has no such entry") from None


def audited(attempt: Attempt, text: str) -> Chamber:
    """The chamber of that region, for its auditors. A region that is not served is as good as none."""
    office = attempt.office
    try:
        region = RegionCode.parse(text)
    except GeographyError:
        raise Problem(Kind.NOT_FOUND, "that region is not served here") from None
    if region not in office.chambers:
        raise Problem(Kind.NOT_FOUND, "that region is not served here")
    if not attempt.asker.is_known_in(region):
        raise Problem(Kind.CLEARANCE)
    attempt.enter(office.chambers[region], None)
    cleared(attempt, Role.AUDITOR, region)
    return office.chambers[region]
