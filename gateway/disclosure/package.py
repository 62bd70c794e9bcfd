"""The package: what an authority gets, encrypted to it part by part, and the manifest that binds them.

    decision.json  order.jws  custody.json                      what was decided, on what, by whom
    audit.json  audit.tlog-proof                                that the release stands in the log
    subscriber.json  identification.json                        as far as the permit carries them
    traffic-0001.jsonl  traffic-0001.csv  content-0001.zip ...  in parts of at most 64 MiB
    content-0001.mbox                                           the content once more, where asked for

Only a `RecordedPermit` gets this far: the release stands in the log before the first byte is read.
Parts are written as they are made, into a folder named by the release's log entry. Nobody can ask
for them before the disclosure names that entry: a crash half way leaves files that nothing names.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

from gateway.disclosure import models
from gateway.disclosure.cms import Recipient, envelope
from gateway.disclosure.lifecycle import Case, Deed, DisclosureId
from gateway.disclosure.models import Rendition
from gateway.disclosure.office import software
from gateway.disclosure.parts import (
    MboxVolumes,
    MessageVolumes,
    Plain,
    TooLarge,
    TrafficVolumes,
    document,
)
from policy.order import DataCategory, Timespan
from storage.audit.log import AuditLog
from storage.disclosure_reader import DisclosureReader, StoredMessage, Unreadable
from storage.identity import KeyRange, MessageId
from storage.objects import Bucket
from storage.tombstones import TOMBSTONES


@final
@dataclass(frozen=True, slots=True)
class Built:
    """A finished package: its manifest, and whether anything was found at all."""

    manifest: bytes
    digest: str
    found: bool
    complete: bool


@final
@dataclass(frozen=True, slots=True)
class Commission:
    """All that the making of one package needs, besides what it reads."""

    case: Case
    approved: Deed
    decision: dict[str, Any]
    decision_digest: str
    categories: frozenset[DataCategory]
    timespan: Timespan | None
    recipient: Recipient
    release: int
    now: datetime
    expires: datetime
    part_size: int


def folder(disclosure: DisclosureId, release: int) -> str:
    """Where the files of one making of a package lie: two processes never write into each other's."""
    return f"packages/{disclosure}/{release}"


@final
class _Binder:
    """Encrypts parts, puts them where they belong, and keeps count."""

    def __init__(self, store: Bucket, commission: Commission) -> None:
        self._store: Final = store
        self._commission: Final = commission
        self.parts: Final[list[models.Part]] = []
        self.messages: Final[list[bytes]] = []  # as JSON already: there may be a hundred thousand
        self.errors: Final[list[models.Omission]] = []
        self.traffic_records = 0
        self._writing: asyncio.Task[None] | None = None

    async def add(self, plain: Plain | None) -> None:
        """Put a part. It is encrypted and written while the next one is read: two are in memory at most."""
        if plain is None:
            return
        await self.settle()
        self._writing = asyncio.create_task(self._write(plain), name=f"part {plain.name}")

    async def settle(self) -> None:
        """Wait until every part is written. Raises what writing it raised."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def abandon(self) -> None:
        """Stop what is being written: the package will not be finished."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self, plain: Plain) -> None:
        # Encrypting 32 MiB takes 0.1 s: too long for the loop that answers everybody else.
        sealed = await asyncio.to_thread(envelope, plain.body, self._commission.recipient)
        place = folder(self._commission.case.id, self._commission.release)
        await self._store.put(f"{place}/{plain.name}", sealed)
        self.parts.append(
            models.Part(
                name=plain.name,
                media_type=plain.media_type,
                size=len(plain.body),
                sha256=hashlib.sha256(plain.body).hexdigest(),
                encrypted_size=len(sealed),
                encrypted_sha256=hashlib.sha256(sealed).hexdigest(),
            )
        )

    def omit(self, key: str, code: str, detail: str) -> None:
        """Selected, and not handed over: told to the authority, once for a message."""
        omission = models.Omission(message_id=key.rpartition("/")[2], code=code, detail=detail)
        if omission not in self.errors:
            self.errors.append(omission)

    async def add_all(self, plains: Iterator[Plain]) -> None:
        for plain in plains:
            await self.add(plain)


async def build(commission: Commission, reader: DisclosureReader, store: Bucket, log: AuditLog) -> Built:
    """Read, encrypt and put every part; returns the manifest, which the caller makes public.

    Raises what the bucket and the log raise; a message that cannot be opened is an entry of the
    manifest's error list instead, since the others are still owed.
    """
    binder = _Binder(store, commission)
    try:
        return await _bound(binder, commission, reader, store, log)
    finally:
        await binder.abandon()


