"""How mail gets into its owner's folders, without delivery taking any part in it.

A delivery is one put under `mail/<account>/`, named by its time. Whoever looks at INBOX lists the names
since the watermark, less an overlap (clocks differ, and puts take their time), and enters those that it
does not know:

    1. list the mail, then the flags and tombstones beside it        nothing has happened
    2. fetch what is new: its size and header block                  nothing has happened
    3. swap the head of each folder that gets any                    it is there; the next run offers it
                                                                     again, and the head knows it
    4. hide the second copies of what was delivered twice            the next run hides them
    5. swap `intake`: the watermark, and what is known since then    done

Any number of processes may do this at once. The serial of `intake` is the fence: a head takes nothing from
a run that began before one that it has taken from, and knows what the others brought.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, final

import structlog

from storage.errors import Corrupt, NotFound
from storage.flags import FLAGS, Flags
from storage.folder_draft import Arrival, Draft
from storage.folder_index import Index
from storage.folder_intake import Delivery, Intake, Known, milliseconds_of
from storage.folder_vault import FolderVault
from storage.identity import MessageId
from storage.in_order import as_stream, in_order
from storage.objects import Listed
from storage.tombstones import TOMBSTONES, hide
from storage.traffic import TrafficRecord

_log: Final = structlog.get_logger(__name__)

CHUNK: Final = 250  # messages between two swaps
_AT_ONCE: Final = 16
_OCTETS_AT_ONCE: Final = 32 * 1024 * 1024

# The folder that a name leads to; it is made where there is none.
FolderOf = Callable[[str], Awaitable[Index]]


class Overtaken(Exception):
    """A run that began later has brought mail to the folder already: begin again."""


@final
@dataclass(frozen=True, slots=True)
class Offered:
    """A message that may have to be entered. `delivery` is the same in a delivery that is retried."""

    arrival: Arrival
    folder: str
    delivery: str | None

    @property
    def message(self) -> MessageId:
        return self.arrival.message


@final
class Arrivals:
    """One account's mail on its way into the folders. Made for one session."""

    def __init__(self, vault: FolderVault, intake: Intake, folder_of: FolderOf) -> None:
        self._vault: Final = vault
        self._intake: Final = intake
        self._folder_of: Final = folder_of

    async def take_in(self) -> dict[str, set[int]]:
        """Enter what has come since; returns the UIDs that this call itself gave, by the folder's id.

        Raises Unavailable, Forbidden, Corrupt: what was entered is entered.
        """
        given: dict[str, set[int]] = {}
        # This run goes on where it stood. What comes in late behind it is for the next run, which looks
        # back by the overlap again: else 50,000 messages of one hour would be listed 200 times.
        looked_at = ""
        while True:
            known = await self._intake.read()
            listed, more = await self._new(known, looked_at)
            if not listed:
                return given
            try:
                deliveries = await self.enter(known, listed, given)
            except Overtaken:
                continue
            await self._intake.note([message_of(one) for one in listed], deliveries)
            if not more:
                return given
            looked_at = listed[-1].key

    async def enter(
        self, known: Known, listed: Sequence[Listed], given: dict[str, set[int]]
    ) -> list[Delivery]:
        """Steps 1 (its second half) to 4, for messages as they were listed: in order. Adds to `given`;
        returns the deliveries that were entered. Raises Overtaken."""
        by_folder: dict[str, list[Offered]] = {}
        for offered in await self._fetched(listed):
            by_folder.setdefault(offered.folder, []).append(offered)
        entered: list[Delivery] = []
        for folder, several in by_folder.items():
            index = await self._folder_of(folder)
            taken = await index.commit(partial(_take, known=known, offered=several))
            given.setdefault(index.id, set()).update(taken.uids)
            for message in taken.again:
                await hide(self._vault.home.mail, self._vault.account, message)
            entered += (
                Delivery(milliseconds_of(one.message), one.delivery)
                for one in several
                if one.delivery is not None and one.message not in taken.again
            )
        return entered

    async def _new(self, known: Known, looked_at: str) -> tuple[list[Listed], bool]:
        """What lies behind `looked_at` and is not known, oldest first, and whether there may be more."""
        prefix = f"mail/{self._vault.account}/"
        found: list[Listed] = []
        # The twelve digits of a millisecond sort before every name in it.
        start_after = max(looked_at, f"{prefix}{known.since}")
        listing = self._vault.home.mail.list(prefix, start_after=start_after)
        async with aclosing(listing):
            async for one in listing:
                if str(message_of(one)) not in known.recent:
                    found.append(one)
                    if len(found) == CHUNK:
                        return found, True
        return found, False

    async def _fetched(self, listed: Sequence[Listed]) -> list[Offered]:
        messages = [message_of(one) for one in listed]
        hidden = await self._beside(TOMBSTONES, messages)
        flagged = await self._beside(FLAGS, messages)

        async def fetch(one: Listed) -> Offered | None:
            return await self._offered(message_of(one), flagged=message_of(one) in flagged)

        visible = as_stream([one for one in listed if message_of(one) not in hidden])
        stream = in_order(visible, fetch, _AT_ONCE, weigh=lambda one: one.size, budget=_OCTETS_AT_ONCE)
        async with aclosing(stream):
            return [offered async for offered in stream if offered is not None]

    async def _beside(self, folder: str, messages: Sequence[MessageId]) -> set[MessageId]:
        """Which of the messages, given in order, have something of that kind beside them."""
        wanted, last = set(messages), messages[-1]
        prefix = f"{folder}{self._vault.account}/"
        found: set[MessageId] = set()
        listing = self._vault.home.mail.list(prefix, start_after=f"{prefix}{str(messages[0])[:12]}")
        async with aclosing(listing):
            async for one in listing:
                message = message_of(one)
                if message > last:
                    break
                if message in wanted:
                    found.add(message)
        return found

    async def _offered(self, message: MessageId, *, flagged: bool) -> Offered | None:
        """None where it cannot be shown; `situs fence verify` and the law's reader say more of it."""
        try:
            record, content = await self._vault.message(message)
            flags = await self._vault.flags(message) if flagged else Flags()
        except NotFound:
            return None  # deleted since it was listed
        except Corrupt as error:
            _log.warning("folders.unreadable", key=error.key, rule=error.rule)
            return None
        date = flags.internal_date or message.received_at
        heading = await self._vault.telling.heading(content)
        arrival = Arrival(message, flags.flags, len(content), date, heading)
        return Offered(arrival, flags.folder, delivery_of(record))


