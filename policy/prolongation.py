"""How long what an order preserves may be kept: the lawbook's figures, against what is asked for.

A preservation keeps what would otherwise be deleted, on a person's account, for an authority that has not
asked for it yet. So its end is the law's, and not a custodian's: Reg. (EU) 2023/1543 Art. 11(1) lets it be
prolonged once, by 30 days (Form 6), and without end only once a production order is confirmed (Form 5).
"""

from __future__ import annotations

from datetime import datetime

from policy.hold import Hold, HoldState
from policy.rules import Preservation


def require_lawful(hold: Hold, until: datetime | None, rule: Preservation | None) -> None:
    """May a hold that was placed on an order be prolonged to `until` (None: without end)?

    `rule` is that of the order's instrument; None for one that preserves nothing by itself, whose
    hold ends when it is answered. Raises HoldState, with the citation.
    """
    if rule is None:
        return
    source = rule.citation.source
    if rule.extension is None:
        raise HoldState("until", f"the preservation cannot be prolonged ({source})")
    if until is None:
        raise HoldState(
            "until", f"a preservation has an end until a production order is confirmed ({source})"
        )
    if hold.until is None:
        return  # confirmed: `policy.hold.prolong` has the say
    if (
        rule.extensions is not None
        and hold.until > hold.placed_at + rule.lasts + (rule.extensions - 1) * rule.extension
    ):
        raise HoldState("until", f"it was prolonged before, and can be {rule.extensions} time(s) ({source})")
    latest = hold.until + rule.extension
    if until > latest:
        raise HoldState(
            "until", f"it can be prolonged by {rule.extension.days} days, to {latest.isoformat()} ({source})"
        )
