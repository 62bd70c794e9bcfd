"""The traffic record of a message: who, to whom, when, how large. Never what it says.

The fields are those that Reg. (EU) 2023/1543 Art. 3(11) and 18 U.S.C. 2703(c) call traffic data
or records, as far as mail has them. The Subject is content, and is not read here at all.

Header fields stand as the message has them, unfolded and undecoded: an encoded word may carry
more than a name, and a record for a court is not the place to interpret it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import Corrupt
from storage.identity import MessageId

_LONGEST_FIELD: Final = 32 * 1024  # characters; the whole field is in the content
_FIELDS: Final = {b"message-id": "message_id", b"from": "from", b"to": "to", b"cc": "cc", b"date": "date"}


@final
@dataclass(frozen=True, slots=True)
class Envelope:
    """How one copy of a message came: RFC 5321's envelope, and who brought it.

    `sender` is empty for a bounce (RFC 5321 4.5.5); `recipient` is the address as the client
    gave it; `received_at` is aware and counts to the millisecond; `protocol` as RFC 3848 names it.
    `sent_sha256` is of the message as the client sent it, dots unstuffed, before any field of ours
    stands on top; None where no client sent it (an import).
    """

    sender: str
    recipient: str
    peer: str
    helo: str
    received_at: datetime
    protocol: str
    sent_sha256: str | None = None


@final
@dataclass(frozen=True, slots=True)
class TrafficRecord:
    """One message's traffic data. `size` in octets and `sha256` are of the content at rest.

    `cut` names header fields longer than 32,768 characters, which stand here cut to that.
    `sent_sha256` is the envelope's: with sender and recipient it tells a delivery that was sent again
    from another message. None in records of before it was kept.
    """

    id: MessageId
    sender: str
    recipient: str
    peer: str
    helo: str
    protocol: str
    size: int
    sha256: str
    message_id: str | None
    from_: str | None
    to: str | None
    cc: str | None
    date: str | None
    cut: tuple[str, ...] = ()
    sent_sha256: str | None = None

    @property
    def received_at(self) -> datetime:
        """UTC, to the millisecond."""
        return self.id.received_at

    def to_json(self) -> dict[str, object]:
        """What an order for traffic data is given.

        `sent_sha256` is not in it. It is the same in every mailbox that a message went to, and for
        anybody who has the text at hand: it would say what a message says. `sha256` has our trace
        in it, whose delivery id is in no traffic record.
        """
        received_at = self.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"id": str(self.id), "received_at": received_at, **self._facts()}

    def at_rest(self) -> dict[str, object]:
        """What `write_record` seals; the id says when it was received."""
        return {"id": str(self.id), **self._facts(), "sent_sha256": self.sent_sha256}

    def _facts(self) -> dict[str, object]:
        return {
            "sender": self.sender,
            "recipient": self.recipient,
            "peer": self.peer,
            "helo": self.helo,
            "protocol": self.protocol,
            "size": self.size,
            "sha256": self.sha256,
            "message_id": self.message_id,
            "from": self.from_,
            "to": self.to,
            "cc": self.cc,
            "date": self.date,
            "cut": list(self.cut),
        }


def describe(message: MessageId, envelope: Envelope, content: bytes) -> TrafficRecord:
    """The traffic record of a message as it comes in."""
    found: dict[str, str] = {}
    for name, value in _address_fields(content):
        # RFC 5322 3.6 allows each of these once. Of a field that stands twice a reader cannot
        # know which one a client showed: both are kept, up to the cut. (Joining a million of them in full
        # would take hours.)
        if name not in found:
            found[name] = value
        elif len(found[name]) <= _LONGEST_FIELD:
            found[name] = f"{found[name]}, {value[: _LONGEST_FIELD + 1]}"
    cut = tuple(name for name, value in found.items() if len(value) > _LONGEST_FIELD)
    fields = {name: value[:_LONGEST_FIELD] for name, value in found.items()}
    return TrafficRecord(
        id=message,
        sender=envelope.sender,
        recipient=envelope.recipient,
        peer=envelope.peer,
        helo=envelope.helo,
        protocol=envelope.protocol,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        message_id=fields.get("message_id"),
        from_=fields.get("from"),
        to=fields.get("to"),
        cc=fields.get("cc"),
        date=fields.get("date"),
        cut=cut,
        sent_sha256=envelope.sent_sha256,
    )


def _address_fields(content: bytes) -> Iterator[tuple[str, str]]:
    """The header fields of `_FIELDS`, unfolded (RFC 5322 2.2.3), in order of appearance."""
    current: str | None = None
    parts: list[bytes] = []
    for line in _lines(content):
        if line[:1] in (b" ", b"\t"):
            parts.append(line)
            continue
        if current:
            yield current, _text(b"".join(parts))
        name, colon, value = line.partition(b":")
        if not colon:
            return  # the empty line, or a body that has none before it
        current, parts = _FIELDS.get(name.rstrip(b" \t").lower()), [value]  # RFC 5322 4.5: WSP before ":"


def _lines(content: bytes) -> Iterator[bytes]:
    """One line at a time, so that a body of many megabytes is not cut up to read its header."""
    start = 0
    while (end := content.find(b"\r\n", start)) >= 0:
        yield content[start:end]
        start = end + 2
    yield content[start:]
    yield b""


def _text(octets: bytes) -> str:
    # RFC 6532: UTF-8. What is not is read as Latin-1, which keeps every octet recognisable.
    try:
        return octets.decode().strip()
    except UnicodeDecodeError:
        return octets.decode("latin-1").strip()


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    sender: str
    recipient: str
    peer: str
    helo: str
    protocol: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    message_id: str | None
    from_: Annotated[str | None, Field(alias="from")]
    to: str | None
    cc: str | None
    date: str | None
    cut: tuple[str, ...]
    sent_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None


_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def write_record(record: TrafficRecord) -> bytes:
    """The record as it is sealed into the traffic frame."""
    return _JSON.encode(record.at_rest()).encode("utf-8", "replace")


def read_record(key: str, message: MessageId, octets: bytes) -> TrafficRecord:
    """What `write_record` wrote for the object `key`. Raises Corrupt."""
    try:
        fields = _Stored.model_validate_json(octets).model_dump()
    except ValidationError:
        raise Corrupt(key, "its traffic frame holds no traffic record") from None
    if fields.pop("id") != str(message):
        raise Corrupt(key, "its traffic record is another message's")
    return TrafficRecord(id=message, **fields)
