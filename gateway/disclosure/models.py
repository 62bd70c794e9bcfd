"""The words of the API: what requests are checked against, what answers are made of, and what
`/openapi.json` is generated from. One set of models, so that the three cannot drift apart.

Inside, times and categories are `datetime` and `DataCategory`; these models are the edge.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from policy.assessment import EnforcingAnswer
from policy.order import ClaimError, DataCategory, IssuerRole, SignatureRole, parse_moment

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", description="Names its algorithm")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, in hexadecimal")]
Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="32 hexadecimal digits")]
RegionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+){1,4}$", max_length=40)]
Moment = Annotated[datetime, Field(description="RFC 3339, UTC")]
Count = Annotated[int, Field(ge=0)]


def _rfc3339(value: object) -> object:
    """pydantic takes numbers and dates for times too; the API's schema says RFC 3339, and means it."""
    try:
        return parse_moment(value if isinstance(value, str) else None, "time")
    except ClaimError as error:
        raise ValueError(error.rule) from None


GivenMoment = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]


class Status(StrEnum):
    """Where a disclosure stands, in the words of ETSI TS 103 120."""

    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_DISCLOSURE = "AwaitingDisclosure"
    DISCLOSED = "Disclosed"
    DISCLOSURE_NOT_AVAILABLE = "DisclosureNotAvailable"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    AWAITING_PRESERVATION = "AwaitingPreservation"
    PRESERVED = "Preserved"
    PRESERVATION_NOT_AVAILABLE = "PreservationNotAvailable"


class Asked(BaseModel):
    """Something that a caller sends. What we do not understand we would break: it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(BaseModel):
    """Something that the gateway sends."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _no_repetition(categories: list[DataCategory]) -> list[DataCategory]:
    if len(set(categories)) != len(categories):
        raise ValueError("a category stands twice")
    return categories


class DisclosureRequest(Asked):
    """A signed order, and what of it the operator asks for."""

    order: Annotated[
        str | dict[str, Any],
        Field(description="JWS (RFC 7515): compact as a string, or general JSON as an object or a string"),
    ]
    requested: Annotated[
        list[DataCategory],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_no_repetition),
    ]
    renditions: Annotated[
        list[Rendition], Field(max_length=1, description="Forms of the content besides EML")
    ] = []


class Rendition(StrEnum):
    """Another form in which content is wanted, besides EML."""

    MBOX = "mbox"


class ApprovalRequest(Asked):
    """The body of `:approve`; it may be left out."""

    decision: Annotated[
        Digest | None,
        Field(description="`decision_digest` of the decision that the approver read; refused where stale"),
    ] = None
    note: Annotated[str | None, Field(max_length=1000)] = None


class RejectionRequest(Asked):
    """The body of `:reject`; it may be left out."""

    reason: Annotated[str | None, Field(max_length=1000)] = None


class AnswerRequest(Asked):
    """The body of `:answer`: what the enforcing authority said, as whoever brings it records it."""

    enforcing_authority: Literal[EnforcingAnswer.CLEARED, EnforcingAnswer.OBJECTED]
    note: Annotated[str | None, Field(max_length=1000)] = None


class ValidationRequest(Asked):
    """The body of `:validate`: the same order, with the validating authority's signature."""

    order: Annotated[
        str | dict[str, Any],
        Field(description="General JSON (RFC 7515 7.2.1), as an object or a string: two signatures at least"),
    ]


class ConfirmationRequest(Asked):
    """The body of `:confirm`; it may be left out. A production order follows what was preserved (Form 5)."""

    production: Annotated[
        str | None, Field(min_length=1, max_length=256, description="The production order's reference")
    ] = None


class Audit(Told):
    """The log entry that records the attempt."""

    region: str
    index: Count


