"""What happens next in a disclosure, and by whom: said so that it can be repeated in court.

Nothing here says of a disclosure what only some of its kind are: what was called off after an approval
may have been fetched before, and a page that says otherwise would be a false statement.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, assert_never

from gateway.console.words import Deadline, deadline, moment, passing
from gateway.disclosure.approval import waits
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingDisclosure,
    AwaitingPreservation,
    Cancelled,
    Case,
    Disclosed,
    Disclosure,
    DisclosureNotAvailable,
    Expired,
    PreservationNotAvailable,
    Preserved,
    Rejected,
)
from gateway.disclosure.models import Obligation
from policy.assessment import ObligationCode

_WAIT: Final = (
    "The release waits for the enforcing authority: until an answer without objection is recorded, or its "
    "period has passed."
)


def what_next(state: Disclosure, now: datetime) -> str:
    """In a sentence or two."""
    match state:
        case AwaitingApproval():
            said = "Somebody cleared for this region, who did not ask, approves or rejects."
            return said if not waits(state) else f"{said} {_WAIT}"
        case AwaitingDisclosure() if waits(state):
            return f"Approved. {_WAIT}"
        case AwaitingDisclosure():
            return "Approved. The package is being made; it is decided once more before anything is read."
        case Disclosed():
            return _fetched("", state.package_expires, now)
        case DisclosureNotAvailable():
            return _fetched(
                "Nothing stored answers to the order, and the package says so. ", state.package_expires, now
            )
        case Rejected(decided=None):
            return "The law did not carry the order when it came. Nothing was released under this request."
        case Rejected():
            return "An approver said no. Nothing was released under this request, and nothing will be."
        case Cancelled(decided=None):
            return "Called off before anybody approved it. Nothing was released under this request."
        case Cancelled():
            return (
                "Called off. A package that stood ready can be fetched no more; whether any of it was "
                "fetched before, the audit log tells."
            )
        case Expired():
            return "The order lapsed before anybody approved it. Nothing was released under this request."
        case AwaitingPreservation():
            return "The hold is being placed. The order preserves: nothing is disclosed on it."
        case Preserved():
            return "A legal hold was placed; its page says until when. Disclosure takes another order."
        case PreservationNotAvailable():
            return "No hold could be placed, for the reason given. Nothing was disclosed."
        case _:
            assert_never(state)


def owed(
    each: Obligation,
    now: datetime,
    near: timedelta,
    *,
    running: bool,
    held: bool,
    validated: bool,
    kept: datetime | None,
) -> Deadline | None:
    """How an obligation stands: overdue is only what this gateway knows to be undone.

    `running`: the disclosure waits for somebody still. `held`: a hold was placed for it. `validated`: the
    validation that it owes has been recorded. `kept`: the end that its hold has now; None where it has none.
    """
    match each.code:
        case ObligationCode.VALIDATION if validated:
            return Deadline(each.due, "", "Given")
        case ObligationCode.PRODUCTION | ObligationCode.VALIDATION:
            return deadline(each.due, now, near, running=running)
        case ObligationCode.PRESERVATION_ENDS if kept != each.due:
            later = "without an end" if kept is None else f"until {moment(kept)}"
            return Deadline(each.due, "", f"Not any more: kept {later}")
        case ObligationCode.PRESERVE:
            return Deadline(each.due, "", "A hold was placed" if held else "")
        case _:  # somebody else's period, or a letter that is written elsewhere
            return passing(each.due, now)


def decided_by(state: Disclosure) -> str:
    """What the person named as the last to decide has done."""
    match state:
        case Rejected():
            return "Rejected by"
        case Cancelled():
            return "Last decided on by"
        case _:
            return "Approved by"


def encrypted_to(case: Case, deliver_to: str | None) -> str:
    """Whose certificate opens the package."""
    return "the certificate that the order names" if deliver_to else f"the certificate of {case.issuer}"


def _fetched(said: str, until: datetime, now: datetime) -> str:
    if now >= until:
        return f"{said}The package could be fetched until {moment(until)}, and cannot any more."
    return f"{said}The package can be fetched by the operators of this region's intake until {moment(until)}."
