"""What a peer is told: every reply in one place, and the one map from our errors to replies.

Codes are RFC 5321 4.2.3's, enhanced codes RFC 3463's and RFC 5248's. No reply repeats what the
peer sent, and none shows an exception: a fault of ours is 451, whatever it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, final

from storage.errors import AccountClosed, AccountSuspended, Unavailable, UnknownAddress


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `status` is the enhanced code; a greeting and a HELO reply have none (RFC 2034 4)."""

    code: int
    status: str
    text: str | tuple[str, ...]
    octets: bytes = field(init=False, repr=False, compare=False)
    """The wire form: written down once, since most replies are constants."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "octets", self._written())

    @property
    def refuses(self) -> bool:
        """True for a permanent failure; each counts against the session's error limit."""
        return self.code >= 500

    def _written(self) -> bytes:
        """Each line of a multi-line reply repeats both codes (RFC 2034 4)."""
        prefix = f"{self.status} " if self.status else ""
        if isinstance(self.text, str):
            return f"{self.code} {prefix}{self.text}\r\n".encode("ascii")
        *first, last = self.text
        lines = [f"{self.code}-{prefix}{line}\r\n" for line in first]
        return "".join([*lines, f"{self.code} {prefix}{last}\r\n"]).encode("ascii")


# 2xx and 3xx
BYE: Final = Reply(221, "2.0.0", "closing the connection")
OK: Final = Reply(250, "2.0.0", "ok")
SENDER_OK: Final = Reply(250, "2.1.0", "sender ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "recipient ok")
CHUNK_OK: Final = Reply(250, "2.0.0", "octets received")
CANNOT_VERIFY: Final = Reply(
    252, "2.5.0", "cannot verify, but will take the message and try"
)  # RFC 5321 3.5.3
HELP: Final = Reply(214, "2.0.0", "the commands are those of RFC 5321, and of what EHLO offers")
START_MAIL: Final = Reply(354, "", "end with <CRLF>.<CRLF>")
START_TLS: Final = Reply(220, "2.0.0", "ready to start TLS")

# The session ends.
STOPPING: Final = Reply(421, "4.3.2", "service shutting down, try again later")
TIMED_OUT: Final = Reply(421, "4.4.2", "timed out")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.3.2", "too many connections, try again later")
TOO_MANY_FROM_YOU: Final = Reply(421, "4.7.0", "too many connections from your address, try again later")
TOO_FAST: Final = Reply(421, "4.7.0", "too many connections a minute from your address, try again later")
NO_WEB_SERVER: Final = Reply(421, "4.7.0", "this is no web server")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "too many commands in one session")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "too many errors in one session")
NO_MEMORY: Final = Reply(421, "4.3.1", "too much mail in flight, try again later")
NOT_WELCOME: Final = Reply(554, "5.7.1", "this door is not for you")  # RFC 5321 3.1
FAULT: Final = Reply(421, "4.3.0", "local error, try again later")
BAD_BDAT: Final = Reply(
    501, "5.5.4", "BDAT size [LAST] is expected; what follows cannot be told (RFC 3030 2)"
)
BAD_PROXY: Final = Reply(421, "4.7.0", "a PROXY protocol header was expected")
DATA_BEFORE_TLS: Final = Reply(554, "5.5.1", "STARTTLS must be the last command of a group (RFC 3207 4)")

# The transaction, for now.
TRY_AGAIN: Final = Reply(451, "4.3.2", "the mailbox cannot be reached for now, try again later")
OUR_FAULT: Final = Reply(451, "4.3.0", "local error, try again later")
SUSPENDED: Final = Reply(450, "4.2.1", "the mailbox takes no mail for now")  # RFC 3463 3.3
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "too many recipients")
NO_ROOM: Final = Reply(452, "4.3.1", "too much mail in flight, try again later")  # RFC 1870 6.1(2)
SOME_NOT_STORED: Final = Reply(451, "4.3.2", "not every copy could be stored, try again later")
CHECK_UNREACHABLE: Final = Reply(451, "4.7.1", "the content check cannot be reached, try again later")
GREYLISTED: Final = Reply(451, "4.7.1", "try again later")

# The transaction, for good.
UNKNOWN_USER: Final = Reply(550, "5.1.1", "no such mailbox here")
CLOSED: Final = Reply(550, "5.2.1", "the mailbox takes no mail any more")
TOO_LARGE: Final = Reply(552, "5.3.4", "the message is too large")
HAS_NUL: Final = Reply(554, "5.6.0", "a message has no NUL (RFC 5321 4.5.2, RFC 6152)")
BARE_CR_LF: Final = Reply(554, "5.6.0", "a line ends in CRLF; CR and LF do not stand alone (RFC 5321 2.3.8)")
LONG_TEXT_LINE: Final = Reply(554, "5.6.0", "a line of the message is too long")
LOOP: Final = Reply(554, "5.4.6", "too many hops, this is a loop (RFC 5321 6.3)")
REJECTED: Final = Reply(550, "5.7.1", "the message is refused by the content check")

# The command.
UNKNOWN_COMMAND: Final = Reply(500, "5.5.1", "unknown command")
LONG_COMMAND: Final = Reply(500, "5.5.2", "the command line is too long")
BAD_LINE: Final = Reply(500, "5.5.2", "a command line is text and ends in CRLF (RFC 5321 2.3.8)")
NO_EXPN: Final = Reply(502, "5.5.1", "EXPN is not offered")
NO_TLS: Final = Reply(502, "5.5.1", "STARTTLS is not offered")
TLS_ALREADY: Final = Reply(503, "5.5.1", "TLS is on already")
HELLO_FIRST: Final = Reply(503, "5.5.1", "say hello first")
MAIL_FIRST: Final = Reply(503, "5.5.1", "MAIL comes first")
NESTED_MAIL: Final = Reply(503, "5.5.1", "a transaction is open already")
RCPT_FIRST: Final = Reply(503, "5.5.1", "no recipient has been accepted")
BDAT_GOES_ON: Final = Reply(503, "5.5.1", "BDAT has begun; go on with BDAT, or RSET (RFC 3030 2)")
TLS_FIRST: Final = Reply(530, "5.7.0", "STARTTLS comes first")  # RFC 3207 4


def syntax(rule: str) -> Reply:
    """501: the argument breaks `rule`, which names the clause and nothing of the argument."""
    return Reply(501, "5.5.4", rule)


def bad_address(rule: str, *, recipient: bool) -> Reply:
    """501, with RFC 3463 3.2's code for a bad destination (X.1.3) or sender (X.1.7) address."""
    return Reply(501, "5.1.3" if recipient else "5.1.7", rule)


def for_error(error: BaseException) -> Reply:
    """The one map from our error tree to a reply. What is not in the tree is a fault of ours: 451."""
    match error:
        case UnknownAddress():
            return UNKNOWN_USER
        case AccountSuspended():
            return SUSPENDED
        case AccountClosed():
            return CLOSED
        case Unavailable() | TimeoutError():
            return TRY_AGAIN
        case _:
            return OUR_FAULT
