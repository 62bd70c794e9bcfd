"""What a browser sends: queries, and forms that must come from the console's own pages."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.console.session import Session
from gateway.disclosure.desk import DESK
from gateway.disclosure.problems import Kind, Problem, faults
from gateway.disclosure.transport import read_body

CURRENT: Final = web.RequestKey("console session", Session)

_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = 20
_Model = TypeVar("_Model", bound=BaseModel)


async def read_form(request: web.Request, *, signed_in: bool = True) -> dict[str, str]:
    """The form's fields, blank ones left out. Raises Problem: 403 `cross-site`, 415, 413, 422.

    Two things must hold, either of which alone would do in a browser without faults: the request
    was made by a page of this origin, and it carries the session's own secret.
    """
    _same_origin(request)
    if request.content_type != _FORM:
        raise Problem(Kind.MEDIA_TYPE, f"{_FORM} is expected")
    terms = request.app[DESK].office.terms
    body = await read_body(request, terms.body_limit, terms.body_time)
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise Problem(Kind.MALFORMED_REQUEST, "the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem(Kind.INVALID_REQUEST, "a field of the form stands twice")
    if signed_in and not hmac.compare_digest(fields.pop("csrf", "").encode(), request[CURRENT].csrf.encode()):
        raise Problem(Kind.CROSS_SITE, "the form does not belong to this session: open the page again")
    return {name: text for name, value in fields.items() if (text := value.strip().replace("\r\n", "\n"))}


def _same_origin(request: web.Request) -> None:
    """Fetch Metadata where the browser sends it, else Origin; who sends neither is no browser of ours."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        ours = site == "same-origin"
    else:
        ours = _host(request.headers.get("Origin", "")) == request.host
    if not ours:
        raise Problem(Kind.CROSS_SITE)


def _host(origin: str) -> str | None:
    """Host and port of an origin, None for `null` and for what is no origin (RFC 6454 7)."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def understood(model: type[_Model], values: Mapping[str, object]) -> _Model:
    """The values by the API's own model for them. Raises Problem 422."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Problem(Kind.INVALID_REQUEST, **faults(error)) from None


def read_filters(request: web.Request, *names: str) -> dict[str, str]:
    """The query's fields of those names that are filled in. Raises Problem 422 for any other."""
    if unknown := set(request.query) - set(names):
        raise Problem(Kind.INVALID_REQUEST, f"{min(unknown)[:40]}: this page has no such filter")
    return {name: text for name in names if (text := request.query.get(name, "").strip())}
