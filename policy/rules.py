"""The words that a lawbook is written in: what each kind of rule says, and nothing else.

Every rule carries where it stands written (`source`) and whether anybody has confirmed it.
A rule that is not confirmed still works; the decision that used it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import final

from policy.geography import Jurisdiction
from policy.order import DataCategory, IssuerRole


class Deed(StrEnum):
    """What an instrument obliges a provider to do."""

    PRODUCE = "produce"
    PRESERVE = "preserve"


class Opens(StrEnum):
    """What gives an instrument force at the place of storage."""

    ISSUE = "issue"  # the issuing authority's own word
    AGREEMENT = "agreement"  # an agreement of the storage state with the issuing state
    RECOGNITION = "recognition"  # an authority of the storage state that takes it up


class AtExpiry(StrEnum):
    """What becomes of a preserved copy when the preservation ends."""

    LAPSE = "lapse"  # ordinary retention resumes
    DESTROY = "destroy"


class CountedFrom(StrEnum):
    """The day from which a preservation runs."""

    RECEIPT = "receipt"
    ISSUE = "issue"


class JurisdictionKind(StrEnum):
    """A state; a union whose law holds in its members; or what is the same anywhere."""

    STATE = "state"
    UNION = "union"
    ANYWHERE = "anywhere"


@final
@dataclass(frozen=True, slots=True)
class Citation:
    """Where a rule stands, and whether a source confirms it (LAW.md's `(?)` is False)."""

    source: str
    confirmed: bool


@final
@dataclass(frozen=True, slots=True)
class Dates:
    """When a rule is law: from the first moment of `since` until that of `until`, UTC."""

    since: datetime
    until: datetime | None

    def cover(self, received_at: datetime, now: datetime) -> bool:
        """True where an order received at `received_at` and decided at `now` meets the rule.

        Both moments count: an order that came before the rule is not one under the rule
        (Reg. (EU) 2023/1543 Art. 34(2)), and a rule repealed since then carries nothing.
        """
        return self.since <= received_at and (self.until is None or now < self.until)

    def __str__(self) -> str:
        since = f"in force from {self.since.date()}"
        return since if self.until is None else f"{since} until {self.until.date()}"


@final
@dataclass(frozen=True, slots=True)
class OffenceTest:
    """Which offences are grave enough: stated at all, `years` at the maximum, or a listed one."""

    years: float
    or_listed: bool


@final
@dataclass(frozen=True, slots=True)
class Grant:
    """Who may ask for which categories with an instrument.

    `issuers` ask alone. `validated_issuers` ask with the signature of one of `validators`,
    or, where `validation_within` is set, in an emergency without it for so long.
    """

    categories: frozenset[DataCategory]
    issuers: frozenset[IssuerRole]
    validated_issuers: frozenset[IssuerRole]
    validators: frozenset[IssuerRole]
    validation_within: timedelta | None
    offence: OffenceTest | None
    timespan_required: bool
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Deadline:
    """How long the provider has; None where the process itself sets it."""

    within: timedelta | None
    emergency_within: timedelta | None
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class EnforcingAuthority:
    """The notification of an authority in the addressee's state, and its time to object."""

    categories: frozenset[DataCategory]
    within: timedelta
    emergency_within: timedelta
    emergency_suspends: bool
    domestic_exempts: bool
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Preservation:
    """How long data is kept, how often that may be prolonged (None: without limit), and then what."""

    lasts: timedelta
    counted_from: CountedFrom
    extension: timedelta | None
    extensions: int | None
    at_expiry: AtExpiry
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Notice:
    """Whether the user is told: the rule in words, and the delay where the law sets one."""

    rule: str
    delay: timedelta | None
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Incomplete:
    """What to answer to an order that cannot be carried out as it stands."""

    form: str
    within: timedelta
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Instrument:
    """One kind of order. `home` is None for what is the same anywhere (`mla.request`)."""

    id: str
    name: str
    statute: str
    binds: str
    home: Jurisdiction | None
    deed: Deed
    opens: Opens
    membership: str | None
    dates: Dates
    void_unless_served_within_months: int | None
    grants: tuple[Grant, ...]
    deadline: Deadline | None
    enforcing_authority: EnforcingAuthority | None
    preservation: Preservation | None
    notice: Notice | None
    incomplete: Incomplete | None
    notes: tuple[str, ...]
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Recognition:
    """How a state takes up a foreign request.

    `accepts` names instruments; `accepts_any` means mutual assistance: `mla.request` and any
    order of a foreign state. A union's instruments travel by their own rules and must be named.
    """

    id: str
    name: str
    accepts: frozenset[str]
    accepts_any: bool
    categories: frozenset[DataCategory]
    recognisers: frozenset[IssuerRole]
    dates: Dates
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Agreement:
    """A treaty by which a state lets another's instruments reach what is stored with it.

    A target who is a national of, or is in, one of `excluded_targets` is carved out.
    """

    id: str
    name: str
    partner: Jurisdiction
    instruments: frozenset[str]
    categories: frozenset[DataCategory]
    excluded_targets: frozenset[Jurisdiction]
    offence: OffenceTest | None
    route: str
    dates: Dates
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """A law that claims data stored elsewhere from a provider that it can get hold of.

    `objection` is the clock of the provider's own statutory objection. It exists for storage
    in a state that has an agreement (`objection_needs_agreement`), or in any state but those
    of `objection_not_for`; elsewhere `otherwise` says what remains.
    """

    law: str
    instruments: frozenset[str]
    objection: timedelta | None
    objection_law: str
    objection_needs_agreement: bool
    objection_not_for: frozenset[Jurisdiction]
    otherwise: str
    dates: Dates
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Blocking:
    """A law of the storage state that forbids answering a foreign authority directly."""

    law: str
    rule: str
    citation: Citation


@final
@dataclass(frozen=True, slots=True)
class Membership:
    """Whom a union's act binds: each state with the dates of its being bound."""

    id: str
    name: str
    states: Mapping[Jurisdiction, Dates]
    citation: Citation

    def binds(self, state: Jurisdiction, received_at: datetime, now: datetime) -> bool:
        """True where `state` was bound when the order came, and still is."""
        dates = self.states.get(state)
        return dates is not None and dates.cover(received_at, now)


@final
@dataclass(frozen=True, slots=True)
class Law:
    """One lawbook file: the law of one jurisdiction."""

    file: str
    code: Jurisdiction | None
    name: str
    kind: JurisdictionKind
    notes: tuple[str, ...]
    blocking: Blocking | None
    memberships: tuple[Membership, ...]
    instruments: tuple[Instrument, ...]
    recognitions: tuple[Recognition, ...]
    agreements: tuple[Agreement, ...]
    reaches: tuple[Reach, ...]
