"""A hold as it is kept: JSON, sealed by the vault, checked as strictly as it was written.

A document that says more than this program knows is Corrupt, not ignored: the part that is not
understood may be the one that forbids a deletion.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from policy.hold import (
    DomainScope,
    Hold,
    MailboxScope,
    MatterScope,
    OrderBasis,
    OwnLitigation,
)
from storage.errors import Corrupt

_VERSION: Final = 1
_HOLD: Final = TypeAdapter(Hold)
_SCOPES: Final = {"mailbox": MailboxScope, "domain": DomainScope, "matter": MatterScope}
_BASES: Final = {"order": OrderBasis, "litigation": OwnLitigation}


def write_hold(hold: Hold) -> bytes:
    """The document. `scope` and `basis` are tagged with the kind that they are of."""
    fields: dict[str, Any] = _HOLD.dump_python(hold, mode="json")
    for name, kinds in (("scope", _SCOPES), ("basis", _BASES)):
        found = next(kind for kind, type_ in kinds.items() if type_ is type(getattr(hold, name)))
        fields[name] = {"kind": found} | fields[name]
    # Sets have no order of their own, and a document has one spelling.
    for values in (fields["query"] or {}, fields["scope"]):
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = sorted(value, key=json.dumps)
    return json.dumps({"version": _VERSION, "hold": fields}, ensure_ascii=False).encode()


def read_hold(key: str, body: bytes) -> Hold:
    """What `write_hold` wrote. Raises Corrupt, naming the object, for anything else."""
    try:
        document = json.loads(body)
        if document["version"] != _VERSION:
            raise Corrupt(key, f"hold document version {document['version']!r} is unknown")
        fields = dict(document["hold"])
        for name, kinds in (("scope", _SCOPES), ("basis", _BASES)):
            tagged = dict(fields[name])
            fields[name] = TypeAdapter(kinds[tagged.pop("kind")]).validate_python(tagged)
        hold = _HOLD.validate_python(fields)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Corrupt(key, f"not a hold document ({type(error).__name__})") from None
    if write_hold(hold) != body:
        raise Corrupt(key, "a hold document that says more than this program knows")
    return hold


def describe_hold(hold: Hold, now: datetime) -> dict[str, Any]:
    """The hold in plain words and RFC 3339 times, for the API and `--json`."""
    match hold.scope:
        case MailboxScope(address=address):
            scope: dict[str, Any] = {"address": str(address)}
        case DomainScope(domain=domain):
            scope = {"domain": domain}
        case MatterScope(matter=matter, accounts=accounts):
            scope = {"matter": matter, "accounts": len(accounts)}
    match hold.basis:
        case OrderBasis() as order:
            basis: dict[str, Any] = {
                "kind": "order",
                "instrument": order.instrument,
                "reference": order.reference,
                "issuer": order.issuer,
                "issuing_state": str(order.issuing_state),
                "digest": order.digest,
            }
        case OwnLitigation(reason=reason):
            basis = {"kind": "litigation", "reason": reason}
    query = hold.query
    return {
        "id": str(hold.id),
        "region": str(hold.region),
        "phase": str(hold.phase(now)),
        "scope": scope,
        "timespan": hold.timespan
        and {"start": _moment(hold.timespan.start), "end": _moment(hold.timespan.end)},
        "query": query
        and {
            "parties": sorted(map(str, query.parties)),
            "domains": sorted(query.domains),
            "message_ids": sorted(query.message_ids),
        },
        "matter": hold.matter,
        "basis": basis,
        "placed_by": hold.placed_by,
        "placed_at": _moment(hold.placed_at),
        "until": _moment(hold.until),
        "at_expiry": str(hold.at_expiry),
        "keeps_until": _moment(hold.keeps_until),
        "proposal": hold.proposal
        and {
            "by": hold.proposal.by,
            "at": _moment(hold.proposal.at),
            "reason": hold.proposal.reason,
            "until": _moment(hold.proposal.until),
        },
        "release": hold.release
        and {
            "at": _moment(hold.release.at),
            "proposed_by": hold.release.proposed_by,
            "confirmed_by": hold.release.confirmed_by,
            "reason": hold.release.reason,
        },
    }


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
