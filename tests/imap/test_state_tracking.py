"""Several clients at once, each of which believes what it is told: none is told what cannot be so. A minute
of the same is `make bench ARGS=imap_states`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, cast

import pytest

from tests.imap.imap_process import imap_process
from tests.imap.roaming import roam
from tests.imap.tracked import Contradiction, Ledger, Tracked, message

CLIENTS: Final = 5
ROUNDS: Final = 6


async def test_no_client_is_told_what_cannot_be_so(tmp_path: Path) -> None:
    with imap_process(tmp_path) as server:
        ground = await roam(server, CLIENTS, 1, range(ROUNDS))
    assert ground.commands >= CLIENTS * ROUNDS
    assert all(ledger.messages for ledger in ground.ledgers.values())
    assert '"fault"' not in (tmp_path / "log").read_text()


class Mute:
    """A line on which nobody listens."""

    def write(self, octets: bytes) -> None:
        assert octets.endswith(b"\r\n")

    async def drain(self) -> None:
        """At once."""


def told(lines: bytes) -> Tracked:
    """A client with three messages, of which the last one's UID it does not know, and what it hears next."""
    reader = asyncio.StreamReader()
    reader.feed_data(lines)
    reader.feed_eof()
    client = Tracked(reader, cast(asyncio.StreamWriter, Mute()))
    client.uids = [3, 5, None]
    client.ledger = Ledger({5: b"d1"}, highest_uid=5, highest_modseq=7)
    return client


async def test_what_can_be_so_is_believed() -> None:
    octets = message(b"d1", 2)
    client = told(
        b"* 4 EXISTS\r\n* 1 RECENT\r\n* 2 FETCH (UID 5 FLAGS (\\Seen \\Recent) BODY[] {%d}\r\n%b)\r\n"
        b"* 1 EXPUNGE\r\n* 2 FETCH (FLAGS () UID 9 MODSEQ (8))\r\nt1 OK done\r\n" % (len(octets), octets)
    )
    await client.ask("UID FETCH 1:* FLAGS")
    assert client.uids == [5, 9, None]
    assert client.flags == {5: {"\\seen"}, 9: frozenset()}


CONTRADICTIONS: Final = {
    "a mailbox that shrinks without a word": ("NOOP", b"* 2 EXISTS\r\n"),
    "an expunge while the client counts": ("FETCH 1 FLAGS", b"* 1 EXPUNGE\r\n"),
    "an expunge of what there is not": ("NOOP", b"* 4 EXPUNGE\r\n"),
    "a number that there is not": ("NOOP", b"* 4 FETCH (FLAGS ())\r\n"),
    "a UID that has become another": ("NOOP", b"* 2 FETCH (UID 6 FLAGS ())\r\n"),
    "UIDs that do not rise": ("NOOP", b"* 3 FETCH (UID 4 FLAGS ())\r\n"),
    "modification sequences that fall": (
        "NOOP",
        b"* 2 FETCH (UID 5 MODSEQ (8))\r\n* 2 FETCH (UID 5 MODSEQ (7))\r\n",
    ),
    "a message that has become another": (
        "FETCH 2 BODY[]",
        b"* 2 FETCH (UID 5 BODY[] {%d}\r\n%b)\r\n" % (len(message(b"d2", 1)), message(b"d2", 1)),
    ),
    "a message that is cut off": (
        "FETCH 2 BODY[]",
        b"* 2 FETCH (UID 5 BODY[] {%d}\r\n%b)\r\n" % (len(message(b"d1", 1)[:-1]), message(b"d1", 1)[:-1]),
    ),
    "a size that is not the octets'": (
        "FETCH 2 BODY[]",
        b"* 2 FETCH (UID 5 RFC822.SIZE 9 BODY[] {%d}\r\n%b)\r\n"
        % (len(message(b"d1", 1)), message(b"d1", 1)),
    ),
    "a fault": ("NOOP", b"t1 NO [SERVERBUG] a fault of ours, try again later\r\n"),
    "a command that was no command": ("NOOP", b"t1 BAD no command of that name\r\n"),
    "an end": ("NOOP", b"* BYE [UNAVAILABLE] come again\r\n"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_what_cannot_be_so_is_found(name: str) -> None:
    command, lines = CONTRADICTIONS[name]
    with pytest.raises(Contradiction):
        await told(lines + b"t1 OK done\r\n").ask(command)
