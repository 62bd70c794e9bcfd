"""Erasure (GDPR Art. 17): the account's keys first, then every version of everything, with a certificate.

The order, and what follows where we crash:

    1. refused where any hold keeps anything of the account, while
       a move is under way, and where a region in which it has
       lived does not answer                                        nothing has happened
    2. the note `erasures/<account>.json`, sealed to the region     nothing has happened
    3. every version of the keyring: no copy of the mail, wherever
       it may be, can be opened any more (crypto-shredding); and
       the record keys that it left in other regions                the next run goes on here
    4. every version of everything else of the account              the next run goes on
    5. the audit entry, with the digest of a signed certificate     the next run logs its own
    6. the certificate, in place of the note and its versions       done

The audit log is not touched: it names nobody (`storage.audit.entry`), so it stays valid, and what it
says of the account stays under a pseudonym. The account's holds that have ended stay too: they are
the record of a legal claim (Art. 17(3)(e)).

The certificate is a signed note (https://c2sp.org/signed-note) under the key of the region's log:
whoever can verify the log can verify it, offline.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, final

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import Mailbox
from storage.audit.entry import Entry, Event
from storage.audit.note import Note, NoteError, Signer, VerifierKey
from storage.contents import stored_messages
from storage.deletion import BATCH, Candidate, Deletions, Eraser
from storage.errors import Corrupt, NotFound, Unavailable
from storage.holds import HoldRegister
from storage.identity import AccountId
from storage.keyring import Keyholder
from storage.layout import ACCOUNT_FOLDERS
from storage.lookup import LOCATED_FOR
from storage.mailboxes import mailbox_of
from storage.moving import Moving, read_move
from storage.record_keys import forget_where_it_lived, record_keys_key, where_it_lived
from storage.region import RegionStore
from storage.unheld import refuse, refuse_if_held
from storage.vault import Vault

# Folders that are read message by message, and the intents of this very erasure.
_NOT_BY_FOLDER: Final = {"mail", "deleted", "labels", "flags", "deleting"}
# An ingress process that had found the account before it was closed may still be storing: seconds.
SETTLE: Final = LOCATED_FOR + 15.0
_MAGIC: Final = "situs erasure certificate/1"

RegisterOf = Callable[[RegionCode], Awaitable[HoldRegister]]


async def _not_served(region: RegionCode) -> HoldRegister:
    raise Unavailable(f"the account has lived in {region}, and its keys there are not within reach here")


async def is_being_erased(vault: Vault, account: AccountId) -> bool:
    """Or has been. Raises Corrupt, Unavailable."""
    return await _NoteOf(vault, account).read() is not None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an erasure has come. `digest` is a running SHA-256 over what was destroyed, in order."""

    begun: datetime
    addresses: tuple[str, ...]
    keys_destroyed: datetime | None = None
    key_versions: int = 0
    messages: int = 0
    versions: int = 0
    octets: int = 0
    digest: str = ""
    elsewhere: Mapping[str, int] = field(default_factory=dict)  # region -> versions of record keys left there


@final
@dataclass(frozen=True, slots=True)
class Certificate:
    """What was destroyed and when, signed. `text` is for people, `note` is what is verified."""

    note: bytes

    @property
    def text(self) -> str:
        return Note.parse(self.note).text

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.note).hexdigest()

    def verify(self, key: VerifierKey) -> None:
        """Raises NoteError unless the region's log key signed exactly this text."""
        if key not in Note.parse(self.note).verified_by([key]):
            raise NoteError(f"the certificate carries no signature of {key.name!r}")


