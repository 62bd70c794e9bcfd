"""BODY and BODYSTRUCTURE (RFC 3501 7.4.2): a message's parts, in IMAP's words."""

from __future__ import annotations

from typing import Final

from gateway.imap import replies as say
from gateway.imap.envelope import envelope, nstring
from gateway.imap.mime_fields import Parameters, single
from gateway.imap.structure import Part, parse

EDITION: Final = 1  # of what `told_structure` gives: indexes keep it, and make it anew where this has changed

_NIL: Final = b"NIL"


def told_structure(message: bytes) -> bytes:
    """BODYSTRUCTURE of a message, as indexes keep it."""
    return body_structure(message, parse(message))


def body(message: bytes, part: Part) -> bytes:
    """BODY: without extension data."""
    return _body(message, part, extended=False)


def body_structure(message: bytes, part: Part) -> bytes:
    """BODYSTRUCTURE. `part` is `message` taken apart."""
    return _body(message, part, extended=True)


def _body(message: bytes, part: Part, *, extended: bool) -> bytes:
    kind = _multipart if part.parts else _single
    return b"(" + b" ".join(kind(message, part, extended)) + b")"


def _multipart(message: bytes, part: Part, extended: bool) -> list[bytes]:
    """RFC 3501 9: `body-type-mpart`: the parts stand side by side without blanks."""
    words = [b"".join(_body(message, one, extended=extended) for one in part.parts)]
    words.append(_word(part.type.subtype))
    if extended:
        words += [_parameters(part.type.parameters), *_extension(part)]
    return words


def _single(message: bytes, part: Part, extended: bool) -> list[bytes]:
    """RFC 3501 9: `body-type-1part`."""
    fields = part.fields
    words = [
        _word(part.type.type),
        _word(part.type.subtype),
        _parameters(part.type.parameters),
        nstring(fields.get(b"content-id")),
        nstring(fields.get(b"content-description")),
        _word(single(fields.get(b"content-transfer-encoding")) or b"7bit"),  # RFC 2045 6.1
        b"%d" % part.size,
    ]
    if part.message is not None:
        inner = part.message
        words.append(envelope(message[inner.header[0] : inner.header[1]]))
        words.append(_body(message, inner, extended=extended))
    if part.message is not None or part.type.type == b"text":
        words.append(b"%d" % part.lines)
    if extended:
        words += [nstring(fields.get(b"content-md5")), *_extension(part)]
    return words


def _extension(part: Part) -> list[bytes]:
    """RFC 3501 9: disposition, language and location (RFC 2557 4.2)."""
    disposition = part.disposition
    told = (
        _NIL
        if disposition is None
        else b"(" + _word(disposition.kind) + b" " + _parameters(disposition.parameters) + b")"
    )
    match part.languages:
        case ():
            languages = _NIL
        case (one,):
            languages = nstring(one)
        case several:
            languages = b"(" + b" ".join(map(nstring, several)) + b")"
    return [told, languages, nstring(part.fields.get(b"content-location"))]


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return _NIL
    words = (word for name, value in parameters for word in (_word(name), nstring(value)))
    return b"(" + b" ".join(words) + b")"


def _word(word: bytes) -> bytes:
    return say.string(word)
