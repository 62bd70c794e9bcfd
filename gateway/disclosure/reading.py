"""Reading disclosures and fetching packages: lists, one resource, the manifest, the parts."""

from __future__ import annotations

import json
from bisect import insort
from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.disclosure import models
from gateway.disclosure.approval import waits
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted, cleared
from gateway.disclosure.docket import Filed
from gateway.disclosure.lifecycle import AwaitingDisclosure, Disclosed, DisclosureId, DisclosureNotAvailable
from gateway.disclosure.making import manifest_key, part_key
from gateway.disclosure.office import Chamber
from gateway.disclosure.pages import decode_token, encode_token
from gateway.disclosure.presentation import present, represented
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import conditional, json_response, read_query
from policy.clearance import Role
from policy.geography import RegionCode
from storage.audit.entry import Event

_NEVER: Final = "never"  # sorts behind every moment
_CHUNK: Final = 4 << 20  # octets of a part in memory at once


async def list_disclosures(request: web.Request) -> web.StreamResponse:
    """One page of what the asker may see, in the regions where they are cleared for anything.

    Looking at it is logged, as a look at one is: it names the matters of many people at once.
    """
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        page, following = await find_page(attempt, desk, read_query(request, models.DisclosureQuery))
    shown = [present(filed.disclosure) for filed in page]
    return json_response(models.DisclosureList(disclosures=shown, nextPageToken=following))


async def find_page(
    attempt: Attempt, desk: Desk, query: models.DisclosureQuery
) -> tuple[list[Filed], str | None]:
    """The page, and the token of the next one, once the look is in the log. Raises Problem 403 and 422."""
    regions = _regions(attempt, query)
    if query.orderBy == "due":
        due = _token_due(query.pageToken)
        await attempt.looks(Event.DISCLOSURE_VIEWED, regions)
        return await _by_due(desk, regions, query, due)
    after = _token_id(query.pageToken)
    await attempt.looks(Event.DISCLOSURE_VIEWED, regions)
    return await _by_creation(desk, regions, query, after)


def _regions(attempt: Attempt, query: models.DisclosureQuery) -> tuple[RegionCode, ...]:
    if query.region is None:
        return attempt.asker.everywhere(*Role)
    wanted = RegionCode.parse(query.region)
    if not attempt.asker.is_known_in(wanted):  # the same for a region that there is not
        raise Problem(Kind.CLEARANCE)
    return (wanted,)


async def _by_creation(
    desk: Desk, regions: tuple[RegionCode, ...], query: models.DisclosureQuery, after: DisclosureId | None
) -> tuple[list[Filed], str | None]:
    """Oldest first, from the token's id on. Reads on only until the page is full."""
    page: list[Filed] = []
    for region in regions:
        found = 0
        async for filed in desk.dockets[region].all(after):
            if _wanted(filed, query):
                page.append(filed)
                found += 1
                if found > query.pageSize:
                    break
    page.sort(key=lambda filed: filed.disclosure.case.id)
    if len(page) <= query.pageSize:
        return page, None
    page = page[: query.pageSize]
    return page, encode_token([str(page[-1].disclosure.case.id)])


async def _by_due(
    desk: Desk,
    regions: tuple[RegionCode, ...],
    query: models.DisclosureQuery,
    after: tuple[str, str] | None,
) -> tuple[list[Filed], str | None]:
    """What is due first, first; what is never due, last. Reads every disclosure of the regions once."""
    page: list[Filed] = []
    for region in regions:
        async for filed in desk.dockets[region].all():
            if _wanted(filed, query) and (after is None or _due_key(filed) > after):
                insort(page, filed, key=_due_key)
                del page[query.pageSize + 1 :]  # memory for one page, however many there are
    if len(page) <= query.pageSize:
        return page, None
    page = page[: query.pageSize]
    return page, encode_token(list(_due_key(page[-1])))


def _wanted(filed: Filed, query: models.DisclosureQuery) -> bool:
    case = filed.disclosure.case
    return (
        (query.status is None or filed.disclosure.status == query.status)
        and (query.matter is None or case.matter == query.matter)
        and (query.dueBefore is None or (case.due is not None and case.due < query.dueBefore))
    )


def _due_key(filed: Filed) -> tuple[str, str]:
    case = filed.disclosure.case
    return (case.due.isoformat() if case.due else _NEVER, str(case.id))


def _token_id(token: str | None) -> DisclosureId | None:
    if token is None:
        return None
    try:
        return DisclosureId.parse(decode_token(token, 1)[0])
    except ValueError:
        raise _not_ours() from None


