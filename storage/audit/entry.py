"""What stands in the log: one event, in canonical JSON, without personal data.

An entry is published for ever. So it names nobody: accounts and operators appear under the
region's keyed pseudonyms, the order and the decision as the salted digest of a record that
stays sealed in the region. What is in the clear is what a court or an NGO may count:
when, where, which instrument, whose authority, what outcome, and why not.

The bytes are RFC 8785 (JCS), so that there is one spelling of an entry; the schema is
`deploy/audit-entry.schema.json`. A change of meaning takes a new `v`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar, final

import rfc8785

from policy.geography import GeographyError, Jurisdiction, RegionCode
from policy.order import DataCategory

VERSION: Final = 1
ENTRY_BYTES: Final = 8192  # far above any honest entry, and below a bundle's 65,535

_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CODE: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*\Z")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_Word = TypeVar("_Word", bound=StrEnum)
_Parsed = TypeVar("_Parsed")


class EntryError(ValueError):
    """A value that may not stand in the log; the message names the field and the rule."""


class Event(StrEnum):
    """Everything that is worth an entry. A route or command without one is a defect."""

    # Attempts at a disclosure route that never reached a decision.
    ATTEMPT_UNAUTHENTICATED = "attempt.unauthenticated"
    ATTEMPT_MALFORMED = "attempt.malformed"
    ATTEMPT_NOT_CLEARED = "attempt.not-cleared"
    ATTEMPT_UNVERIFIED = "attempt.unverified"
    ATTEMPT_REPLAYED = "attempt.replayed"
    ATTEMPT_FAILED = "attempt.failed"  # well-formed and cleared, and then a fault of ours
    # A disclosure's life.
    DISCLOSURE_DECIDED = "disclosure.decided"
    DISCLOSURE_VIEWED = "disclosure.viewed"
    DISCLOSURE_APPROVED = "disclosure.approved"
    DISCLOSURE_REJECTED = "disclosure.rejected"
    DISCLOSURE_ANSWERED = "disclosure.answered"  # an enforcing authority has no objection
    DISCLOSURE_VALIDATED = "disclosure.validated"  # the signature that an emergency's order owed has come
    DISCLOSURE_CONFIRMED = "disclosure.confirmed"  # a production order follows a preservation (Form 5)
    DISCLOSURE_RELEASED = "disclosure.released"  # committed before the first byte is read
    DISCLOSURE_RESUMED = "disclosure.resumed"  # a release that was interrupted is gone on with
    DISCLOSURE_COMPLETED = "disclosure.completed"  # what was found: in full, in part, no data
    DISCLOSURE_CANCELLED = "disclosure.cancelled"
    DISCLOSURE_EXPIRED = "disclosure.expired"
    PACKAGE_FETCHED = "package.fetched"
    # Holds.
    HOLD_PLACED = "hold.placed"
    HOLD_CHANGED = "hold.changed"
    HOLD_VIEWED = "hold.viewed"
    HOLD_RELEASED = "hold.released"
    DELETION_REFUSED = "deletion.refused"  # somebody asked, and a hold forbade it
    # Accounts.
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_SUSPENDED = "account.suspended"
    ACCOUNT_MOVED = "account.moved"
    ACCOUNT_CLOSED = "account.closed"
    ACCOUNT_ERASED = "account.erased"
    MAIL_EXPORTED = "mail.exported"  # the owner's own mail, for the owner (GDPR Art. 15 and 20)
    # The house itself.
    OPERATOR_ADDED = "operator.added"
    OPERATOR_REVOKED = "operator.revoked"
    RETENTION_CHANGED = "retention.changed"
    LAWBOOK_CHANGED = "lawbook.changed"
    TRUST_CHANGED = "trust.changed"
    AUDIT_READ = "audit.read"  # entries joined with their records
    AUDIT_EXPORTED = "audit.exported"
    SERVER_STARTED = "server.started"


class Result(StrEnum):
    """What came of it. The first four are the decision's own words."""

    PERMIT = "permit"
    PRESERVE = "preserve"
    AWAIT = "await"
    REFUSE = "refuse"
    FULL = "full"  # all that the permit carries was there, and was handed over
    PART = "part"
    NO_DATA = "no-data"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. Checked as it is made: raises EntryError naming the field.

    `issuer` is an authority's public name out of the trust list or a verified certificate,
    never a claim that nobody has verified. `operator` and `account` are pseudonyms of this
    region (`storage.audit.pseudonym`); `record` and `subject` are `sha256:` digests, of the
    sealed full record and of the thing the event is about (a lawbook, a trust list, an
    export). `findings` are the codes that failed. `id` is the event's own number: it makes
    two entries different that say the same, without which a batch could not tell its own
    commit from another's.
    """

    time: datetime
    event: Event
    region: RegionCode
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    outcome: Result | None = None
    instrument: str | None = None
    claimed_jurisdiction: Jurisdiction | None = None
    issuer: str | None = None
    requested: frozenset[DataCategory] = frozenset()
    categories: frozenset[DataCategory] = frozenset()
    emergency: bool | None = None
    findings: tuple[str, ...] = ()
    lawbook: str | None = None
    operator: str | None = None
    account: str | None = None
    disclosure: str | None = None
    hold: str | None = None
    subject: str | None = None
    record: str | None = None

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise EntryError("time: an aware time is expected")
        object.__setattr__(self, "time", _milliseconds(self.time))
        for name, pattern in _PATTERNS.items():
            value = getattr(self, name)
            if value is not None and not pattern.match(value):
                raise EntryError(f"{name}: {value!r} does not look like {_LOOKS[pattern]}")
        for code in self.findings:
            if not _CODE.match(code):
                raise EntryError(f"findings: {code!r} is not a finding's code")
        if self.issuer is not None and not (0 < len(self.issuer) <= 256 and self.issuer.isprintable()):
            raise EntryError("issuer: 1 to 256 printable characters are expected")

    def encode(self) -> bytes:
        """The canonical bytes (RFC 8785): what is hashed, stored and published."""
        data = rfc8785.dumps(self.to_json())
        if len(data) > ENTRY_BYTES:
            raise EntryError(f"an entry of {len(data)} bytes: at most {ENTRY_BYTES}")
        return data

    def to_json(self) -> dict[str, Any]:
        """As in the schema: what is absent is left out."""
        values: dict[str, Any] = {
            "v": VERSION,
            "id": self.id,
            "time": self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": self.event.value,
            "region": self.region.value,
            "claimed_jurisdiction": self.claimed_jurisdiction.code if self.claimed_jurisdiction else None,
            "outcome": self.outcome.value if self.outcome else None,
            "requested": sorted(self.requested) or None,
            "categories": sorted(self.categories) or None,
            "findings": list(self.findings) or None,
            "emergency": self.emergency,
        }
        for name in ("instrument", "issuer", "lawbook", "operator", "account", "disclosure", "hold"):
            values[name] = getattr(self, name)
        values["subject"], values["record"] = self.subject, self.record
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Canonical bytes -> Entry. Raises EntryError for bytes that `encode` would not give."""
        try:
            values = json.loads(data, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise EntryError(f"not JSON: {error}") from None
        if not isinstance(values, dict):
            raise EntryError("an entry is a JSON object")
        entry = _from_json(values)
        if entry.encode() != data:
            raise EntryError("not in the canonical form of RFC 8785")
        return entry


_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "id": _ID,
    "instrument": _CODE,
    "lawbook": _DIGEST,
    "operator": _ID,
    "account": _ID,
    "disclosure": _REFERENCE,
    "hold": _REFERENCE,
    "subject": _DIGEST,
    "record": _DIGEST,
}
_LOOKS: Final = {
    _ID: "32 hexadecimal digits",
    _CODE: "a lawbook id",
    _DIGEST: "'sha256:' and 64 hexadecimal digits",
    _REFERENCE: "a reference of 1 to 64 letters, digits, '_', '.' and '-'",
}
_FIELDS: Final = frozenset(Entry.__dataclass_fields__) | {"v"}