class _Decided(BaseModel):
    """A part of a decision, as `policy.assessment` words it. A later lawbook may have more to say."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class Finding(_Decided):
    """One step of the decision."""

    code: str
    ok: bool
    detail: str
    source: str


class Obligation(_Decided):
    """What the provider, or the authority towards it, owes by a time."""

    code: str
    due: Moment
    detail: str
    source: str


class Conflict(_Decided):
    """A foreign law that may bind the provider elsewhere, and its clock."""

    code: str
    law: str
    due: Moment | None = None
    detail: str


class Remedy(_Decided):
    """An instrument that would open this mailbox, who may issue it, and by which route."""

    instrument: str
    issuer_roles: list[IssuerRole]
    route: str


class Decision(_Decided):
    """The shape of `situs law explain`."""

    outcome: Literal["permit", "preserve", "await", "refuse"]
    categories: list[DataCategory]
    findings: list[Finding]
    obligations: list[Obligation]
    conflict: Conflict | None
    remedies: list[Remedy]
    due: Moment | None
    lawbook: Digest


class Links(Told):
    """Where to go next."""

    self: str
    package: str | None = None


class Signature(Told):
    """Who has put a signature under the order, as the trust list knows them."""

    name: str
    role: SignatureRole
    jurisdiction: str
    issuer_roles: list[IssuerRole]


class Disclosure(Told):
    """One order, the decision on it, and what became of it."""

    id: Identifier
    status: Status
    region: RegionName
    """Where the mailbox lies: whose law decided."""
    reference: str
    """The order's own reference, its `jti`."""
    matter: str | None
    instrument: str
    issuer: str
    signatures: list[Signature]
    order_digest: Digest
    requested: list[DataCategory]
    renditions: list[Rendition]
    """Forms of the content that were asked for besides EML."""
    carried: list[DataCategory]
    """What the decision lets out of what was asked for."""
    decision: Decision
    decision_digest: Digest
    asked_by: str
    created: Moment
    due: Moment | None
    expires: Moment
    """When the order itself lapses: not approved by then, the disclosure is `Expired`."""
    decided_by: str | None = None
    decided: Moment | None = None
    reason: str | None = None
    hold: str | None = None
    """The legal hold that keeps the data meanwhile, or for good where the order preserves."""
    audit: Audit
    links: Links


class DisclosureList(Told):
    """One page."""

    disclosures: list[Disclosure]
    nextPageToken: str | None = None  # the names that DESIGN 9 gives


class Message(Told):
    """One message of the package, findable inside the part `part` at `path`."""

    part: str
    path: str
    message_id: Identifier
    received_at: Moment
    size: Count
    sha256: Sha256
    deleted_by_owner: bool = False
    """The owner had deleted it; a legal hold has kept it."""


class Part(Told):
    """One file of the package: CMS EnvelopedData (DER) that opens to `media_type`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=80)]
    media_type: str
    size: Count
    sha256: Sha256
    """Of the plaintext, as are `size` and `media_type`."""
    encrypted_size: Count
    encrypted_sha256: Sha256


class Omission(Told):
    """Something selected that could not be handed over, and why."""

    message_id: str | None = None
    code: str
    detail: str


class Custody(Told):
    """Who did what, when, with which software."""

    asked_by: str
    asked: Moment
    approved_by: str
    approved: Moment
    packaged: Moment
    software: str
    recipient: Digest
    """SHA-256 of the certificate (DER) that the parts are encrypted to."""


class Counts(Told):
    messages: Count
    traffic_records: Count
    errors: Count


class Manifest(Told):
    """What the package holds. It names no personal data, and so travels in the clear."""

    manifest: Literal["situs-package/1"]
    disclosure: Identifier
    region: RegionName
    reference: str
    categories: list[DataCategory]
    timespan_start: Moment | None
    timespan_end: Moment | None
    decision_digest: Digest
    order_digest: Digest
    audit: Audit
    custody: Custody
    counts: Counts
    parts: list[Part]
    errors: list[Omission]
    expires: Moment
    messages: list[Message]


class ProblemDocument(BaseModel):
    """RFC 9457. `deploy/problems.md` lists the types and their extension members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str
    audit: Audit | None = None
    decision: Decision | None = None


class PageQuery(Asked):
    """The query of a list."""

    pageSize: Annotated[int, Field(ge=1, le=200)] = 50
    pageToken: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_=-]{1,400}$")] = None


class DisclosureQuery(PageQuery):
    """The query of `GET /v1/disclosures`."""

    status: Status | None = None
    matter: Annotated[str | None, Field(max_length=256)] = None
    region: RegionName | None = None
    dueBefore: GivenMoment | None = None
    orderBy: Literal["created", "due"] = "created"