async def _bound(
    binder: _Binder, commission: Commission, reader: DisclosureReader, store: Bucket, log: AuditLog
) -> Built:
    await binder.add(document("decision.json", commission.decision))
    await binder.add(Plain("order.jws", "application/jose", commission.case.order.encode()))
    proof = await log.prove(commission.release)
    await binder.add(document("audit.json", {"region": str(commission.case.region), **proof.to_json()}))
    await binder.add(Plain("audit.tlog-proof", "text/plain", proof.text().encode()))
    if DataCategory.SUBSCRIBER in commission.categories:
        await binder.add(document("subscriber.json", await reader.subscriber()))
    if DataCategory.IDENTIFICATION in commission.categories:
        await binder.add(document("identification.json", await reader.identification()))
    mail = commission.categories & {DataCategory.TRAFFIC, DataCategory.CONTENT}
    deleted = await _deleted(store, commission) if mail else frozenset()
    if DataCategory.TRAFFIC in commission.categories:
        await _add_traffic(binder, reader, commission, deleted)
    if DataCategory.CONTENT in commission.categories:
        await _add_content(binder, reader, commission, deleted)
    custody = _custody(commission)
    await binder.add(document("custody.json", custody.model_dump(mode="json")))
    await binder.settle()
    manifest = _manifest(binder, commission, custody)
    one_only = commission.categories & {DataCategory.SUBSCRIBER, DataCategory.IDENTIFICATION}
    found = bool(one_only or binder.messages or binder.traffic_records)
    return Built(manifest, _digest(manifest), found, complete=not binder.errors)


async def _add_traffic(
    binder: _Binder, reader: DisclosureReader, commission: Commission, deleted: frozenset[MessageId]
) -> None:
    volumes = TrafficVolumes(commission.part_size)
    async with aclosing(reader.traffic()) as records:
        async for found in records:
            if isinstance(found, Unreadable):
                binder.omit(found.key, "unreadable", found.rule)
                continue
            record = found.to_json() | {"deleted_by_owner": found.id in deleted}
            await binder.add_all(volumes.add(record))
            binder.traffic_records += 1
    await binder.add_all(volumes.finish())


async def _add_content(
    binder: _Binder, reader: DisclosureReader, commission: Commission, deleted: frozenset[MessageId]
) -> None:
    volumes = MessageVolumes(commission.part_size)
    mbox = MboxVolumes(commission.part_size) if Rendition.MBOX in commission.case.renditions else None
    async with aclosing(reader.messages()) as messages:
        async for message in messages:
            if isinstance(message, Unreadable):
                binder.omit(message.key, "unreadable", message.rule)
                continue
            await _add_message(binder, volumes, message, message.message_id in deleted)
            if mbox is not None:
                await _add_mbox(binder, mbox, message)
    await binder.add(volumes.finish())
    if mbox is not None:
        await binder.add(mbox.finish())


async def _add_message(
    binder: _Binder, volumes: MessageVolumes, message: StoredMessage, deleted: bool
) -> None:
    name = str(message.message_id)
    try:
        placed, full = volumes.add(name, message.received_at, message.content, deleted_by_owner=deleted)
    except TooLarge as error:
        binder.omit(name, "too-large", str(error))
        return
    row = models.Message(
        part=placed.part,
        path=placed.path,
        message_id=placed.message_id,
        received_at=placed.received_at,
        size=placed.size,
        sha256=placed.sha256,
        deleted_by_owner=placed.deleted_by_owner,
    )
    binder.messages.append(row.model_dump_json().encode())
    await binder.add(full)


async def _add_mbox(binder: _Binder, mbox: MboxVolumes, message: StoredMessage) -> None:
    try:
        await binder.add(mbox.add(message.received_at, message.content))
    except TooLarge as error:  # the quoting made it so: its EML is there
        binder.omit(str(message.message_id), "too-large-for-mbox", str(error))


async def _deleted(store: Bucket, commission: Commission) -> frozenset[MessageId]:
    """The messages of the timespan that their owner has deleted, and that are still here by law."""
    prefix, wanted = f"{TOMBSTONES}{commission.case.account}/", KeyRange.of(commission.timespan)
    found = set()
    async for listed in store.list(prefix, start_after=prefix + wanted.after):
        if listed.key >= prefix + wanted.before:
            break
        found.add(MessageId.parse(listed.key.removeprefix(prefix)))
    return frozenset(found)


def _custody(commission: Commission) -> models.Custody:
    case, approved = commission.case, commission.approved
    return models.Custody(
        asked_by=case.asked.by,
        asked=case.asked.at,
        approved_by=approved.by,
        approved=approved.at,
        packaged=commission.now,
        software=software(),
        recipient=commission.recipient.fingerprint,
    )


def _manifest(binder: _Binder, commission: Commission, custody: models.Custody) -> bytes:
    """The manifest's JSON, its messages spliced in: as models they would take ten times the memory."""
    case, timespan = commission.case, commission.timespan
    manifest = models.Manifest(
        manifest="situs-package/1",
        disclosure=str(case.id),
        region=str(case.region),
        reference=case.reference,
        categories=sorted(commission.categories),
        timespan_start=timespan.start if timespan else None,
        timespan_end=timespan.end if timespan else None,
        decision_digest=commission.decision_digest,
        order_digest=case.order_digest,
        audit=models.Audit(region=str(case.region), index=commission.release),
        custody=custody,
        counts=models.Counts(
            messages=len(binder.messages), traffic_records=binder.traffic_records, errors=len(binder.errors)
        ),
        parts=binder.parts,
        errors=binder.errors,
        expires=commission.expires,
        messages=[],
    )
    head, empty = manifest.model_dump_json().encode(), b'"messages":[]}'
    if not head.endswith(empty):
        raise AssertionError("`messages` is the last field of the manifest")
    return b"".join((head[: -len(empty)], b'"messages":[', b",".join(binder.messages), b"]}"))


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
