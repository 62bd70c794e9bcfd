"""What a decision says: the outcome, everything that led to it, and what is owed next.

Words only. The proof that something may be opened is `policy.decision.Permit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, final

from policy.geography import Jurisdiction, Region
from policy.order import DataCategory, IssuerRole
from policy.rules import Citation


class Outcome(StrEnum):
    """What may happen with the mailbox."""

    PERMIT = "permit"  # the categories may be handed over
    PRESERVE = "preserve"  # they may be kept, and not handed over
    AWAIT = "await"  # valid, but release waits until `due`
    REFUSE = "refuse"


class FindingCode(StrEnum):
    """The questions that a decision answers. Other modules add `replay`, `hold` and the like."""

    IN_FORCE = "in-force"
    SIGNATURE = "signature"
    ISSUER_ROLE = "issuer-role"
    STORAGE_LAW = "storage-law"
    RECOGNITION = "recognition"
    AGREEMENT = "agreement"
    TARGET = "target"
    BLOCKING_STATUTE = "blocking-statute"
    CATEGORY = "category"
    VALIDATION = "validation"
    OFFENCE_THRESHOLD = "offence-threshold"
    TIMESPAN = "timespan"
    ENFORCING_AUTHORITY = "enforcing-authority"
    DEADLINE = "deadline"
    NOTICE = "notice"
    UNCONFIRMED = "unconfirmed"


class ObligationCode(StrEnum):
    """What the provider, or the authority towards it, owes by a time."""

    PRODUCTION = "production-deadline"
    ENFORCING_AUTHORITY = "enforcing-authority"
    VALIDATION = "validation"
    PRESERVE = "preserve"
    PRESERVATION_ENDS = "preservation-ends"
    DESTROY = "destroy"
    NOTICE_DELAY = "notice-delay"
    FORM_3 = "form-3"


@final
class Finding(NamedTuple):  # a third of a frozen dataclass's cost, and a decision has ten
    """One question answered. `ok` is False where the answer takes away from what was asked.

    A finding that is ok may still be a remark that counsel should read (`unconfirmed`).
    """

    code: str
    ok: bool
    detail: str
    source: str


@final
class Obligation(NamedTuple):
    """What is owed, and when at the latest."""

    code: str
    due: datetime
    detail: str
    source: str


@final
@dataclass(frozen=True, slots=True)
class Conflict:
    """A foreign law that may bind the provider to what is refused here; `due` ends its objection."""

    code: str
    law: str
    due: datetime | None
    detail: str


@final
@dataclass(frozen=True, slots=True)
class Remedy:
    """An instrument that would open this mailbox, who may issue it, and how it comes here."""

    instrument: str
    issuer_roles: tuple[IssuerRole, ...]
    route: str


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """The place and the provider: where the mailbox is stored, where the provider has entities.

    `addressee` is the state of the establishment that the order was addressed to; left out, it
    is taken to be the state of storage.
    """

    region: Region
    provider_entities: frozenset[Jurisdiction]
    addressee: Jurisdiction | None = None


class EnforcingAnswer(StrEnum):
    """What has been heard from the enforcing authority (Reg. (EU) 2023/1543 Art. 8, 12)."""

    NOTHING = "nothing"
    CLEARED = "cleared"
    OBJECTED = "objected"


@final
@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known besides the order's own words.

    `received_at` starts every clock (None: the decision's own moment). `target_state` is where
    the target is and belongs, as far as somebody answers for it; None is unknown.
    """

    received_at: datetime | None = None
    enforcing_authority: EnforcingAnswer = EnforcingAnswer.NOTHING
    target_state: Jurisdiction | None = None


@final
@dataclass(frozen=True, slots=True)
class Assessment:
    """The whole answer. `lawbook` is the digest of the law that it was made under."""

    outcome: Outcome
    categories: frozenset[DataCategory]
    findings: tuple[Finding, ...]
    obligations: tuple[Obligation, ...]
    conflict: Conflict | None
    remedies: tuple[Remedy, ...]
    due: datetime | None
    lawbook: str

    def to_json(self) -> dict[str, Any]:
        """The JSON of `situs law explain`; same assessment, same bytes when it is dumped."""
        return {
            "outcome": self.outcome.value,
            "categories": [category.value for category in DataCategory if category in self.categories],
            "findings": [
                {"code": str(item.code), "ok": item.ok, "detail": item.detail, "source": item.source}
                for item in self.findings
            ],
            "obligations": [
                {
                    "code": str(item.code),
                    "due": rfc3339(item.due),
                    "detail": item.detail,
                    "source": item.source,
                }
                for item in self.obligations
            ],
            "conflict": _conflict_json(self.conflict),
            "remedies": [
                {
                    "instrument": item.instrument,
                    "issuer_roles": [role.value for role in item.issuer_roles],
                    "route": item.route,
                }
                for item in self.remedies
            ],
            "due": rfc3339(self.due) if self.due else None,
            "lawbook": self.lawbook,
        }


def unconfirmed(citation: Citation, what: str) -> Finding:
    """The remark on a rule that no source confirms; it takes nothing away."""
    return Finding(
        FindingCode.UNCONFIRMED,
        True,
        f"{what}: no source confirms this rule; counsel should",
        citation.source,
    )


def rfc3339(moment: datetime) -> str:
    """`2026-08-18T00:00:00Z`."""
    return moment.isoformat().replace("+00:00", "Z")


def _conflict_json(conflict: Conflict | None) -> dict[str, Any] | None:
    if conflict is None:
        return None
    return {
        "code": conflict.code,
        "law": conflict.law,
        "due": rfc3339(conflict.due) if conflict.due else None,
        "detail": conflict.detail,
    }
