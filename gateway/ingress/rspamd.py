"""rspamd as the content check, over its own HTTP protocol.

https://docs.rspamd.com/developers/protocol : the message goes to `/checkv2`, the envelope stands
in the request's header fields, and the answer names an action. Nothing of a message is kept here.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Annotated, Final, final
from urllib.parse import quote

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.ingress.limits import RspamdSettings, WhenUnreachable
from gateway.ingress.replies import CHECK_UNREACHABLE, GREYLISTED, REJECTED
from gateway.ingress.screening import Held, Passed
from gateway.ingress.trace import Arrival
from storage.web_answers import read_whole

_log: Final = structlog.get_logger("situs.ingress")
# A header section may be all there is of a message: from here on it would hold up every other session.
_LONG_ENOUGH_FOR_A_THREAD: Final = 256 * 1024
_ANSWER_LIMIT: Final = 1024 * 1024
_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")  # RFC 5322 2.2.3: a line that begins with a blank goes on
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,100}\Z")  # RFC 5322 2.2
# What a check says of a message, and only the check of this house may say to its readers.
_SPAM_FIELDS: Final = frozenset(
    f"x-{name}".encode()
    for name in "spam spam-flag spam-status spam-level spam-score spamd-result spamd-bar "
    "rspamd-server rspamd-queue-id rspamd-action".split()
)


_OPEN, _CLOSE, _QUOTE, _BACKSLASH, _SEMICOLON = b'()"\\;'


class _AddedField(BaseModel):
    value: str


class _Milter(BaseModel):
    model_config = ConfigDict(extra="ignore")
    add_headers: dict[str, str | _AddedField | list[str | _AddedField]] = {}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")
    action: str
    score: float = 0.0
    required_score: float = 0.0
    milter: Annotated[_Milter, Field(default_factory=_Milter)]


@final
class Rspamd:
    """A ContentCheck. `hostname` is the authserv-id of this house's Authentication-Results."""

    def __init__(self, settings: RspamdSettings, hostname: str, client: aiohttp.ClientSession) -> None:
        self._settings: Final = settings
        self._hostname: Final = hostname
        self._client: Final = client

    async def look(self, arrival: Arrival, recipients: tuple[str, ...], content: bytes) -> Passed | Held:
        """See ContentCheck."""
        try:
            answer = await self._ask(arrival, recipients, content)
        except (aiohttp.ClientError, TimeoutError, ValidationError, ValueError) as error:
            _log.warning("rspamd not reached", delivery=arrival.delivery, error=type(error).__name__)
            if self._settings.unreachable is WhenUnreachable.DEFER:
                return Held(CHECK_UNREACHABLE)
            return Passed(await self._without_forged(content, b""))
        match answer.action:
            case "reject":
                return Held(REJECTED)
            case "greylist" | "soft reject":
                return Held(GREYLISTED)
            case action:
                fields = _fields(answer, marked=action in ("add header", "rewrite subject"))
                return Passed(await self._without_forged(content, fields))

    async def _without_forged(self, content: bytes, fields: bytes) -> bytes:
        if len(content) < _LONG_ENOUGH_FOR_A_THREAD:
            return without_forged(content, self._hostname, fields)
        return await asyncio.to_thread(without_forged, content, self._hostname, fields)

    async def _ask(self, arrival: Arrival, recipients: tuple[str, ...], content: bytes) -> _Answer:
        envelope = [
            ("From", _printable(arrival.sender)),
            ("Helo", arrival.helo),
            ("Queue-Id", arrival.delivery),
            ("MTA-Name", self._hostname),
            *(("Rcpt", _printable(recipient)) for recipient in recipients),
        ]
        if arrival.peer is not None:
            envelope.append(("IP", str(arrival.peer)))
        if self._settings.password is not None:
            envelope.append(("Password", self._settings.password))
        async with self._client.post(
            f"{self._settings.url.rstrip('/')}/checkv2",
            data=content,
            headers=envelope,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            allow_redirects=False,  # mail goes to the address that was configured and to no other
        ) as response:
            if response.status != 200:
                raise ValueError("rspamd answers with an error")
            # Its length is not what Content-Length says where a proxy has compressed it.
            return _Answer.model_validate_json(await read_whole(response.content, _ANSWER_LIMIT))


def _printable(address: str) -> str:
    """An address in an HTTP field: rspamd decodes percent signs."""
    return quote(address, safe="@<>!#$&'*+/=?^_`{|}~.-\" ()[]:;,")


def _fields(answer: _Answer, *, marked: bool) -> bytes:
    """The header fields that rspamd asks for, and its verdict in the two that every mail client knows."""
    lines = [("X-Spam-Status", f"{'Yes' if marked else 'No'}, score={answer.score:.2f}")]
    if marked:
        lines.append(("X-Spam", "Yes"))
    for name, given in answer.milter.add_headers.items():
        for one in given if isinstance(given, list) else [given]:
            lines.append((name, one if isinstance(one, str) else one.value))
    return b"".join(
        f"{name}: {_folded(value)}\r\n".encode() for name, value in lines if _FIELD_NAME.match(name)
    )


def _folded(value: str) -> str:
    """Line breaks in a value become folds (RFC 5322 2.2.3): they cannot begin a field, or the body."""
    return "\r\n\t".join(line.strip() for line in value.replace("\0", "").splitlines() if line.strip())


def without_forged(content: bytes, hostname: str, fields: bytes = b"") -> bytes:
    """The message under `fields`, without fields that claim to be this house's own verdicts.

    RFC 8601 5: a border server removes Authentication-Results that carry its own authserv-id.
    """
    end = content.find(b"\r\n\r\n")
    header = content if end < 0 else content[: end + 2]
    ours = hostname.lower().encode()
    kept = [field for field in _split(header) if not _is_forged(field, ours)]
    return b"".join((fields, *kept, memoryview(content)[len(header) :]))  # one copy, however large


def _split(header: bytes) -> list[bytes]:
    """Header fields with their folded lines and CRLFs."""
    starts = [0, *(found.end() for found in _FIELD_END.finditer(header)), len(header)]
    return [header[start:end] for start, end in itertools.pairwise(starts) if start < end]


def _is_forged(field: bytes, hostname: bytes) -> bool:
    name, _, value = field.partition(b":")
    name = name.rstrip(b" \t").lower()
    if name in _SPAM_FIELDS:
        return True
    if name not in (b"authentication-results", b"arc-authentication-results"):
        return False
    # RFC 8601 2.2: [CFWS] authserv-id [CFWS version] ";"; RFC 8617 4.1.1 puts "i=N;" before it.
    unfolded = value.replace(b"\r\n", b"")
    words = unfolded.split(b";") if name.startswith(b"arc") else [unfolded]
    return _authserv_id(words[min(1, len(words) - 1)]) == hostname


def _authserv_id(value: bytes) -> bytes:
    """The authserv-id as whoever reads the field would read it: in lower case, without comments and quotes.

    RFC 5322 3.2.2 lets comments nest, and 3.2.4 a backslash quote any octet of a quoted string.
    """
    found, depth, quoted = bytearray(), 0, False
    octets = iter(value)
    for octet in octets:
        if octet == _BACKSLASH and (depth or quoted):
            octet = next(octets, octet)
            if depth:
                continue
        elif not depth and octet == _QUOTE:
            quoted = not quoted
            continue
        elif not quoted and octet == _OPEN:
            depth += 1
            continue
        elif depth:
            depth -= octet == _CLOSE
            continue
        elif not quoted and octet in b" \t;":
            if found or octet == _SEMICOLON:
                break
            continue
        found.append(octet)
    return bytes(found).lower()
