"""What a client is told: every reply's form in one place, and the one map from our errors to replies.

Response codes are RFC 3501 7.1's and RFC 5530's. No reply repeats what the client sent, and none
shows an exception: a fault of ours is NO [SERVERBUG], whatever it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, final

from gateway.imap.names import encode_name
from gateway.imap.scanner import MONTHS, BadCommand
from gateway.ingress.memory import MemoryFull
from policy.geography import Region
from storage.errors import (
    AccountClosed,
    AccountSuspended,
    Conflict,
    Corrupt,
    Forbidden,
    Unavailable,
)
from storage.folder_types import FolderExists, FolderRefused, NoSuchFolder

_QUOTABLE: Final = re.compile(rb"[\x20-\x7e]{0,1000}\Z")
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]{0,1000}\Z")  # of these, what stands as it is


class Condition(StrEnum):
    """RFC 3501 7.1."""

    OK = "OK"
    NO = "NO"
    BAD = "BAD"
    BYE = "BYE"


@final
@dataclass(frozen=True, slots=True)
class Status:
    """A status response; `code` is what stands in the brackets, "" for none."""

    condition: Condition
    text: str
    code: str = ""

    @property
    def refuses(self) -> bool:
        return self.condition in (Condition.NO, Condition.BAD)

    def encode(self, tag: str = "*") -> bytes:
        code = f"[{self.code}] " if self.code else ""
        return f"{tag} {self.condition} {code}{self.text}\r\n".encode("ascii", "replace")


class Refused(Exception):
    """A command ends in `status`; the session goes on as it was."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status: Final = status


