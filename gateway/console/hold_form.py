"""What a custodian has filled in to place a hold or to prolong one, in the API's own words.

Days are whole ones of UTC. A person names the first and the last day of a timespan, both meant; the API's
span is half open, and ends as the day after the last one begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from gateway.disclosure.problems import fault

# The three forms, and the field that says whose mail each is about.
SCOPES: Final[Mapping[str, str]] = {"one": "address", "several": "addresses", "wide": "region"}

# Which field of a form a field of `hold_models.HoldRequest` or `HoldProlongRequest` is.
FIELDS: Final[Mapping[str, str]] = {
    **{name: name for name in ("address", "addresses", "domain", "region", "matter", "until", "to")},
    **{name: name for name in ("first", "last", "reason", "day")},
    "basis": "reason",
    "timespan": "last",
    "query.parties": "parties",
    "query.domains": "domains",
    "query.message_ids": "messages",
}

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_BETWEEN: Final = re.compile(r"[\s,;]+")


def read_placing(form: Mapping[str, str]) -> dict[str, object]:
    """The members of a `HoldRequest`. Raises Problem 422 for what no such model could tell."""
    asked: dict[str, object] = {
        name: form[name] for name in ("address", "domain", "region", "matter") if name in form
    }
    asked["basis"] = {"litigation": sentence(form, "say in a sentence why it is kept")}
    if several := _listed(form.get("addresses", "")):
        asked["addresses"] = several
    if "until" in form:
        asked["until"] = _begins(_day(form, "until"))
    if span := _timespan(form):
        asked["timespan"] = span
    if query := _query(form):
        asked["query"] = query
    return asked


def read_prolonging(form: Mapping[str, str]) -> dict[str, object]:
    """The members of a `HoldProlongRequest`. `to`: `day`, `never`, or the moment that the page offered."""
    match form.get("to"):
        case None:
            raise fault("to", "choose until when")
        case "day":
            return {"until": _begins(_day(form, "day"))}
        case "never":
            return {"until": None}
        case offered:
            return {"until": offered}


def sentence(form: Mapping[str, str], otherwise: str) -> str:
    """The reason on one line, however many it was typed on. Raises Problem 422 with `otherwise` for none."""
    said = " ".join(form.get("reason", "").split())
    if not said:
        raise fault("reason", otherwise)
    return said


def read_earlier_end(form: Mapping[str, str]) -> str | None:
    """An end before the one that the hold has; None: a release."""
    return _begins(_day(form, "until")) if "until" in form else None


def _timespan(form: Mapping[str, str]) -> dict[str, object] | None:
    if "first" not in form and "last" not in form:
        return None
    first, last = _day(form, "first"), _day(form, "last")
    if last < first:
        raise fault("last", "is before the first day")
    try:
        after = last + timedelta(days=1)
    except OverflowError:
        raise fault("last", "no day comes after it") from None
    return {"start": _begins(first), "end": _begins(after)}


def _query(form: Mapping[str, str]) -> dict[str, object]:
    messages = [line.strip() for line in form.get("messages", "").splitlines() if line.strip()]
    given: dict[str, list[str]] = {
        "parties": _listed(form.get("parties", "")),
        "domains": _listed(form.get("domains", "")),
        "message_ids": messages,
    }
    return {name: values for name, values in given.items() if values}


def _listed(text: str) -> list[str]:
    """One a line, or as people paste them; a quoted local part (RFC 5321 4.1.2) may hold what divides."""
    return [
        one
        for line in text.splitlines()
        for one in ([line.strip()] if '"' in line else _BETWEEN.split(line))
        if one
    ]


def _day(form: Mapping[str, str], name: str) -> date:
    """Raises Problem 422. Browsers send ISO 8601; one without a calendar sends what was typed."""
    text = form.get(name, "")
    try:
        if not _DAY.match(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise fault(name, "a day is expected, as 2026-11-30") from None


def _begins(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