def _from_json(values: Mapping[str, Any]) -> Entry:
    if unknown := values.keys() - _FIELDS:
        raise EntryError(f"{min(unknown)}: unknown field")
    version = values.get("v")
    if version != VERSION or isinstance(version, bool):
        raise EntryError(f"v: {version!r}, this program reads version {VERSION}")
    texts = {name: _text(values, name) for name in (*_PATTERNS, "issuer") if name in values}
    if "id" not in texts:
        raise EntryError("id: this field is required")
    region = _parsed(RegionCode.parse, _text(values, "region"), "region")
    jurisdiction = None
    if "claimed_jurisdiction" in values:
        claimed = _text(values, "claimed_jurisdiction")
        jurisdiction = _parsed(Jurisdiction.parse, claimed, "claimed_jurisdiction")
    emergency = values.get("emergency")
    if emergency is not None and not isinstance(emergency, bool):
        raise EntryError("emergency: true or false is expected")
    return Entry(
        time=_time(_text(values, "time")),
        event=_word(values.get("event"), Event, "event"),
        region=region,
        outcome=_word(values["outcome"], Result, "outcome") if "outcome" in values else None,
        claimed_jurisdiction=jurisdiction,
        requested=frozenset(_word(v, DataCategory, "requested") for v in _list(values, "requested")),
        categories=frozenset(_word(v, DataCategory, "categories") for v in _list(values, "categories")),
        emergency=emergency,
        findings=tuple(_list(values, "findings")),
        **texts,
    )


def _parsed(parse: Callable[[str], _Parsed], text: str, name: str) -> _Parsed:
    try:
        return parse(text)
    except GeographyError as error:
        raise EntryError(f"{name}: {error}") from None


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise EntryError(f"{name}: a text is expected")
    return value


def _list(values: Mapping[str, Any], name: str) -> list[str]:
    value = values.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EntryError(f"{name}: a list of texts is expected")
    return value


def _word(value: object, kind: type[_Word], name: str) -> _Word:
    try:
        return kind(str(value))
    except ValueError:
        raise EntryError(f"{name}: {value!r} is unknown") from None


def _time(text: str) -> datetime:
    if not _TIME.match(text):
        raise EntryError(f"time: {text!r} is not RFC 3339 in UTC with milliseconds")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise EntryError(f"time: {text!r} is no possible time") from None


def _milliseconds(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):  # RFC 8785 3.1: I-JSON has no duplicate names
        raise ValueError("a name stands twice")
    return values
