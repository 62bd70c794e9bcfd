"""A client that believes what it is told, and nothing else: what RFC 3501 lets it conclude has to be so.

Several of them work on the same folders at once. Each keeps the state that RFC 3501 gives a client: which
numbers there are, which UIDs they have, which flags. What contradicts it is a `Contradiction`, which tells
the command and the line. This is what Dovecot's `imaptest` looks for; its checks are written anew here.

- EXISTS never shrinks a mailbox, EXPUNGE names a number that there is, and comes in no FETCH, STORE or
  SEARCH (7.4.1); UIDs rise with the numbers and stay what they are (2.3.1.1).
- A UID is one message for ever, whoever sees it, wherever it came from: APPENDUID and COPYUID say so too.
- Flags are as the client has left them unless it is told otherwise: each client has a keyword that nobody
  else touches, and all of them change the flags that everybody has. In the end what each believes is what
  a new client is told.
- Modification sequences never fall, sizes are those of the octets, SEARCH finds what is so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

Value = bytes | None | list["Value"]

_LITERAL: Final = re.compile(rb"\{(\d+)\}\r\n\Z")
_TOKEN: Final = re.compile(rb'([()])|"((?:[^"\\]|\\.)*)"|\{(\d+)\}\r\n|((?:[^\s()"{\[]|\[[^\]]*\])+)')
_RECENT: Final = "\\recent"  # a session's own
# RFC 3501 7.4.1: while one of these is at work, no number changes.
NUMBERS_STAY: Final = ("FETCH", "STORE", "SEARCH")
_SECONDS: Final = 60.0


class Contradiction(AssertionError):
    """The server has said what cannot be so."""


@dataclass
class Ledger:
    """What all clients together know of a folder: each UID's message, by the token that stands in it."""

    messages: dict[int, bytes] = field(default_factory=dict)
    highest_uid: int = 0
    highest_modseq: int = 0

    def saw(self, uid: int, token: bytes) -> None:
        before = self.messages.setdefault(uid, token)
        if before != token:
            raise Contradiction(f"UID {uid} was {before!r} and is {token!r}")


@dataclass
class Fetched:
    """One untagged FETCH, by the names of its items in capitals."""

    number: int
    items: dict[bytes, Value]

    @property
    def uid(self) -> int | None:
        uid = self.items.get(b"UID")
        return int(uid) if isinstance(uid, bytes) else None

    @property
    def flags(self) -> frozenset[str] | None:
        flags = self.items.get(b"FLAGS")
        if not isinstance(flags, list):
            return None
        return frozenset(one.decode().lower() for one in flags if isinstance(one, bytes)) - {_RECENT}


@dataclass
class Answer:
    """Everything that came for one command."""

    status: bytes  # OK and what follows
    fetched: list[Fetched] = field(default_factory=list)
    found: list[int] | None = None
    lines: list[bytes] = field(default_factory=list)

    def code(self, name: bytes) -> list[bytes] | None:
        """The words of a response code, tagged or not."""
        for line in (self.status, *self.lines):
            if (at := re.search(rb"\[%b ([^\]]*)\]" % name, line)) is not None:
                return at.group(1).split()
        return None