def _token_due(token: str | None) -> tuple[str, str] | None:
    if token is None:
        return None
    due, disclosure = decode_token(token, 2)
    try:
        DisclosureId.parse(disclosure)
        if due != _NEVER and datetime.fromisoformat(due).utcoffset() is None:
            raise _not_ours()
    except ValueError:
        raise _not_ours() from None
    return due, disclosure


def _not_ours() -> Problem:
    return Problem(Kind.INVALID_REQUEST, "pageToken: not one that this list has given")


async def get_disclosure(request: web.Request) -> web.StreamResponse:
    """One disclosure. Looking at it is logged: it tells whose mailbox somebody wants."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        filed = await view(attempt, desk, request.match_info["id"])
    return conditional(request, *represented(present(filed.disclosure)))


async def view(attempt: Attempt, desk: Desk, text: str) -> Filed:
    """One disclosure, once the look at it is in the log. Raises Problem."""
    _, filed = await desk.find(attempt, text)
    await attempt.commit(Event.DISCLOSURE_VIEWED)
    return filed


async def get_package(request: web.Request) -> web.StreamResponse:
    """The manifest. Asking for it is an attempt."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        packaged, manifest = await fetch_manifest(attempt, desk, request.match_info["id"])
    return conditional(request, manifest, packaged.manifest_digest.removeprefix("sha256:"))


async def fetch_manifest(
    attempt: Attempt, desk: Desk, text: str
) -> tuple[Disclosed | DisclosureNotAvailable, bytes]:
    """The manifest as it was sealed, once the fetch is in the log. Raises Problem: 404, 409, 410."""
    chamber, packaged = await _package(attempt, desk, text)
    await attempt.commit(Event.PACKAGE_FETCHED, subject=packaged.manifest_digest)
    return packaged, (await chamber.vault.get(_manifest_key(packaged))).body


async def get_part(request: web.Request) -> web.StreamResponse:
    """One part, as DER. Logged before the first octet leaves; streamed, a chunk in memory at a time."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        chamber, packaged = await _package(attempt, desk, request.match_info["id"])
        blob = await chamber.vault.get(_manifest_key(packaged))
        part = _part(blob.body, request.match_info["part"])
        await attempt.commit(Event.PACKAGE_FETCHED, subject=f"sha256:{part['encrypted_sha256']}")
        key = part_key(packaged.case.id, packaged.release.index, part["encrypted_sha256"])
        size = int(part["encrypted_size"])
        first = await chamber.store.mail.get_range(key, 0, min(_CHUNK, size))
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/pkcs7-mime; smime-type=enveloped-data",  # RFC 8551 3.2
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="{part["name"]}.p7m"',
            "ETag": f'"{part["encrypted_sha256"]}"',
        }
    )
    await response.prepare(request)
    await response.write(first)
    sent = len(first)
    while sent < size:
        chunk = await chamber.store.mail.get_range(key, sent, min(_CHUNK, size - sent))
        if not chunk:
            raise ConnectionError("the part ends before its size")  # the connection breaks: never a short 200
        await response.write(chunk)
        sent += len(chunk)
    await response.write_eof()
    return response


async def _package(
    attempt: Attempt, desk: Desk, text: str
) -> tuple[Chamber, Disclosed | DisclosureNotAvailable]:
    """The package that a cleared intake operator may fetch now. Raises Problem: 404, 409, 410."""
    chamber, filed = await desk.find(attempt, text)
    cleared(attempt, Role.INTAKE, chamber.region.code)
    state = filed.disclosure
    if isinstance(state, AwaitingDisclosure):
        raise _not_ready(state)
    if not isinstance(state, Disclosed | DisclosureNotAvailable):
        raise Problem(
            Kind.STATE,
            f"the disclosure is {state.status}: there is no package",
            members={"disclosure_status": str(state.status)},
        )
    if attempt.now >= state.package_expires:
        raise Problem(Kind.PACKAGE_EXPIRED, f"it could be fetched until {_rfc3339(state.package_expires)}")
    return chamber, state


def _not_ready(state: AwaitingDisclosure) -> Problem:
    """Seconds for a package that is being made; days where the law lets somebody else speak first."""
    if not waits(state):
        return Problem(Kind.NOT_READY, "the package is being made", headers={"Retry-After": "5"})
    owed = ", ".join(f"{each['code']} (due {each['due']})" for each in state.case.decision["obligations"])
    return Problem(Kind.NOT_READY, f"release waits, as the decision says: {owed}")


def _manifest_key(state: Disclosed | DisclosureNotAvailable) -> str:
    return manifest_key(state.case.id, state.release.index)


def _part(manifest: bytes, name: str) -> dict[str, str]:
    """A part by a name that stands in the manifest: no other text ever becomes part of a key."""
    for part in json.loads(manifest)["parts"]:
        if part["name"] == name:
            return dict(part)
    raise Problem(Kind.NOT_FOUND, "the package has no such part")


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
