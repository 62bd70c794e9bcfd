"""Clients that do what comes into their heads, all at once on the same two folders, and believe what they
are told (`tests.imap.tracked`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.imap.imap_process import OWNER, PASSWORD, ImapProcess
from tests.imap.tracked import Contradiction, Ledger, Tracked, message

FOLDERS: Final = ("INBOX", "Other")
_OURS: Final = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted")
_DELIVERIES: Final = 2  # messages at a time
_IN_A_ROUND: Final = 10  # commands of each client, or a little more
_HOT: Final = 3  # of the newest messages, which most of them are about: so they meet


@dataclass
class Ground:
    """The folders that all of them are in, and how many commands were answered."""

    port: int
    ledgers: dict[str, Ledger] = field(default_factory=lambda: {name: Ledger() for name in FOLDERS})
    commands: int = 0


class Roamer:
    """One client. `ownN` is its own keyword, which nobody else sets or takes away."""

    def __init__(self, ground: Ground, client: Tracked, number: int, rolled: random.Random) -> None:
        self._ground: Final = ground
        self.client: Final = client
        self._rolled: Final = rolled
        self._keyword: Final = f"own{number}"
        self._number: Final = number
        self._appended = 0
        self._own: dict[int, bool] = {}
        self._gone: set[int] = set()  # no longer found: they must be gone in the end
        self._acts: Final[list[tuple[int, Callable[[], Awaitable[None]]]]] = [
            (14, self._fetch), (6, self._read), (25, self._store), (25, self._store_own), (8, self._search),
            (4, self._copy), (4, self._move), (6, self._append), (5, self._expunge), (8, self._look),
            (3, self._idle), (2, self._select), (2, self._close), (3, self._status), (4, self._several),
        ]  # fmt: skip

    @classmethod
    async def enter(cls, ground: Ground, number: int, seed: int) -> Roamer:
        client = await Tracked.connect(ground.port, OWNER, PASSWORD)
        roamer = cls(ground, client, number, random.Random(f"{seed} {number}"))
        if number % 2:
            await client.ask("ENABLE CONDSTORE")
        await roamer._open(FOLDERS[number % 2])
        return roamer

    async def act(self) -> None:
        weights = [weight for weight, _ in self._acts]
        ((_, act),) = self._rolled.choices(self._acts, weights)
        await act()
        self._ground.commands += 1
        for uid, flags in self.client.flags.items():
            own = self._own.setdefault(uid, self._keyword in flags)
            if own != (self._keyword in flags):
                raise Contradiction(f"UID {uid}: {self._keyword} is {'lost' if own else 'there'}: {flags}")

    async def settle(self, told: dict[int, frozenset[str]]) -> None:
        """When nobody does anything any more: what this client believes is what a new one is told."""
        client = self.client
        await client.ask("NOOP")
        if len(client.uids) != len(told) or any(
            mine not in (None, uid) for mine, uid in zip(client.uids, told, strict=True)
        ):
            raise Contradiction(
                f"{client.folder}: {self._keyword} believes in {client.uids}, and there are {list(told)}"
            )
        wrong = {uid: (flags, told[uid]) for uid, flags in client.flags.items() if flags != told[uid]}
        if wrong:
            raise Contradiction(f"{self._keyword} believes and is told: {wrong}")
        if found := self._gone & told.keys():
            raise Contradiction(f"{self._keyword} was told that {found} were gone")

    # -- what it may do

    async def _fetch(self) -> None:
        items = self._rolled.choice(
            ("(UID FLAGS)", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", "FLAGS", "(UID MODSEQ)", "ALL",
             "(UID BODYSTRUCTURE)", "(UID BODY.PEEK[HEADER.FIELDS (Subject)])", "UID")
        )  # fmt: skip
        if self._rolled.random() < 0.5:
            await self.client.ask(f"UID FETCH {self._some_uids()} {items}")
        elif numbers := self._some_numbers():
            await self.client.ask(f"FETCH {numbers} {items}")

    async def _read(self) -> None:
        """All of a message, and a piece of it, which is the same octets."""
        if not (uids := self._few_uids()):
            return
        peek = self._rolled.choice(("BODY[]", "BODY.PEEK[]"))
        answer = await self.client.ask(f"UID FETCH {uids[0]} (RFC822.SIZE {peek})")
        piece = await self.client.ask(f"UID FETCH {uids[0]} (BODY.PEEK[]<5.20>)")
        whole = [one.items[b"BODY[]"] for one in answer.fetched if b"BODY[]" in one.items]
        for one in piece.fetched:
            part = one.items.get(b"BODY[]<5>")
            if whole and isinstance(whole[0], bytes) and part not in (None, whole[0][5:25]):
                raise Contradiction(f"{part!r} is no piece of {whole[0]!r}")

    async def _store(self) -> None:
        flag, mode = self._rolled.choice(_OURS), self._rolled.choice("+-")
        await self._change(flag, mode, self._few_uids())

    async def _store_own(self) -> None:
        uids, mode = self._few_uids(), self._rolled.choice("+-")
        self._own |= dict.fromkeys(uids, mode == "+")
        unchanged = self._rolled.choice(("", "", f"(UNCHANGEDSINCE {self.client.ledger.highest_modseq}) "))
        for uid in await self._change(self._keyword, mode, uids, unchanged):
            # RFC 7162 3.1.3: how it is now, a client has to ask. Its own change may be what made it so, where
            # the answer to a first attempt was lost between the server and the region.
            self._own.pop(uid, None)
            self.client.flags.pop(uid, None)

    async def _change(self, flag: str, mode: str, uids: list[int], unchanged: str = "") -> set[int]:
        """Returns the UIDs that were left alone, since they had changed meanwhile."""
        if not uids:
            return set()
        client, silent = self.client, self._rolled.choice(("", ".SILENT", ".SILENT"))
        by_uid = self._rolled.random() < 0.3  # by number, nothing is told but what has to be
        numbers = {uid: uid if by_uid else client.uids.index(uid) + 1 for uid in uids}
        command = f"{'UID ' if by_uid else ''}STORE {','.join(map(str, numbers.values()))}"
        answer = await client.ask(f"{command} {unchanged}{mode}FLAGS{silent} ({flag})")
        told = {one.uid or client.uids[one.number - 1] for one in answer.fetched if one.flags is not None}
        modified = set(numbers_of(*(answer.code(b"MODIFIED") or ())))
        left = {uid for uid, number in numbers.items() if number in modified}
        for uid in uids:
            if uid in told | left:
                continue
            if not silent:  # nothing of it is told, since it is not there any more
                self._gone.add(uid)
                self._own.pop(uid, None)
                client.flags.pop(uid, None)
            # A client that asked for silence takes it for done, where it is told nothing else.
            elif uid in client.flags:
                flags = client.flags[uid] - {flag.lower()}
                client.flags[uid] = flags | {flag.lower()} if mode == "+" else flags
        return left

    async def _search(self) -> None:
        client = self.client
        answer = await client.ask(f"UID SEARCH KEYWORD {self._keyword}")
        if answer.found is None or answer.found != sorted(set(answer.found)):
            raise Contradiction(f"SEARCH found {answer.found}")
        believed = {uid for uid in client.known() if self._own.get(uid)}
        if wrong := [uid for uid in answer.found if self._own.get(uid) is False]:
            raise Contradiction(f"{wrong} have no {self._keyword}")
        self._gone |= believed - set(answer.found)
        key = self._rolled.choice(("ALL", "UNSEEN", "OR DELETED FLAGGED", "NOT SEEN LARGER 200", "BODY line"))
        numbers = (await client.ask(f"SEARCH {key}")).found
        if numbers is None or any(not 0 < number <= len(client.uids) for number in numbers):
            raise Contradiction(f"SEARCH {key} found {numbers} of {len(client.uids)}")

    async def _copy(self) -> None:
        await self._carry("COPY")

    async def _move(self) -> None:
        await self._carry("MOVE")

    async def _carry(self, verb: str) -> None:
        if not (uids := self._few_uids()):
            return
        to = self._rolled.choice(FOLDERS)
        here, there = self.client.ledger, self._ground.ledgers[to]
        before = there.highest_uid
        answer = await self.client.ask(f"UID {verb} {','.join(map(str, uids))} {to}")
        if (code := answer.code(b"COPYUID")) is not None:
            old, new = (list(numbers_of(one)) for one in code[1:])
            if len(old) != len(new) or not set(old) <= set(uids) or min(new) <= before:
                raise Contradiction(f"{verb} {uids} behind {before}: {code}")
            for one, other in zip(old, new, strict=True):
                there.highest_uid = max(other, there.highest_uid)
                if one in here.messages:
                    there.saw(other, here.messages[one])

    async def _append(self) -> None:
        self._appended += 1
        to, token = self._rolled.choice(FOLDERS), b"a%d.%d" % (self._number, self._appended)
        ledger = self._ground.ledgers[to]
        before = ledger.highest_uid
        octets = message(token, self._rolled.randrange(1, 40))
        answer = await self.client.ask(f"APPEND {to} (\\Draft)", literal=octets)
        code = answer.code(b"APPENDUID")
        if code is None or int(code[1]) <= before:
            raise Contradiction(f"APPEND behind {before}: {answer.status!r}")
        ledger.highest_uid = max(int(code[1]), ledger.highest_uid)
        ledger.saw(int(code[1]), token)

    async def _expunge(self) -> None:
        command = self._rolled.choice(("EXPUNGE", f"UID EXPUNGE {self._some_uids()}"))
        await self.client.ask(command)

    async def _look(self) -> None:
        await self.client.ask(self._rolled.choice(("NOOP", "CHECK")))

    async def _idle(self) -> None:
        """DONE in the same write."""
        await self.client.ask("IDLE")

    async def _select(self) -> None:
        await self._open(self._rolled.choice(FOLDERS))

    async def _close(self) -> None:
        """CLOSE expunges without a word (RFC 3501 6.4.2)."""
        await self.client.ask(self._rolled.choice(("CLOSE", "UNSELECT")))
        await self._open(self.client.folder)

    async def _status(self) -> None:
        name = self._rolled.choice(FOLDERS)
        uid = self._ground.ledgers[name].highest_uid
        answer = await self.client.ask(f"STATUS {name} (MESSAGES UIDNEXT UNSEEN RECENT)")
        line = next(line for line in answer.lines if line.startswith(b"* STATUS"))
        told = int(line.partition(b"UIDNEXT ")[2].split()[0])
        if told <= uid:
            raise Contradiction(f"{name} has UIDNEXT {told} after UID {uid}")

    async def _several(self) -> None:
        """In one write: the client counts until the last of them (RFC 3501 5.5)."""
        if numbers := self._some_numbers():
            await self.client.ask(
                f"FETCH {numbers} (UID FLAGS)",
                f"STORE {numbers} +FLAGS (\\Answered)",
                "SEARCH UNDELETED",
                "NOOP",
            )

    async def _open(self, folder: str) -> None:
        self._own, self._gone = {}, set()
        await self.client.select(folder, self._ground.ledgers[folder])
        if self.client.uids:
            await self.client.ask("FETCH 1:* (UID FLAGS)")

    # -- which messages

    def _few_uids(self) -> list[int]:
        known = list(self.client.known())
        if self._rolled.random() < 0.8:
            known = known[-_HOT:]
        return sorted(self._rolled.sample(known, min(len(known), self._rolled.randrange(1, 4))))

    def _some_uids(self) -> str:
        first = self._rolled.randrange(1, self.client.ledger.highest_uid + 3)
        return self._rolled.choice((f"{first}:*", f"*:{first}", "*", f"{first}:{first + 5},{first + 2}"))

    def _some_numbers(self) -> str:
        if not (count := len(self.client.uids)):
            return ""
        first, last = (self._rolled.randrange(1, count + 1) for _ in range(2))
        return self._rolled.choice((f"{first}:{last}", f"{first}", "*", f"{last}:*"))


def numbers_of(*sets: bytes) -> Iterable[int]:
    """`1:3,7` (RFC 4315 4)."""
    for part in b",".join(sets).split(b","):
        first, _, last = part.partition(b":")
        if first:
            yield from range(int(first), int(last or first) + 1)


async def roam(server: ImapProcess, clients: int, seed: int, rounds: Iterable[object]) -> Ground:
    """So many clients at once. After each round they agree on what there is. Raises Contradiction."""
    ground = Ground(server.port)
    newcomer = await Tracked.connect(server.port, OWNER, PASSWORD)
    await newcomer.ask(f"CREATE {FOLDERS[1]}")
    await asyncio.to_thread(server.deliver, _DELIVERIES)
    roamers = [await Roamer.enter(ground, number, seed) for number in range(clients)]

    async def at(roamer: Roamer) -> None:
        for _ in range(_IN_A_ROUND):
            await roamer.act()

    for _ in rounds:
        async with asyncio.TaskGroup() as everybody:
            everybody.create_task(asyncio.to_thread(server.deliver, _DELIVERIES))
            for roamer in roamers:
                everybody.create_task(at(roamer))
        await _agree(ground, newcomer, roamers)
    for one in (newcomer, *(roamer.client for roamer in roamers)):
        await one.close()
    return ground


async def _agree(ground: Ground, newcomer: Tracked, roamers: list[Roamer]) -> None:
    for folder in FOLDERS:
        await newcomer.select(folder, ground.ledgers[folder])
        await newcomer.ask("UID FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[])")
        told = {uid: newcomer.flags[uid] for uid in newcomer.known()}
        for roamer in roamers:
            if roamer.client.folder == folder:
                await roamer.settle(told)
