"""Keeping what may not be handed over, or not yet: a preservation order becomes a legal hold.

The hold carries the disclosure's own id, so that placing it again after a crash places nothing twice.
While a release waits for the enforcing authority, the data is kept (Reg. (EU) 2023/1543 Art. 10(1)).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog

from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.lifecycle import (
    AwaitingPreservation,
    DisclosureId,
    PreservationNotAvailable,
    Preserved,
)
from policy.assessment import ObligationCode
from policy.clearance import Clearance, NotCleared
from policy.decision import Await, Permit, Preserve
from policy.hold import HoldError, HoldId, MailboxScope, OrderBasis
from policy.rules import AtExpiry
from storage.errors import AlreadyExists, Conflict, StorageError
from storage.holds import HoldRegister, Terms
from storage.identity import AccountId
from storage.located import Located

# What the entry says of a preservation that is called off, since no hold can be placed.
NOT_HELD: Final = ("hold",)
_log: Final = structlog.get_logger("situs.disclosure")


def hold_of(disclosure: DisclosureId) -> HoldId:
    """The hold that keeps what a disclosure is about."""
    return HoldId.parse(str(disclosure))


def hold_terms(decision: Preserve | Await | Permit, account: AccountId) -> Terms:
    """What to keep, and until when, as the decision says it."""
    verified = decision.verified
    order = verified.order
    until, at_expiry = _end(decision)
    return Terms(
        scope=MailboxScope(str(account), order.target),
        basis=OrderBasis(
            order.instrument, order.reference, verified.issuer.name, order.issuing_state, verified.digest
        ),
        timespan=order.timespan,
        matter=order.matter,
        until=until,
        at_expiry=at_expiry,
    )


def _end(decision: Preserve | Await | Permit) -> tuple[datetime | None, AtExpiry]:
    """The preservation's own end; for a release that waits, when neither the wait nor the order goes on.

    While an emergency's validation is owed, no longer than until then: what nobody validates is let
    go by itself (Reg. (EU) 2023/1543 Art. 4(5)), and the validation prolongs the hold.
    """
    until, at_expiry = _own_end(decision)
    for owed in decision.assessment.obligations:
        if owed.code == ObligationCode.VALIDATION:
            return owed.due if until is None else min(until, owed.due), at_expiry
    return until, at_expiry


def _own_end(decision: Preserve | Await | Permit) -> tuple[datetime | None, AtExpiry]:
    if not isinstance(decision, Preserve):
        expires, due = decision.verified.order.expires_at, decision.assessment.due
        return max(expires, due or expires), AtExpiry.LAPSE
    for owed in decision.assessment.obligations:
        if owed.code == ObligationCode.DESTROY:
            return owed.due, AtExpiry.DESTROY
        if owed.code == ObligationCode.PRESERVATION_ENDS:
            return owed.due, AtExpiry.LAPSE
    return None, AtExpiry.LAPSE  # kept until somebody releases it: never let go for want of a date


async def keep_meanwhile(
    register: HoldRegister,
    decision: Await | Permit,
    located: Located,
    disclosure: DisclosureId,
    by: Clearance,
) -> str:
    """The hold while a release waits, in force when this returns. Raises StorageError, HoldError."""
    hold = await register.place(hold_terms(decision, located.account), by, reference=hold_of(disclosure))
    return str(hold.id)


async def must_keep(
    register: HoldRegister, decision: Await | Permit, located: Located, now: datetime
) -> bool:
    """Whether the data is kept until this production order is answered.

    While the enforcing authority may speak (Reg. (EU) 2023/1543 Art. 10(1)); and where a preservation
    order has kept it so far, whose own end may come first: it is kept until production (Art. 11(1)-(2)).
    Raises StorageError.
    """
    if isinstance(decision, Await):
        return True
    standing = await register.on(located.account)
    return any(isinstance(hold.basis, OrderBasis) and hold.keeps(now) for hold in standing)


async def preserve(
    register: HoldRegister,
    docket: Docket,
    filed: Filed,
    terms: Terms,
    by: Clearance,
    now: datetime,
    give_up: Callable[[], Awaitable[object]],
) -> Filed:
    """Place the hold of a preservation order, and say what came of it.

    The register logs the hold. `give_up` commits the entry for one that can never be placed, and may raise.
    A fault of the moment leaves the disclosure in AwaitingPreservation: the order was received and
    decided, and `resume` goes on with it. The hold may be in force by then, which is the safe side.
    """
    state = filed.disclosure
    if not isinstance(state, AwaitingPreservation):
        return filed  # filed before, by the request that this one repeats
    try:
        hold = await register.place(terms, by, reference=hold_of(state.case.id))
    except (NotCleared, HoldError, AlreadyExists) as error:
        await give_up()
        return await _moved(docket, filed, state.fail(str(error), now))
    except StorageError as error:
        _log.error("hold not confirmed, will be placed again", reason=str(error))
        return filed
    return await _moved(docket, filed, state.preserve(str(hold.id), now))


async def _moved(docket: Docket, filed: Filed, to: Preserved | PreservationNotAvailable) -> Filed:
    try:
        return await docket.move(filed, to)
    except Conflict:  # another process has placed the same hold, and said so
        return await docket.get(to.case.id)