@final
class Erasure:
    """Erases accounts of one region. The account must have been closed: it takes no mail any more."""

    def __init__(
        self,
        store: RegionStore,
        register: HoldRegister,
        signer: Signer,
        register_of: RegisterOf = _not_served,
        *,
        settle: float = SETTLE,
    ) -> None:
        """`register_of`: the registers of the regions where the account may have lived. `settle` in seconds:
        how long mail may still come in that was on its way at the closing."""
        self._store: Final = store
        self._register: Final = register
        self._signer: Final = signer
        self._register_of: Final = register_of
        self._settle: Final = settle

    async def erase(
        self, account: AccountId, operator: str, progress: Callable[[Progress], None] = lambda _: None
    ) -> Certificate:
        """Erase an account for good. Run again, it goes on where it stopped; done, it gives the certificate.

        Raises Held; Moving while it is on its way; NotFound where there is no such account here;
        Unavailable, Corrupt, Forbidden.
        """
        note = _NoteOf(self._register.vault, account)
        standing = await note.read()
        if isinstance(standing, Certificate):
            return standing
        if standing is None:
            mailbox = await mailbox_of(self._store, account)
            await refuse_if_held(self._register, mailbox, "erasure", operator)
            await self._others(account, operator)
            addresses = tuple(sorted(map(str, mailbox.addresses)))
            standing = Progress(self._register.clock(), addresses)
            await note.write(_encode(standing))
        # A move writes its record, then asks for this note; an erasure the other way round.
        others = await self._others(account, operator)
        run = _Run(self._register, account, operator, note, standing, progress)
        async with Deletions(self._register).on(run.mailbox) as eraser:
            await run.shred(eraser)
            await run.shred_elsewhere(others)
            await run.remove(eraser)
        if self._settle:
            await asyncio.sleep(self._settle)
        async with Deletions(self._register).on(run.mailbox) as eraser:
            await run.remove(eraser)
            certificate = self._certify(account, run.stands)
            await self._record(account, operator, certificate)
            await note.write(json.dumps({"certificate": certificate.note.decode()}).encode())
            await run.forget(eraser)
        await forget_where_it_lived(self._register.versions, account)
        return certificate

    async def _others(self, account: AccountId, operator: str) -> list[HoldRegister]:
        """Of the regions in which the account has lived. Raises Held for a matter's hold there that names it;
        Moving; Unavailable."""
        regions = await where_it_lived(self._register.vault, account)
        others = [await self._register_of(region) for region in regions]
        for register in (self._register, *others):
            if await read_move(register.vault, account) is not None:
                raise Moving("a move of this account is under way: run it again, to its end, first")
        for register in others:
            await refuse_if_held(register, Mailbox(str(account), frozenset()), "erasure", operator)
        return others

    async def _record(self, account: AccountId, operator: str, certificate: Certificate) -> None:
        await self._register.log.append(
            Entry(
                time=self._register.clock(),
                event=Event.ACCOUNT_ERASED,
                region=self._store.region.code,
                account=self._register.pseudonyms.account(account),
                operator=self._register.pseudonyms.operator(operator),
                subject=certificate.digest,
            )
        )

    def _certify(self, account: AccountId, done: Progress) -> Certificate:
        lines = [
            _MAGIC,
            f"region: {self._store.region}",
            f"account: {self._register.pseudonyms.account(account)}",
            f"begun: {_moment(done.begun)}",
            f"keys destroyed: {_moment(done.keys_destroyed or done.begun)}, {done.key_versions} versions",
            *(f"record keys destroyed in {code}: {count} versions" for code, count in done.elsewhere.items()),
            f"destroyed: {done.messages} messages, {done.versions} versions, {done.octets} octets",
            f"list of key and version id, in the order of destruction: sha256:{done.digest}",
            f"ended: {_moment(self._register.clock())}",
        ]
        text = "\n".join(lines) + "\n"
        return Certificate(Note(text, (self._signer.sign(text),)).serialise())


@final
class _NoteOf:
    """How far one account's erasure has come, as it is written down."""

    def __init__(self, vault: Vault, account: AccountId) -> None:
        self._vault: Final = vault
        self.key: Final = f"erasures/{account}.json"

    async def read(self) -> Progress | Certificate | None:
        try:
            blob = await self._vault.get(self.key)
        except NotFound:
            return None
        return _decode(self.key, blob.body)

    async def write(self, body: bytes) -> None:
        etag = None
        with suppress(NotFound):
            etag = (await self._vault.get(self.key)).etag
        await self._vault.compare_and_swap(self.key, body, etag)


