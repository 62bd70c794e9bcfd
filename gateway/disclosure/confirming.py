"""Form 5: the authority confirms that a production request was issued for what is preserved.

Reg. (EU) 2023/1543 Art. 11(1): the preservation ceases after 60 days, unless the issuing authority confirms,
by Form 5, that a request for production has been issued; Art. 11(2): then it goes on for as long as is
necessary to produce the data. So the hold goes on without an end, and it takes two people to release it.

    forms/<id>.json     the confirmation, written once
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from gateway.disclosure.approval import wrong_state
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import Desk, cleared
from gateway.disclosure.docket import Filed
from gateway.disclosure.lifecycle import Case, Disclosure, Preserved
from gateway.disclosure.models import ConfirmationRequest
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.validating import is_missed, validation_due
from policy.clearance import Role
from policy.hold import HoldId, Phase
from storage.audit.entry import Event, Result
from storage.errors import AlreadyExists, NotFound
from storage.operators import Documents

# The instruments of the regulation that Form 5 belongs to.
_CONFIRMED: Final = frozenset({"eu.epoc-pr"})


@final
@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who recorded Form 5, when, and which production order it names."""

    by: str
    at: datetime
    production: str | None


def may_be_confirmed(state: Disclosure) -> bool:
    """Whether Form 5 belongs to it at all."""
    return isinstance(state, Preserved) and state.case.instrument in _CONFIRMED


async def read_confirmation(documents: Documents, case: Case) -> Confirmation | None:
    """What was recorded; None where nothing was. Raises StorageError: then nothing is known."""
    try:
        found = json.loads((await documents.get(_key(case))).body)
    except NotFound:
        return None
    return Confirmation(found["by"], datetime.fromisoformat(found["at"]), found["production"])


async def hear_confirmation(attempt: Attempt, desk: Desk, text: str, body: ConfirmationRequest) -> Filed:
    """Record the confirmation, and keep what is preserved until it is produced. Raises Problem.

    In the log first, then the document, then the hold: repeated after a crash, it completes what is missing.
    """
    chamber, filed = await desk.find(attempt, text)
    by = cleared(attempt, Role.INTAKE, chamber.region.code)
    state, case = filed.disclosure, filed.disclosure.case
    if not isinstance(state, Preserved):
        raise wrong_state(state, "confirmed")
    if case.instrument not in _CONFIRMED:
        raise Problem(Kind.STATE, f"{case.instrument} is not confirmed: its preservation has its own end")
    due = validation_due(case)
    if due is not None and await is_missed(chamber.vault, case, due):
        raise Problem(Kind.STATE, f"the order has to be validated first, by {due.isoformat()} (Art. 4(5))")
    register = desk.holds(chamber.region.code)
    hold = await register.get(HoldId.parse(state.hold))
    if hold.phase(attempt.now) is not Phase.IN_FORCE:
        raise Problem(Kind.STATE, "the preservation has ended (Art. 11(1))")
    place = await attempt.commit(Event.DISCLOSURE_CONFIRMED, outcome=Result.PRESERVE)
    document = {
        "version": 1,
        "form": 5,
        "production": body.production,
        "by": attempt.asker.name,
        "token": attempt.asker.token,
        "at": attempt.now.isoformat(),
        "entry": place.index,
    }
    with suppress(AlreadyExists):  # confirmed before; one suffices
        await chamber.vault.put_if_absent(_key(case), json.dumps(document).encode())
    if hold.until is not None:
        await register.prolong(hold.id, by, None)
    return filed


def _key(case: Case) -> str:
    return f"forms/{case.id}.json"
