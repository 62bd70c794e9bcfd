"""Command lines, read by RFC 5321's grammar and nothing more generous.

One exception, made by every mail server: blanks between the colon and the path (RFC 5321 3.3
forbids them to senders, and too many send them). They are no part of an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

from gateway.ingress.replies import UNKNOWN_COMMAND, Reply, bad_address, syntax
from policy.address import Address, AddressError


class Refused(Exception):
    """A command is refused with `reply`; the state of the session is as it was."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply: Final = reply


_VERB: Final = re.compile(r"[A-Za-z]{4,8}\Z")
_HTTP: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|CONNECT|OPTIONS|TRACE|PRI) ", re.IGNORECASE)
_FROM: Final = re.compile(r"FROM: *", re.IGNORECASE)
_TO: Final = re.compile(r"TO: *", re.IGNORECASE)
_DOMAIN: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
# RFC 5321 4.1.2: Path = "<" [ A-d-l ":" ] Mailbox ">". What a mailbox is, Address.parse says.
_PATH: Final = re.compile(
    rf"<(?P<route>@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
    r'(?P<mailbox>(?:"(?:[^"\\]|\\.)*")?[^"<> \\]*)>(?: +(?P<parameters>.*))?\Z'
)
# RFC 5321 4.1.2: esmtp-param; RFC 6531 3.3 (UTF8-non-ascii in a value).
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?\Z")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")  # RFC 3461 4
_UTF8_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~\u0080-\U0010ffff]|\+[0-9A-F]{2})+\Z")  # RFC 6533 3
# Underscores are no letters of a host name, but of many a real one; the name only goes into
# the trace (RFC 5321 4.1.4 forbids to refuse mail because of it).
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254})\Z")
_LITERAL: Final = re.compile(r"\[[A-Za-z0-9:.-]{2,64}\]\Z")


@final
@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL. `sender` is the mailbox as it was written, "" for the null reverse-path (RFC 5321 4.5.5)."""

    sender: str
    size: int | None
    smtputf8: bool


@final
@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT. `address` is None for the one mailbox that needs no domain: `<postmaster>` (RFC 5321 4.1.1.3)."""

    mailbox: str
    address: Address | None


@final
@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT (RFC 3030 2): so many octets follow, and whether they are the last ones."""

    size: int
    last: bool


def split(line: bytes) -> tuple[str, str]:
    """A command line -> its verb in capitals, and its argument. Raises Refused."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused(Reply(500, "5.5.2", "a command line is UTF-8 (RFC 6531 3.3)")) from None
    verb, _, argument = text.partition(" ")
    if not _VERB.match(verb):
        raise Refused(UNKNOWN_COMMAND)
    return verb.upper(), argument.strip(" ")


def is_http(line: bytes) -> bool:
    """Whether an unknown command begins an HTTP request: what follows may be made to look like commands."""
    return _HTTP.match(line) is not None


def hello(argument: str) -> str:
    """EHLO, HELO and LHLO: the peer's name for itself. Raises Refused."""
    if not _HOST.match(argument) and not _LITERAL.match(argument):
        raise Refused(syntax("a domain or an address literal is expected (RFC 5321 4.1.1.1)"))
    return argument


def mail(argument: str) -> Mail:
    """`FROM:<aoife@example.ie> SIZE=100`. Raises Refused."""
    mailbox, parameters = _path(argument, _FROM, recipient=False)
    if mailbox:
        _address(mailbox, recipient=False)
    found = _parameters(parameters, _MAIL_PARAMETERS)
    smtputf8 = "SMTPUTF8" in found
    if not smtputf8 and not argument.isascii():
        raise Refused(_NEEDS_SMTPUTF8)
    return Mail(mailbox, int(found["SIZE"]) if "SIZE" in found else None, smtputf8)


def rcpt(argument: str, *, smtputf8: bool) -> Rcpt:
    """`TO:<aoife@example.ie>`. Raises Refused."""
    mailbox, parameters = _path(argument, _TO, recipient=True)
    if not smtputf8 and not argument.isascii():
        raise Refused(_NEEDS_SMTPUTF8)
    _parameters(parameters, _RCPT_PARAMETERS)
    if mailbox.lower() == "postmaster":
        return Rcpt(mailbox, None)
    return Rcpt(mailbox, _address(mailbox, recipient=True))


