"""How long what an order preserves may be kept: the lawbook's figures, against what is asked for.

A preservation keeps what would otherwise be deleted, on a person's account, for an authority that has not
asked for it yet. So its end is the law's, and not a custodian's: Reg. (EU) 2023/1543 Art. 11(1) lets it be
prolonged once, by 30 days (Form 6), and without end only once a production order is confirmed (Form 5).
"""

from __future__ import annotations

from datetime import datetime

from policy.hold import Hold, HoldState, OrderBasis
from policy.lawbook import Lawbook
from policy.rules import Preservation


def require_lawful(hold: Hold, until: datetime | None, lawbook: Lawbook) -> None:
    """May a hold be prolonged to `until` (None: without end)? Raises HoldState, with the citation.

    Our own litigation's hold may, and that of an order that preserves nothing by itself: it ends when
    the order is answered.
    """
    rule = preservation_of(hold, lawbook)
    if rule is None:
        return
    latest = latest_end(hold, rule)
    source = rule.citation.source
    if until is None:
        raise HoldState(
            "until", f"a preservation has an end until a production order is confirmed ({source})"
        )
    if latest is not None and rule.extension is not None and until > latest:
        raise HoldState(
            "until", f"it can be prolonged by {rule.extension.days} days, to {latest.isoformat()} ({source})"
        )


def preservation_of(hold: Hold, lawbook: Lawbook) -> Preservation | None:
    """The rule by which an order's hold preserves; None where its end is nobody's but the custodian's."""
    instrument = lawbook.instrument(hold.basis.instrument) if isinstance(hold.basis, OrderBasis) else None
    return instrument.preservation if instrument is not None else None


def latest_end(hold: Hold, rule: Preservation) -> datetime | None:
    """The latest end that a preservation can be given by one more prolongation; None: it has no end.

    Raises HoldState, with the citation, where there is no further prolongation.
    """
    source = rule.citation.source
    if rule.extension is None:
        raise HoldState("until", f"the preservation cannot be prolonged ({source})")
    if hold.until is None:
        return None  # confirmed: `policy.hold.prolong` has the say
    if (
        rule.extensions is not None
        and hold.until > hold.placed_at + rule.lasts + (rule.extensions - 1) * rule.extension
    ):
        raise HoldState("until", f"it was prolonged before, and can be {rule.extensions} time(s) ({source})")
    return hold.until + rule.extension
