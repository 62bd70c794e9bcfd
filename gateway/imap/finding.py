"""SEARCH (RFC 3501 6.4.4): entries are looked at first, then headers, and messages where nothing less
will do; some hundred at a time, so that a search of everything holds little of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final, final

from gateway.imap.commands import Find
from gateway.imap.conversation import Conversation
from gateway.imap.opened import Opened
from gateway.imap.replies import Status, ok
from gateway.imap.search import Bounds, Found, matches, needs_content
from gateway.imap.search_keys import Every, Key, Numbers
from storage.folder_types import Entry

_AT_ONCE: Final = 500
# Matching takes about a millisecond for so many octets: from here on it would hold up other sessions.
_LONG_ENOUGH_FOR_A_THREAD: Final = 64 * 1024


async def find(conversation: Conversation, opened: Opened, command: Find) -> Status:
    """Tells what was found. Raises Refused and what reading a folder raises."""
    if command.search.counts_changes:
        conversation.condstore = True
    found: list[Entry] = []
    finding = _Finding(opened, command.search.key)
    uids = _candidates(opened, command.search.key)
    for at in range(0, len(uids), _AT_ONCE):
        found.extend(await finding.among(uids[at : at + _AT_ONCE]))
        await asyncio.sleep(0)  # the other sessions' turn
    if command.by_uid:
        numbers = [entry.uid for entry in found]
    else:
        numbers = opened.numbers(entry.uid for entry in found)
    told = b"".join(b" %d" % number for number in numbers)
    if command.search.counts_changes and found:
        told += b" (MODSEQ %d)" % max(entry.modseq for entry in found)  # RFC 7162 3.1.5
    conversation.say(b"* SEARCH" + told + b"\r\n")
    return ok("that is all")


def _candidates(opened: Opened, key: Key) -> Sequence[int]:
    """The UIDs that can match at all: a set of numbers that all must be in is looked up, and not tried."""
    keys = key.keys if isinstance(key, Every) else (key,)
    for one in keys:
        if isinstance(one, Numbers):
            return opened.chosen(one.numbers, by_uid=one.uids)
    return opened.view.uids


@final
class _Finding:
    def __init__(self, opened: Opened, key: Key) -> None:
        self._opened: Final = opened
        self._key: Final = key
        self._reads_content: Final = needs_content(key)
        uids = opened.view.uids
        self._bounds: Final = Bounds(len(uids), uids.ranges[-1][1] if uids.ranges else 0)

    async def among(self, uids: Sequence[int]) -> list[Entry]:
        """Those of a few hundred UIDs that match, in their order."""
        opened, matching = self._opened, []
        open_: dict[int, Found] = {}
        for entry in await opened.folder.entries(opened.view, uids):
            number = opened.view.sequence(entry.uid)
            assert number is not None, "candidates are of the view"
            known = Found(number, entry, self._bounds, recent=opened.is_recent(entry.uid))
            verdict = matches(self._key, known)
            if verdict:
                matching.append(entry)
            elif verdict is None:
                open_[entry.uid] = known
        if open_:
            headers = opened.folder.headers(opened.view, list(open_))
            matching += await self._read(open_, headers, of_headers=True)
        if open_ and self._reads_content:
            contents = opened.folder.contents(opened.view, list(open_))
            matching += await self._read(open_, contents, of_headers=False)
        return sorted(matching, key=lambda entry: entry.uid)

    async def _read(
        self, open_: dict[int, Found], stream: AsyncIterator[tuple[int, bytes]], *, of_headers: bool
    ) -> list[Entry]:
        """Reads on in those that are open, and settles what it can."""
        matching = []
        async for uid, octets in stream:
            before = open_[uid]
            known = replace(before, header=octets) if of_headers else replace(before, content=octets)
            if len(octets) < _LONG_ENOUGH_FOR_A_THREAD:
                verdict = matches(self._key, known)
            else:
                verdict = await asyncio.to_thread(matches, self._key, known)
            if verdict is None:
                open_[uid] = known
                continue
            del open_[uid]
            if verdict:
                matching.append(known.entry)
        return matching
