"""Which path of the console leads where."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.console import audit, deeds, disclosures, holds, open_pages, pages, signing_in
from gateway.console.pages import ROOT
from gateway.disclosure import reading

_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript"}
_ONE: Final = f"{ROOT}/disclosures/{{id}}"
_HOLD: Final = f"{ROOT}/holds/{{id}}"


def add_console(app: web.Application) -> None:
    """The console's pages, in an application that has its desk already."""
    pages.prepare(app)
    router = app.router
    router.add_get(ROOT, signing_in.get_front)
    router.add_get(f"{ROOT}/sign-in", signing_in.get_sign_in)
    router.add_post(f"{ROOT}/sign-in", signing_in.post_sign_in)
    router.add_post(f"{ROOT}/sign-out", signing_in.post_sign_out)
    router.add_get(f"{ROOT}/disclosures", disclosures.get_queue)
    router.add_post(f"{ROOT}/disclosures", deeds.post_order)
    router.add_get(_ONE, disclosures.get_disclosure)
    router.add_post(f"{_ONE}/approve", deeds.post_approval)
    router.add_post(f"{_ONE}/reject", deeds.post_rejection)
    router.add_post(f"{_ONE}/answer", deeds.post_answer)
    router.add_post(f"{_ONE}/validate", deeds.post_validation)
    router.add_post(f"{_ONE}/confirm", deeds.post_confirmation)
    router.add_get(f"{_ONE}/package", disclosures.get_package)
    # The API's own handler: the session stands for the token, the octets are the same.
    router.add_get(f"{_ONE}/package/{{part}}", reading.get_part)
    router.add_get(f"{ROOT}/holds", holds.get_holds)
    router.add_post(f"{ROOT}/holds", holds.post_hold)
    router.add_get(_HOLD, holds.get_hold)
    router.add_post(f"{_HOLD}/release", holds.post_release)
    router.add_post(f"{_HOLD}/keep", holds.post_keep)
    router.add_post(f"{_HOLD}/prolong", holds.post_prolongation)
    router.add_get(f"{ROOT}/audit", audit.get_audit)
    router.add_get(f"{ROOT}/audit/{{region}}", audit.get_entries)
    router.add_get(f"{ROOT}/audit/{{region}}/{{index}}", audit.get_entry)
    router.add_get(f"{ROOT}/transparency", open_pages.get_transparency)
    router.add_get(f"{ROOT}/law", open_pages.get_law)
    router.add_get(f"{ROOT}/static/{{name}}", _get_static)


async def _get_static(request: web.Request) -> web.StreamResponse:
    """One of the two files that pages refer to: no other name becomes a path."""
    found = _FILES.get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    body, kind = found
    return web.Response(
        body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "public, max-age=300"}
    )


_FILES: Final = {
    path.name: (path.read_bytes(), _KINDS[path.suffix]) for path in _STATIC.iterdir() if path.suffix in _KINDS
}