def bdat(argument: str) -> Bdat | None:
    """`1024 LAST`. None where the line does not say how much follows: then nobody knows what does."""
    found = re.fullmatch(r"(\d{1,19})( +LAST)?", argument, re.IGNORECASE | re.ASCII)
    return Bdat(int(found.group(1)), found.group(2) is not None) if found else None


def nothing(argument: str) -> None:
    """DATA, RSET, QUIT and STARTTLS take no argument (RFC 5321 4.3.2, RFC 3207 4). Raises Refused."""
    if argument:
        raise Refused(syntax("no argument is expected"))


_NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "an address outside ASCII needs SMTPUTF8 (RFC 6531 3.5)")


def _path(argument: str, keyword: re.Pattern[str], *, recipient: bool) -> tuple[str, str]:
    start = keyword.match(argument)
    if start is None:
        raise Refused(syntax("MAIL FROM:<address> and RCPT TO:<address> are expected (RFC 5321 4.1.1)"))
    found = _PATH.match(argument, start.end())
    if found is None or (found.group("route") and not found.group("mailbox")):
        raise Refused(
            bad_address("a path in angle brackets is expected (RFC 5321 4.1.2)", recipient=recipient)
        )
    # RFC 5321 4.1.1.3: a source route is read, and ignored.
    mailbox = found.group("mailbox")
    if len(mailbox.encode()) + 2 > 256:
        raise Refused(
            bad_address("the path is longer than 256 octets (RFC 5321 4.5.3.1.3)", recipient=recipient)
        )
    return mailbox, found.group("parameters") or ""


def _address(mailbox: str, *, recipient: bool) -> Address:
    try:
        return Address.parse(mailbox)
    except AddressError:
        # The error's text may quote the domain; a reply quotes nothing.
        rule = "the address is not a mailbox (RFC 5321 4.1.2)"
        raise Refused(bad_address(rule, recipient=recipient)) from None


def _parameters(text: str, known: Mapping[str, Callable[[str | None], bool]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in filter(None, text.split(" ")):  # a space and nothing else (RFC 5321 4.1.2)
        parameter = _PARAMETER.match(word)
        if parameter is None:
            raise Refused(syntax("a parameter is KEYWORD or KEYWORD=value (RFC 5321 4.1.2)"))
        keyword, value = parameter.group(1).upper(), parameter.group(2)
        if keyword not in known:
            raise Refused(Reply(555, "5.5.4", "an unknown parameter (RFC 5321 4.1.1.11)"))
        if keyword in found:
            raise Refused(syntax("a parameter stands twice (RFC 5321 4.1.1.11)"))
        if not known[keyword](value):
            raise Refused(syntax(f"{keyword} has a value that its RFC does not allow"))
        found[keyword] = value or ""
    return found


def _is_size(value: str | None) -> bool:
    return value is not None and re.fullmatch(r"[0-9]{1,20}", value) is not None  # RFC 1870 6


def _is_body(value: str | None) -> bool:
    return value is not None and value.upper() in ("7BIT", "8BITMIME")  # RFC 6152 2


def _is_ret(value: str | None) -> bool:
    return value is not None and value.upper() in ("FULL", "HDRS")  # RFC 3461 4.3


def _is_envid(value: str | None) -> bool:
    return value is not None and len(value) <= 100 and _XTEXT.match(value) is not None  # RFC 3461 4.4


def _is_notify(value: str | None) -> bool:
    """RFC 3461 4.1: NEVER stands alone."""
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return True
    return len(set(words)) == len(words) and set(words) <= {"SUCCESS", "FAILURE", "DELAY"}


def _is_orcpt(value: str | None) -> bool:
    """RFC 3461 4.2, and RFC 6533 3 for addresses outside ASCII."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not re.fullmatch(r"[A-Za-z0-9-]+", kind) or len(address.encode()) > 500:
        return False
    return (_UTF8_XTEXT if kind.lower() == "utf-8" else _XTEXT).match(address) is not None


def _is_absent(value: str | None) -> bool:
    return value is None


_MAIL_PARAMETERS: Final = {
    "SIZE": _is_size,
    "BODY": _is_body,
    "SMTPUTF8": _is_absent,  # RFC 6531 3.4
    "RET": _is_ret,
    "ENVID": _is_envid,
}
_RCPT_PARAMETERS: Final = {"NOTIFY": _is_notify, "ORCPT": _is_orcpt}