class Tracked:
    """One client. `uids` are those of the open folder by number, None where none was told yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._tags = 0
        self.folder = ""
        self.ledger = Ledger()
        self.uids: list[int | None] = []
        self.flags: dict[int, frozenset[str]] = {}
        self._modseqs: dict[int, int] = {}

    @classmethod
    async def connect(cls, port: int, user: str, password: str) -> Tracked:
        client = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        await client._line()
        await client.ask(f'LOGIN {user} "{password}"')
        return client

    async def select(self, folder: str, ledger: Ledger, verb: str = "SELECT") -> None:
        self.folder, self.ledger = folder, ledger
        self.uids, self.flags, self._modseqs = [], {}, {}
        uid, modseq = ledger.highest_uid, ledger.highest_modseq
        answer = await self.ask(f"{verb} {folder}")
        (uid_next,), (highest,) = answer.code(b"UIDNEXT") or [b"0"], answer.code(b"HIGHESTMODSEQ") or [b"0"]
        self._require(int(uid_next) > uid, f"UIDNEXT {int(uid_next)} after UID {uid}")
        self._require(int(highest) >= modseq, f"HIGHESTMODSEQ {int(highest)} after {modseq}")
        ledger.highest_modseq = max(int(highest), ledger.highest_modseq)

    async def ask(self, *commands: str, literal: bytes = b"") -> Answer:
        """Sends commands in one write, and hears them out; returns the answer to the last. A literal goes
        with the last one, unasked (RFC 7888)."""
        tagged = []
        octets = b""
        for command in commands:
            self._tags += 1
            tagged.append((b"t%d" % self._tags, command))
            octets += b"t%d %b" % (self._tags, command.encode())
            octets += (
                b"" if command is not commands[-1] or not literal else b" {%d+}\r\n" % len(literal) + literal
            )
            octets += b"\r\n" + (b"DONE\r\n" if command == "IDLE" else b"")
        self._writer.write(octets)
        await self._writer.drain()
        for tag, command in tagged:
            answer = await self._hear(tag, command)
        return answer

    async def close(self) -> None:
        await self.ask("LOGOUT")
        self._writer.close()

    def known(self) -> Iterator[int]:
        return (uid for uid in self.uids if uid is not None)

    # -- hearing

    async def _hear(self, tag: bytes, command: str) -> Answer:
        answer = Answer(b"")
        while True:
            line = await self._response()
            if line.startswith(tag + b" "):
                answer.status = line[len(tag) + 1 :].strip()
                if not re.match(rb"OK|NO \[(EXPUNGEISSUED|NONEXISTENT|TRYCREATE)\]", answer.status):
                    raise Contradiction(f"{command}: {line!r}")
                return answer
            try:
                self._untagged(line, command, answer)
            except Contradiction as error:
                raise Contradiction(f"{command}: {line[:200]!r}: {error}") from None

    def _untagged(self, line: bytes, command: str, answer: Answer) -> None:
        if line.startswith(b"+ "):
            return
        words = line.split(b" ", 3)
        if line.startswith(b"* SEARCH"):
            answer.found = [int(one) for one in line.partition(b" (")[0].split()[2:]]
        elif len(words) > 2 and words[1].isdigit():
            self._numbered(int(words[1]), words[2].strip(), line, command, answer)
        else:
            self._require(not line.startswith(b"* BYE") or command == "LOGOUT", "the session has ended")
            answer.lines.append(line)

    def _numbered(self, number: int, kind: bytes, line: bytes, command: str, answer: Answer) -> None:
        if kind == b"EXISTS":
            self._require(number >= len(self.uids), f"there were {len(self.uids)}")
            self.uids += [None] * (number - len(self.uids))
        elif kind == b"EXPUNGE":
            self._require(not command.startswith(NUMBERS_STAY), "the client is counting (RFC 3501 7.4.1)")
            self._require(0 < number <= len(self.uids), f"there are {len(self.uids)}")
            gone = self.uids.pop(number - 1)
            self.flags.pop(gone or 0, None)
        elif kind == b"FETCH":
            fetched = Fetched(number, _items(line[line.index(b"(") :]))
            self._take(fetched)
            answer.fetched.append(fetched)
        else:
            self._require(kind == b"RECENT" and number <= len(self.uids), "nothing of that kind is known")

    def _take(self, fetched: Fetched) -> None:
        number = fetched.number
        self._require(0 < number <= len(self.uids), f"there are {len(self.uids)}")
        uid = fetched.uid or self.uids[number - 1]
        if uid is None:
            return  # of a message whose UID nobody has asked for yet
        before = self.uids[number - 1]
        self._require(before in (None, uid), f"number {number} was UID {before}")
        self.uids[number - 1] = uid
        lower = max((one for one in self.uids[: number - 1] if one is not None), default=0)
        higher = min((one for one in self.uids[number:] if one is not None), default=uid + 1)
        self._require(lower < uid < higher, f"UIDs do not rise: {lower}, {uid}, {higher}")
        self.ledger.highest_uid = max(uid, self.ledger.highest_uid)
        if fetched.flags is not None:
            self.flags[uid] = fetched.flags
        if isinstance(modseq := fetched.items.get(b"MODSEQ"), list) and isinstance(modseq[0], bytes):
            self._require(int(modseq[0]) >= self._modseqs.get(uid, 0), f"MODSEQ was {self._modseqs.get(uid)}")
            self._modseqs[uid] = int(modseq[0])
        octets = fetched.items.get(b"BODY[]")
        if isinstance(octets, bytes):
            self.ledger.saw(uid, token_of(octets))
            size = fetched.items.get(b"RFC822.SIZE")
            self._require(size in (None, b"%d" % len(octets)), f"{len(octets)} octets")

    async def _response(self) -> bytes:
        """One response with its literals."""
        line = await self._line()
        while (literal := _LITERAL.search(line)) is not None:
            async with asyncio.timeout(_SECONDS):
                line += await self._reader.readexactly(int(literal.group(1)))
            line += await self._line()
        return line

    async def _line(self) -> bytes:
        async with asyncio.timeout(_SECONDS):
            line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise Contradiction(f"the server has closed after {line!r}")
        return line

    @staticmethod
    def _require(holds: bool, what: str) -> None:
        if not holds:
            raise Contradiction(what)


def message(token: bytes, lines: int) -> bytes:
    """One that is told from all others by its token."""
    text = b"".join(b"%b line %d\r\n" % (token, number) for number in range(lines))
    return b"Subject: %b\r\nMessage-ID: <%b@client.example>\r\n\r\n" % (token, token) + text


def token_of(octets: bytes) -> bytes:
    """The token, where all of the message is there. Raises Contradiction."""
    token = octets.partition(b"\r\n")[0].removeprefix(b"Subject: ")
    if octets != message(token, octets.count(b" line ")):
        raise Contradiction(f"a message is not what was put: {octets[:200]!r}")
    return token


def _items(told: bytes) -> dict[bytes, Value]:
    """`(UID 7 FLAGS (\\Seen) BODY[] {3}..)` by name."""
    (found,) = _values(told)
    assert isinstance(found, list)
    pairs = zip(found[::2], found[1::2], strict=True)
    return {name.upper(): value for name, value in pairs if isinstance(name, bytes)}


def _values(told: bytes) -> list[Value]:
    stack: list[list[Value]] = [[]]
    at = 0
    while (token := _TOKEN.search(told, at)) is not None:
        at = token.end()
        bracket, quoted, size, atom = token.groups()
        if bracket == b"(":
            stack.append([])
        elif bracket == b")":
            closed = stack.pop()
            stack[-1].append(closed)
        elif size is not None:
            stack[-1].append(told[at : at + int(size)])
            at += int(size)
        elif quoted is not None:
            stack[-1].append(quoted)
        else:
            stack[-1].append(None if atom == b"NIL" else atom)
    return stack[0]
