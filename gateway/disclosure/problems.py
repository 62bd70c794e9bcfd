"""Every answer that is not the one asked for: RFC 9457 problems with stable types.

`deploy/problems.md` lists the same kinds for the people who meet them; a test compares the two.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, final

from aiohttp import web
from pydantic import ValidationError

_BASE: Final = "https://situs.example/problems/"
MEDIA_TYPE: Final = "application/problem+json"


@final
@dataclass(frozen=True, slots=True)
class AuditReference:
    """Where the attempt stands in the log: what the answer carries as `audit`."""

    region: str
    index: int

    def to_json(self) -> dict[str, str | int]:
        return {"region": self.region, "index": self.index}


class Kind(Enum):
    """A type of problem: its code, its status, and its title, which never varies (RFC 9457 3.1.3)."""

    MALFORMED_REQUEST = ("malformed-request", 400, "The request cannot be read")
    UNAUTHENTICATED = ("unauthenticated", 401, "No valid operator token was given")
    CLEARANCE = ("clearance", 403, "Not cleared for this mailbox, or there is no such mailbox")
    REFUSED = ("refused", 403, "The law of the place where the mailbox lies does not carry this order")
    ROLE = ("role", 403, "The operator does not hold the role that this asks for")
    CROSS_SITE = ("cross-site", 403, "The form was not sent from the console's own page")
    SAME_PERSON = ("same-person", 403, "The one who asked cannot decide")
    NOT_FOUND = ("not-found", 404, "There is nothing here")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "This resource does not take that method")
    TIMEOUT = ("timeout", 408, "The request did not arrive in time")
    REPLAY = ("replay", 409, "This order has been presented before")
    STATE = ("state", 409, "The disclosure is in a state that does not allow this")
    NOT_READY = ("not-ready", 409, "The package is not ready yet")
    PACKAGE_EXPIRED = ("package-expired", 410, "The package has expired")
    STALE = ("stale", 412, "The disclosure has changed since it was read")
    TOO_LARGE = ("too-large", 413, "The request is larger than the gateway takes")
    MEDIA_TYPE = ("media-type", 415, "The request's media type is not understood")
    EXPECTATION = ("expectation", 417, "Of expectations, the gateway meets 100-continue alone")
    OTHER_REGION = ("other-region", 421, "Another region's gateway answers for this mailbox")
    MALFORMED_ORDER = ("malformed-order", 422, "The order cannot be read")
    INVALID_REQUEST = ("invalid-request", 422, "The request breaks the rules of its schema")
    IDEMPOTENCY = ("idempotency", 422, "The idempotency key was used for another request")
    RATE_LIMITED = ("rate-limited", 429, "Too many requests")
    INTERNAL = ("internal", 500, "The gateway failed; nothing was released")
    UNAVAILABLE = ("unavailable", 503, "A region cannot be reached; nothing was released")
    AUDIT_UNAVAILABLE = ("audit-unavailable", 503, "The audit log cannot be written; nothing was released")

    def __init__(self, code: str, status: int, title: str) -> None:
        self.code: Final = code
        self.status: Final = status
        self.title: Final = title

    @property
    def uri(self) -> str:
        return _BASE + self.code


@final
class Problem(Exception):
    """An answer on its way out. `members` are the extension members of RFC 9457 3.2."""

    def __init__(
        self,
        kind: Kind,
        detail: str | None = None,
        *,
        audit: AuditReference | None = None,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or kind.title)
        self.kind: Final = kind
        self.detail: Final = detail
        self.audit: Final = audit
        self.members: Final = dict(members or {})
        self.headers: Final = dict(headers or {})

    def audited(self, audit: AuditReference) -> Problem:
        """The same problem, naming the entry that records the attempt."""
        return Problem(self.kind, self.detail, audit=audit, members=self.members, headers=self.headers)

    def document(self) -> dict[str, Any]:
        """The JSON members. `instance` is fresh each time: it names this occurrence (RFC 9457 3.1.5)."""
        document: dict[str, Any] = self.members | {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail or self.kind.title,
            "instance": f"urn:uuid:{uuid.uuid4()}",
        }
        if self.audit is not None:
            document["audit"] = self.audit.to_json()
        return document

    def response(self) -> web.Response:
        response = web.Response(
            status=self.kind.status,
            body=json.dumps(self.document(), ensure_ascii=False).encode(),
            content_type=MEDIA_TYPE,
            headers=self.headers,
        )
        if self.headers.get("Connection") == "close":
            response.force_close()  # the header alone tells the peer, and not aiohttp
        return response


def fault(field: str, rule: str) -> Problem:
    """A field of the request that breaks a rule which no schema has."""
    return Problem(
        Kind.INVALID_REQUEST, f"{field}: {rule}", members={"faults": [{"field": field, "rule": rule}]}
    )


def faults(error: ValidationError) -> dict[str, Any]:
    """A Problem's detail and members for what pydantic found: every fault, none of the input."""
    found = [
        {
            "field": ".".join(map(str, each["loc"])) or "body",
            "rule": each["msg"].removeprefix("Value error, "),
        }
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    return {"detail": f"{first['field']}: {first['rule']}", "members": {"faults": found[:20]}}
