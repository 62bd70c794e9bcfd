"""What SMTP and LMTP do not have in common: the hello, and how many replies a message gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """`hellos` are the verbs that open a session; those in `extended` speak ESMTP.

    `reply_each`: one reply for each accepted recipient instead of one for the message.
    """

    name: str
    greeting: str
    hellos: frozenset[str]
    extended: frozenset[str]
    reply_each: bool

    def protocol(self, hello: str, *, tls: bool, smtputf8: bool) -> str:
        """The "with" of the trace: RFC 3848, RFC 6531 4.3."""
        if hello not in self.extended:
            return self.name.upper()
        name = "LMTP" if self.reply_each else "SMTP" if smtputf8 else "ESMTP"
        return ("UTF8" if smtputf8 else "") + name + ("S" if tls else "")


SMTP: Final = Dialect(
    "smtp", "ESMTP Situs", frozenset({"EHLO", "HELO"}), frozenset({"EHLO"}), reply_each=False
)
# RFC 2033 4.1: LHLO takes the place of HELO and EHLO. 4.2: a reply for each recipient.
LMTP: Final = Dialect("lmtp", "LMTP Situs", frozenset({"LHLO"}), frozenset({"LHLO"}), reply_each=True)
