"""A hold's query: which messages are meant, said in traffic data alone.

Subject and body are content, which a hold has no business to read. Header fields stand in a
traffic record as the message has them, so an address is found in the text of the field, whole:
`joe@x.example` is not in `banjoe@x.example`. What cannot be known (a field that was cut) matches.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol, final

import idna

from policy.address import Address

# Whatever may stand in a dot-string next to an address and make it another one (RFC 5321 4.1.2).
_ATOM: Final = r"[\w!#$%&'*+/=?^`{|}~.-]"
_LABEL: Final = r"[\w-]"


class Traffic(Protocol):
    """What a query looks at: `storage.traffic.TrafficRecord` has it all."""

    @property
    def sender(self) -> str: ...
    @property
    def recipient(self) -> str: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def from_(self) -> str | None: ...
    @property
    def to(self) -> str | None: ...
    @property
    def cc(self) -> str | None: ...
    @property
    def cut(self) -> tuple[str, ...]: ...


class QueryError(ValueError):
    """A query that means nothing; the message names the field."""


@final
@dataclass(frozen=True, slots=True)
class TrafficQuery:
    """Every part that is not empty has to match, each by any of its values.

    `parties`: an address in the envelope or in From, To or Cc; `domains`: an address in that
    domain or below it; `message_ids`: the Message-ID field, with or without its angle brackets.
    """

    parties: frozenset[Address] = frozenset()
    domains: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (self.parties or self.domains or self.message_ids):
            raise QueryError("query: at least one of parties, domains, message_ids is expected")

    def matches(self, traffic: Traffic) -> bool:
        """Whether the message is meant; True where it cannot be known."""
        fields = (traffic.sender, traffic.recipient, traffic.from_, traffic.to, traffic.cc)
        text = "\n".join(field for field in fields if field).lower()
        people_known = not {"from", "to", "cc"}.intersection(traffic.cut)
        if people_known and self.parties and not any(_party(party).search(text) for party in self.parties):
            return False
        if people_known and self.domains and not any(_domain(name).search(text) for name in self.domains):
            return False
        if self.message_ids and "message_id" not in traffic.cut:
            found = (traffic.message_id or "").strip("<> ")
            return any(found == wanted.strip("<> ") for wanted in self.message_ids)
        return True


@cache
def _party(address: Address) -> re.Pattern[str]:
    local = re.escape(str(address).rpartition("@")[0].lower())
    return re.compile(rf"(?<!{_ATOM}){local}@(?:{_spellings(address.domain)})(?!{_LABEL}|\.{_LABEL})")


@cache
def _domain(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=[@.])(?:{_spellings(name)})(?!{_LABEL}|\.{_LABEL})")


def _spellings(domain: str) -> str:
    """A header may write an internationalised name either way (RFC 5890 2.3.2.1, RFC 6532)."""
    names = {domain.lower()}
    with suppress(idna.IDNAError):
        names.add(idna.decode(domain).lower())
    return "|".join(map(re.escape, sorted(names)))
