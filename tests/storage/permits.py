"""A RecordedPermit by the only way there is: signed, verified, decided, approved, committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.law import packaged_lawbook
from policy.address import Address
from policy.clearance import ApprovedPermit, Operator, Role, approve, clear
from policy.decision import Permit, Setting, decide
from policy.geography import Region
from policy.order import DataCategory, Timespan
from storage.audit.entry import Entry, Event, Result
from storage.audit.log import Committed
from storage.audit.recorded import RecordedPermit, record_release
from tests.policy.pki import NOW, claims, judge, usual_trust, verify


@dataclass
class PlainLedger:
    """A log that commits at once, and can be read."""

    entries: list[Entry] = field(default_factory=list)

    async def append(self, entry: Entry) -> Committed:
        self.entries.append(entry)
        return Committed(entry.region, len(self.entries) - 1, len(self.entries))


def approved(
    target: Address, region: Region, categories: frozenset[DataCategory], timespan: Timespan
) -> ApprovedPermit:
    """A judge of the region's own state asks; two operators see to it."""
    state = str(region.country)
    instrument = {"IE": "ie.production-order", "US": "us.sca-warrant", "DE": "de.stpo-94"}[state]
    order = judge(state).sign(
        claims(
            iss=judge(state).name,
            instrument=instrument,
            issuing_state=state,
            target={"address": str(target)},
            categories=sorted(categories),
            timespan={"start": timespan.start.isoformat(), "end": timespan.end.isoformat()},
            offence={"max_custodial_years": 5},
        )
    )
    verified = verify(order, usual_trust())
    permit = decide(verified, categories, Setting(region, frozenset()), packaged_lawbook(), NOW)
    assert isinstance(permit, Permit), permit.assessment
    second = Operator("second", frozenset({Role.APPROVER}), frozenset({region.code}))
    return approve(permit, asked_by="first", approver=clear(second, Role.APPROVER, region.code))


async def recorded(
    target: Address,
    region: Region,
    categories: frozenset[DataCategory],
    *,
    start: datetime = NOW - timedelta(days=30),
    end: datetime = NOW,
    ledger: PlainLedger | None = None,
) -> RecordedPermit:
    """The release stands in a (plain) log; what opens the mailbox is in hand."""
    release = approved(target, region, categories, Timespan(start, end))
    entry = Entry(
        time=NOW,
        event=Event.DISCLOSURE_RELEASED,
        outcome=Result.PERMIT,
        region=region.code,
        categories=release.permit.categories,
    )
    return await record_release(ledger or PlainLedger(), release, entry)
