"""A post office in memory, which can be told to fail as a real one does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from policy.address import Address
from policy.geography import Jurisdiction, Region, RegionCode
from storage.errors import UnknownAddress
from storage.identity import AccountId, MessageId, MessageIds
from storage.keys import PublicKey, PublicKeys
from storage.located import AccountStatus, Located
from storage.traffic import Envelope

IRELAND = Region(RegionCode.parse("eu-west-1"), Jurisdiction.parse("IE"))
GERMANY = Region(RegionCode.parse("eu-central-1"), Jurisdiction.parse("DE"))
STATES = Region(RegionCode.parse("us-east-1"), Jurisdiction.parse("US"))

# The doors hand keys on and never look at them.
_NO_KEY = PublicKey(b"")
NO_KEYS = PublicKeys(1, _NO_KEY, _NO_KEY, _NO_KEY)


@dataclass(frozen=True)
class Copy:
    """One stored copy."""

    id: MessageId
    home: Region
    envelope: Envelope
    content: bytes


@dataclass
class MemoryPost:
    """Mailboxes and copies in memory.

    `down` maps a region to what storing there raises; `stalled` regions never answer until
    `release` is set. `after_effect`: the copy is kept although the call fails, as a write whose
    answer was lost.
    """

    mailboxes: dict[Address, Located] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    down: dict[Region, BaseException] = field(default_factory=dict)
    stalled: set[Region] = field(default_factory=set)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    after_effect: bool = False
    lookup_fails: BaseException | None = None
    keep: bool = True
    _ids: MessageIds = field(default_factory=MessageIds)

    def add(self, address: str, home: Region) -> None:
        located = Located(AccountId.new(), home, NO_KEYS, AccountStatus.ACTIVE)
        self.mailboxes[Address.parse(address)] = located

    def remembered(self, address: Address) -> Located | None:
        return None

    async def locate(self, address: Address) -> Located:
        if self.lookup_fails is not None:
            raise self.lookup_fails
        try:
            return self.mailboxes[address]
        except KeyError:
            raise UnknownAddress("no such mailbox") from None

    async def store(self, located: Located, envelope: Envelope, content: bytes) -> MessageId:
        self.began.set()
        fault = self.down.get(located.home)
        if fault is not None and not self.after_effect:
            raise fault
        if located.home in self.stalled:
            await self.release.wait()
        message = self._ids.issue(envelope.received_at)
        if self.keep:
            self.copies.append(Copy(message, located.home, envelope, content))
        if fault is not None:
            raise fault
        return message

    def homes(self) -> list[Region]:
        return sorted(copy.home for copy in self.copies)


def without_trace(content: bytes) -> bytes:
    """A stored copy as it was sent: without the two trace fields on top."""
    assert content.startswith(b"Return-Path: <"), content[:80]
    received = content.index(b"\r\nReceived: from ") + 2
    end = content.index(b"\r\n", received)
    while content[end + 2 : end + 3] == b"\t":
        end = content.index(b"\r\n", end + 2)
    return content[end + 2 :]


def three_regions() -> MemoryPost:
    """aoife in Ireland, bernd in Germany, carol in the United States."""
    post = MemoryPost()
    post.add("aoife@example.ie", IRELAND)
    post.add("bernd@example.de", GERMANY)
    post.add("carol@example.com", STATES)
    return post
