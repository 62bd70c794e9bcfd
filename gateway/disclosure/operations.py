"""The operations of the API as one table: `openapi` describes them, a test compares them with the routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from pydantic import BaseModel

from gateway.disclosure import hold_models, models, order_models
from gateway.disclosure.figures import TransparencyQuery
from gateway.disclosure.problems import Kind

_BODY: Final = (Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.MEDIA_TYPE, Kind.TIMEOUT)
_FOUND: Final = (Kind.NOT_FOUND,)


@final
@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer` is a model, or a media type for what is no JSON of ours;
    `also` has the other media types that may be asked for."""

    method: str
    path: str
    name: str
    summary: str
    answer: type[BaseModel] | str
    status: int = 200
    asks: type[BaseModel] | None = None
    asks_for_body: bool = False
    query: type[BaseModel] | None = None
    problems: tuple[Kind, ...] = ()
    public: bool = False
    conditional: bool = False
    also: tuple[str, ...] = ()


_DISCLOSURE: Final = "/v1/disclosures/{id}"
_HOLD: Final = "/v1/holds/{id}"

OPERATIONS: Final = (
    Operation(
        "post",
        "/v1/disclosures",
        "presentOrder",
        "Present a signed order. Role: intake. Whatever comes of it is an entry in the audit log. "
        "403 `refused` carries the whole decision; 409 `replay` is an order that was presented before.",
        models.Disclosure,
        status=201,
        asks=models.DisclosureRequest,
        asks_for_body=True,
        problems=(
            *_BODY,
            Kind.REFUSED,
            Kind.REPLAY,
            Kind.OTHER_REGION,
            Kind.MALFORMED_ORDER,
            Kind.IDEMPOTENCY,
        ),
    ),
    Operation(
        "get",
        "/v1/disclosures",
        "listDisclosures",
        "What the operator may see, a page at a time. Role: any. Ordered by creation, or by due time "
        "with what is never due last.",
        models.DisclosureList,
        query=models.DisclosureQuery,
    ),
    Operation(
        "get",
        _DISCLOSURE,
        "getDisclosure",
        "One disclosure. Role: any, in its region. A change with its `ETag` as `If-Match` is made to "
        "this one or not at all (412).",
        models.Disclosure,
        problems=_FOUND,
        conditional=True,
    ),
    Operation(
        "post",
        _DISCLOSURE + ":approve",
        "approveDisclosure",
        "Approve, and have the package made. Role: approver, never the one who asked. The order is "
        "verified and decided again first. The answer waits for the package for some seconds: "
        "`Disclosed`, or `AwaitingDisclosure` while a large one is still being made.",
        models.Disclosure,
        asks=models.ApprovalRequest,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.SAME_PERSON, Kind.STATE, Kind.STALE, Kind.REFUSED),
    ),
    Operation(
        "post",
        _DISCLOSURE + ":reject",
        "rejectDisclosure",
        "Reject. Role: approver, never the one who asked.",
        models.Disclosure,
        asks=models.RejectionRequest,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.SAME_PERSON, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "get",
        _DISCLOSURE + "/package",
        "getManifest",
        "The package's manifest, in the clear: names, sizes and digests. Role: intake. "
        "Each fetch is an attempt.",
        models.Manifest,
        problems=(*_FOUND, Kind.ROLE, Kind.STATE, Kind.NOT_READY, Kind.PACKAGE_EXPIRED),
        conditional=True,
    ),
    Operation(
        "get",
        _DISCLOSURE + "/package/{part}",
        "getPart",
        "One part of the package, by its name in the manifest: CMS EnvelopedData in DER, encrypted to "
        "the order's `deliver_to` or to the authority that made it. `openssl cms -decrypt -inform DER "
        "-binary -in PART -recip CERT -inkey KEY -out NAME` gives a file whose SHA-256 and size are the "
        "manifest's `sha256` and `size`. `content-*.zip` holds one EML file for each of the manifest's "
        "`messages`, at its `path`. Role: intake. Each fetch is an attempt.",
        "application/pkcs7-mime",
        problems=(*_FOUND, Kind.ROLE, Kind.STATE, Kind.NOT_READY, Kind.PACKAGE_EXPIRED),
    ),
    Operation(
        "post",
        _DISCLOSURE + ":answer",
        "recordAnswer",
        "Record what the enforcing authority said. Role: intake. `cleared` ends the wait, and an approved "
        "release follows by itself; `objected` cancels the disclosure.",
        models.Disclosure,
        asks=models.AnswerRequest,
        asks_for_body=True,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "post",
        _DISCLOSURE + ":validate",
        "recordValidation",
        "Bring the validation that an emergency's order owes: the same order with the validating signature. "
        "Role: intake. Without one in time the disclosure is `Cancelled` and its package deleted.",
        models.Disclosure,
        asks=models.ValidationRequest,
        asks_for_body=True,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.STATE, Kind.STALE, Kind.REFUSED, Kind.MALFORMED_ORDER),
    ),
    Operation(
        "post",
        _DISCLOSURE + ":confirm",
        "confirmProduction",
        "Record that a production order was issued for what a European Preservation Order keeps (Form 5, "
        "Reg. (EU) 2023/1543 Art. 11). Role: intake. The hold goes on until two custodians release it.",
        models.Disclosure,
        asks=models.ConfirmationRequest,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "get",
        "/v1/orders",
        "listOrders",
        "The orders of the regions where the operator may read them, in the order of their ids. "
        "Role: intake, approver or auditor.",
        order_models.OrderList,
        query=order_models.OrderQuery,
        problems=(Kind.ROLE,),
    ),
    Operation(
        "get",
        "/v1/orders/{order}",
        "getOrder",
        "One order as received, with its verification and its disclosures. Role: intake, approver or "
        "auditor. Looking at it is an attempt.",
        order_models.SignedOrder,
        problems=(*_FOUND, Kind.ROLE),
    ),
    Operation(
        "post",
        "/v1/holds",
        "placeHold",
        "Place a legal hold on a mailbox, on those of a matter, or on a domain. Role: custodian. It is in "
        "force when this is answered.",
        hold_models.Hold,
        status=201,
        asks=hold_models.HoldRequest,
        asks_for_body=True,
        problems=(*_BODY, Kind.ROLE, Kind.REFUSED, Kind.MALFORMED_ORDER, Kind.STATE),
    ),
    Operation(
        "get",
        "/v1/holds",
        "listHolds",
        "The holds of the regions where the operator is a custodian, in the order of placing.",
        hold_models.HoldList,
        query=models.PageQuery,
        problems=(Kind.ROLE,),
    ),
    Operation(
        "get",
        _HOLD,
        "getHold",
        "One hold. Role: custodian. A change with its `ETag` as `If-Match` is made to what was read, or not "
        "at all (412).",
        hold_models.Hold,
        conditional=True,
        problems=(*_FOUND, Kind.ROLE),
    ),
    Operation(
        "post",
        _HOLD + ":release",
        "releaseHold",
        "Release a hold, or shorten it. Role: custodian, and it takes two: the first call proposes with a "
        "`reason`, the second, by another custodian, confirms: with `proposal` or `until`, that one and no "
        "other. What was held is kept for 30 days more.",
        hold_models.Hold,
        asks=hold_models.HoldReleaseRequest,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.SAME_PERSON, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "post",
        _HOLD + ":reject",
        "rejectHoldRelease",
        "Take a proposal to release off the table. Role: custodian.",
        hold_models.Hold,
        problems=(*_FOUND, Kind.ROLE, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "post",
        _HOLD + ":prolong",
        "prolongHold",
        "A later end, or none. Role: custodian; one suffices. What an order preserves can be prolonged "
        "as far as its law goes: for a European Preservation Order once, by 30 days (Form 6).",
        hold_models.Hold,
        asks=hold_models.HoldProlongRequest,
        asks_for_body=True,
        problems=(*_BODY, *_FOUND, Kind.ROLE, Kind.STATE, Kind.STALE),
    ),
    Operation(
        "get",
        "/v1/audit/{region}/entries",
        "listEntries",
        "Entries of a region's audit log. Role: auditor.",
        hold_models.AuditEntryList,
        query=hold_models.AuditQuery,
        problems=(*_FOUND, Kind.ROLE),
    ),
    Operation(
        "get",
        "/v1/audit/{region}/entries/{index}/proof",
        "getProof",
        "An entry with its inclusion proof and a signed checkpoint. Role: auditor.",
        hold_models.AuditProof,
        problems=(*_FOUND, Kind.ROLE),
    ),
    Operation(
        "get",
        "/v1/audit/{region}/checkpoint",
        "getCheckpoint",
        "The log's signed checkpoint (https://c2sp.org/tlog-checkpoint).",
        "text/plain",
        problems=_FOUND,
        public=True,
    ),
    Operation(
        "get",
        "/v1/audit/{region}/tile/{level}/{tile}",
        "getTile",
        "A tile, or with the level `entries` a bundle, byte for byte (https://c2sp.org/tlog-tiles). In a "
        "large log the path goes on: `x001/234`. A partial tile is `{tile}.p/{width}`.",
        "application/octet-stream",
        problems=_FOUND,
        public=True,
    ),
    Operation("get", "/openapi.json", "getDescription", "This document.", "application/json", public=True),
    Operation("get", "/healthz/live", "getLive", "The process answers.", "application/json", public=True),
    Operation(
        "get",
        "/healthz/ready",
        "getReady",
        "Every region served here can be read, and its log written.",
        "application/json",
        public=True,
    ),
    Operation(
        "get",
        "/v1/law",
        "getLaw",
        "The lawbook in force: digest and instruments.",
        "application/json",
        public=True,
    ),
    Operation(
        "get",
        "/v1/transparency",
        "getTransparency",
        "Requests by period, requesting state, instrument, category and outcome, computed from each "
        "region's verified log, with the checkpoint. As JSON, CSV or SVG (`format`).",
        "application/json",
        query=TransparencyQuery,
        problems=(Kind.INVALID_REQUEST, Kind.RATE_LIMITED),
        public=True,
        also=("text/csv", "image/svg+xml"),
    ),
    Operation("get", "/metrics", "getMetrics", "Prometheus text.", "text/plain", public=True),
)