class Ended(Exception):
    """The session ends with an untagged BYE."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status: Final = status


def ok(text: str, code: str = "") -> Status:
    return Status(Condition.OK, text, code)


def no(text: str, code: str = "") -> Status:
    return Status(Condition.NO, text, code)


def bad(text: str, code: str = "") -> Status:
    return Status(Condition.BAD, text, code)


def bye(text: str, code: str = "") -> Status:
    return Status(Condition.BYE, text, code)


# The session ends.
GOODBYE: Final = bye("until next time")
STOPPING: Final = bye("the server is stopping, come again", "UNAVAILABLE")
AUTOLOGOUT: Final = bye("nothing was said for too long (RFC 3501 5.4)")
FAULT: Final = bye("a fault of ours, come again", "SERVERBUG")
NOT_WELCOME: Final = bye("this door is not for you")
TOO_MANY: Final = bye("too many connections, try again later", "UNAVAILABLE")
TOO_MANY_FROM_YOU: Final = bye("too many connections from your address, try again later", "UNAVAILABLE")
BAD_PROXY: Final = bye("a PROXY protocol header was expected")
TOO_MANY_ERRORS: Final = bye("too many errors in one session")
TOO_MANY_COMMANDS: Final = bye("too many commands before signing in")
# RFC 3501 6.2.1 with RFC 9051 11.1: what was sent in the clear is not read as if it came under TLS.
DATA_BEFORE_TLS: Final = bye("STARTTLS must be the last command in the clear (RFC 3501 6.2.1)")
ENDLESS: Final = bye("a literal is longer than anything that is taken here (RFC 7888 4)", "TOOBIG")
NO_LONGER: Final = bye("the account is not open here any more, sign in again", "UNAVAILABLE")

# The command.
UNKNOWN_COMMAND: Final = bad("no command of that name in this state of the session (RFC 3501 6)")
LONG_LINE: Final = bad("the command line is too long (RFC 2683 3.2.1.5)", "TOOBIG")
BAD_LINE: Final = bad("a command is lines of text that end in CRLF (RFC 3501 2.2)")
NO_TAG: Final = bad("a command begins with a tag and a name (RFC 3501 2.2.1)")
TOO_BIG: Final = no("larger than a message may be here", "TOOBIG")
LONG_LITERAL: Final = bad("a literal is too long for this command", "TOOBIG")
NO_MEMORY: Final = no("too much mail in flight, try again later", "LIMIT")
TLS_ALREADY: Final = bad("TLS is on already (RFC 3501 6.2.1)")
NO_TLS: Final = bad("STARTTLS is not offered")
TLS_FIRST: Final = no("sign in under TLS alone: STARTTLS comes first", "PRIVACYREQUIRED")  # RFC 5530 3
WRONG_PASSWORD: Final = no("the name or the password is wrong", "AUTHENTICATIONFAILED")
TOO_MANY_FAILURES: Final = no("too many failed attempts to sign in, try again later", "LIMIT")
NOT_FOR_OTHERS: Final = no("nobody signs in for somebody else here", "AUTHORIZATIONFAILED")
NO_SUCH_MECHANISM: Final = no("AUTHENTICATE PLAIN is the one mechanism here")
CANCELLED: Final = bad("the client gave up (RFC 3501 6.2.2)")
NO_BASE64: Final = bad("base64 is expected (RFC 3501 6.2.2)")

NO_SUCH_MAILBOX: Final = no("there is no such mailbox", "NONEXISTENT")
CREATE_FIRST: Final = no("there is no such mailbox, and it could be made", "TRYCREATE")
MAILBOX_GONE: Final = bye("the mailbox was deleted", "NONEXISTENT")
READ_ONLY: Final = no("the mailbox was opened to be read only")
SOME_GONE: Final = no("some of the messages are no longer there", "EXPUNGEISSUED")  # RFC 5530 3
NO_SUCH_NUMBER: Final = bad("there is no message of that number (RFC 3501 9)")


def at_home_elsewhere(home: Region, host: str | None) -> Status:
    """The mailbox is another region's: where it is, as a referral (RFC 2221 4.1) where its host is known.

    The URL leaves the name out, which its syntax allows (RFC 2192 3): the client has it.
    """
    if host is None:
        return no(f"this mailbox is at home in {home.code} ({home.country}): sign in there")
    return no(
        f"this mailbox is at home in {home.code}: sign in at {host}", f"REFERRAL imap://;AUTH=*@{host}/"
    )


def for_error(error: BaseException) -> Status:
    """The one map from our error tree to a tagged reply."""
    match error:
        case Refused():
            return error.status
        case BadCommand():
            return bad(str(error))
        case MemoryFull():
            return NO_MEMORY
        case NoSuchFolder():
            return NO_SUCH_MAILBOX
        case FolderExists():
            return no("there is a mailbox of that name already", "ALREADYEXISTS")
        case FolderRefused():
            return no(str(error), "CANNOT")
        case AccountSuspended():
            return no("the account is suspended", "AUTHORIZATIONFAILED")
        case AccountClosed():
            return no("the account is closed", "AUTHORIZATIONFAILED")
        case Unavailable() | TimeoutError():
            return no("the mailbox cannot be reached for now, try again later", "UNAVAILABLE")
        case Conflict():
            return no("somebody else was changing the same, try again", "INUSE")
        case Forbidden():
            return no("the mailbox cannot be opened here", "CONTACTADMIN")
        case Corrupt():
            return no("a part of the mailbox is not what was written", "CORRUPTION")
        case _:
            return no("a fault of ours, try again later", "SERVERBUG")


# -- the forms of RFC 3501 9


def string(octets: bytes) -> bytes:
    """`string`: quoted where that can be, else a literal."""
    if _PLAIN.match(octets):
        return b'"%b"' % octets
    if _QUOTABLE.match(octets):
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n" % len(octets) + octets


def mailbox(name: str) -> bytes:
    """`mailbox`."""
    return string(encode_name(name))


def flag_list(flags: Iterable[str]) -> bytes:
    """System flags first, each group in the order of the alphabet."""
    return b"(" + " ".join(sorted(flags, key=lambda flag: (flag[0] != "\\", flag))).encode("ascii") + b")"


def internal_date(moment: datetime) -> bytes:
    """`date-time`, in UTC."""
    at = moment.astimezone(UTC)
    clock = f"{at.hour:02d}:{at.minute:02d}:{at.second:02d}"
    return f'"{at.day:2d}-{MONTHS[at.month - 1]}-{at.year:04d} {clock} +0000"'.encode("ascii")