@final
class _Run:
    """Steps 3 and 4 of one erasure."""

    def __init__(
        self,
        register: HoldRegister,
        account: AccountId,
        operator: str,
        note: _NoteOf,
        stands: Progress,
        progress: Callable[[Progress], None],
    ) -> None:
        self._register: Final = register
        self._versions: Final = register.versions
        self._account: Final = account
        self._operator: Final = operator
        self._note: Final = note
        self._progress: Final = progress
        self.stands = stands
        self.mailbox: Final = Mailbox(str(account), frozenset(map(Address.parse, stands.addresses)))

    async def shred(self, eraser: Eraser) -> None:
        """Every version of the keyring; a run that died in between counts what it finds."""
        if self.stands.keys_destroyed is not None:
            return
        keyring = await self._versions.of(Keyholder(self._versions.region, self._account).key)
        keyring += await self._versions.of(record_keys_key(self._account))  # of an earlier time here
        await self._destroy(eraser, [Candidate(keyring)])
        now = self._register.clock()
        self.stands = replace(self.stands, keys_destroyed=now, key_versions=len(keyring))
        await self._save()

    async def shred_elsewhere(self, others: Sequence[HoldRegister]) -> None:
        """What opens the records of other regions' logs. Each of those logs is told before."""
        for register in others:
            left = await register.versions.of(record_keys_key(self._account))
            if not left:
                continue
            await register.log.append(
                Entry(
                    time=register.clock(),
                    event=Event.ACCOUNT_ERASED,
                    region=register.versions.region,
                    account=register.pseudonyms.account(self._account),
                    operator=register.pseudonyms.operator(self._operator),
                )
            )
            async with Deletions(register).on(Mailbox(str(self._account), frozenset())) as eraser:
                await self._destroy(eraser, [Candidate(left)])
            told = {**self.stands.elsewhere, str(register.versions.region): len(left)}
            self.stands = replace(self.stands, elsewhere=told)
            await self._save()

    async def forget(self, eraser: Eraser) -> None:
        """The note's earlier versions name the account's addresses."""
        old = tuple(one for one in await self._versions.of(self._note.key) if not one.latest)
        await eraser.destroy([Candidate(old)])

    async def remove(self, eraser: Eraser) -> None:
        batch: list[Candidate] = []
        async for candidate in self._everything():
            batch.append(candidate)
            if len(batch) >= BATCH:
                await self._destroy(eraser, batch)
                await self._save()
                batch = []
        await self._destroy(eraser, batch)
        await self._save()

    async def _everything(self) -> AsyncIterator[Candidate]:
        async for stored in stored_messages(self._versions, self._account):
            yield stored.candidate
        for folder in sorted(ACCOUNT_FOLDERS - _NOT_BY_FOLDER):
            async for version in self._versions.list(f"{folder}/{self._account}/"):
                yield Candidate((version,))

    async def _destroy(self, eraser: Eraser, batch: list[Candidate]) -> None:
        outcome = await eraser.destroy(batch)
        digest = hashlib.sha256(self.stands.digest.encode())
        versions = [version for one in outcome.destroyed for version in one.versions]
        for version in versions:
            digest.update(f"{version.key} {version.id}\n".encode())
        self.stands = replace(
            self.stands,
            messages=self.stands.messages + sum(one.message is not None for one in outcome.destroyed),
            versions=self.stands.versions + len(versions),
            octets=self.stands.octets + sum(version.size for version in versions),
            digest=digest.hexdigest() if versions else self.stands.digest,
        )
        self._progress(self.stands)
        if outcome.held:
            await refuse(self._register, self._account, "erasure", self._operator, outcome.holds)
        if outcome.locked:
            key = outcome.locked[0].versions[0].key
            raise Corrupt(key, "the bucket holds it under a legal hold that no hold of ours accounts for")

    async def _save(self) -> None:
        await self._note.write(_encode(self.stands))


def _encode(stands: Progress) -> bytes:
    return json.dumps(
        {
            "begun": stands.begun.isoformat(),
            "addresses": stands.addresses,
            "keys_destroyed": stands.keys_destroyed.isoformat() if stands.keys_destroyed else None,
            "key_versions": stands.key_versions,
            "messages": stands.messages,
            "versions": stands.versions,
            "octets": stands.octets,
            "digest": stands.digest,
            "elsewhere": dict(stands.elsewhere),
        }
    ).encode()


def _decode(key: str, body: bytes) -> Progress | Certificate:
    try:
        found = json.loads(body)
        if "certificate" in found:
            return Certificate(found["certificate"].encode())
        destroyed = found["keys_destroyed"]
        return Progress(
            datetime.fromisoformat(found["begun"]),
            tuple(found["addresses"]),
            datetime.fromisoformat(destroyed) if destroyed else None,
            int(found["key_versions"]),
            int(found["messages"]),
            int(found["versions"]),
            int(found["octets"]),
            str(found["digest"]),
            {str(code): int(count) for code, count in found.get("elsewhere", {}).items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Corrupt(key, f"not an erasure's note ({error})") from None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