@final
@dataclass(frozen=True, slots=True)
class _Taken:
    """What a folder made of what was offered: new UIDs, and second copies of the same delivery."""

    uids: tuple[int, ...]
    again: frozenset[MessageId]


async def _take(draft: Draft, *, known: Known, offered: Sequence[Offered]) -> _Taken:
    """Step 3, upon the newest head."""
    head = draft.head
    if known.serial < head.fence:
        raise Overtaken
    messages = [one.message for one in offered]
    have = head.taken.union(head.taken_before, head.filed)
    there = {one for one in messages if str(one) in have} | set(await draft.holding(messages))
    # Whichever copy of a delivery the folder has already is the one that stays; else the first.
    entered = {one.delivery for one in offered if one.message in there}
    past = known.delivered()
    new: list[Arrival] = []
    again: set[MessageId] = set()
    for one in offered:
        if one.message in there:
            continue
        if one.delivery is not None and (one.delivery in entered or one.delivery in past):
            again.add(one.message)
            continue
        entered.add(one.delivery)
        new.append(one.arrival)
    uids = await draft.add(new)
    offer = frozenset(map(str, messages))
    if known.serial > head.fence:
        draft.head = replace(draft.head, fence=known.serial, taken=offer, taken_before=head.taken)
    else:
        draft.head = replace(draft.head, taken=head.taken | offer)
    return _Taken(uids, frozenset(again))


def message_of(listed: Listed) -> MessageId:
    """Raises IdentityError."""
    return MessageId.parse(listed.key.rpartition("/")[2])


def delivery_of(record: TrafficRecord) -> str | None:
    """The same for a delivery that is sent again, since the answer to the first was lost or said "later":
    same envelope, same octets. None for what no client has sent.

    None, too, without a Message-ID. Two sendings of the same few words are two messages to whoever wrote
    them; a Message-ID says that they are one (RFC 5322 3.6.4), and every mail server gives its mail one.
    """
    if record.sent_sha256 is None or not record.message_id:
        return None
    parts = "\0".join((record.sender, record.recipient, record.sent_sha256))
    return base64.b64encode(hashlib.sha256(parts.encode("utf-8", "replace")).digest()[:15]).decode()
