"""How times, sizes and states are said to people: in words first, never in colour alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, final

from gateway.disclosure.models import Status
from policy.assessment import Outcome

# What still waits for somebody: only here can a deadline be missed.
OPEN: Final = frozenset({Status.AWAITING_APPROVAL, Status.AWAITING_DISCLOSURE, Status.AWAITING_PRESERVATION})

OUTCOMES: Final = {
    Outcome.PERMIT: "Permit: the law of the place carries it",
    Outcome.AWAIT: "Await: the law of the place carries it, and release waits",
    Outcome.PRESERVE: "Preserve: to be kept, and not handed over",
    Outcome.REFUSE: "Refuse: the law of the place does not carry it",
}


@final
@dataclass(frozen=True, slots=True)
class Deadline:
    """A time by which something is owed. `urgency` is `overdue`, `near` or empty."""

    at: datetime
    urgency: str
    said: str


def deadline(at: datetime | None, now: datetime, near: timedelta, *, running: bool = True) -> Deadline | None:
    """None where there is none; no urgency where the clock does not run any more."""
    if at is None:
        return None
    if not running:
        return Deadline(at, "", "")
    if at <= now:
        return Deadline(at, "overdue", f"Overdue by {span(now - at)}")
    if at - now <= near:
        return Deadline(at, "near", f"Nearly due: {span(at - now)} left")
    return Deadline(at, "", f"{span(at - now)} left")


def passing(at: datetime, now: datetime) -> Deadline:
    """A time of which no page can know whether what it is for was done: what the clock says, and no more."""
    return Deadline(at, "", f"{span(at - now)} left" if now < at else f"Passed {span(now - at)} ago")


def span(length: timedelta) -> str:
    """Roughly, in the largest unit of which there are two."""
    seconds = length.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return "less than two minutes"


def moment(at: datetime) -> str:
    """As a lawyer would write it, and always UTC."""
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def exactly(at: datetime) -> str:
    """With its seconds, where the order of two entries matters."""
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


def timed(text: str) -> str:
    """A finding's detail, whose times are written for machines, as people write them."""
    return _RFC3339.sub(lambda found: moment(datetime.fromisoformat(found.group()).astimezone(UTC)), text)


def sentence(text: str) -> str:
    """With a capital and a full stop: a problem's detail stands alone on a page."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def machine(at: datetime) -> str:
    """For the `datetime` attribute of `<time>`."""
    return at.isoformat().replace("+00:00", "Z")


def spaced(word: object) -> str:
    """`AwaitingApproval` -> `Awaiting approval`; `issuer-role` -> `issuer role`."""
    text = str(word).replace("-", " ").replace("_", " ")
    return "".join(
        f" {c.lower()}" if c.isupper() and i and text[i - 1].islower() else c for i, c in enumerate(text)
    )


def octets(size: int) -> str:
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} octets"
