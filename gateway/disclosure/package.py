"""The package: what an authority gets, encrypted to it part by part, and the manifest that binds them.

    decision.json  order.jws  custody.json                      what was decided, on what, by whom
    audit.json  audit.tlog-proof                                that the release stands in the log
    subscriber.json  identification.json                        as far as the permit carries them
    traffic-0001.jsonl  traffic-0001.csv  content-0001.zip ...  in parts of at most 64 MiB
    content-0001.mbox                                           the content once more, where asked for

Only a `RecordedPermit` gets this far: the release stands in the log before the first byte is read. Parts go,
step by step (`making`), into a folder named by that log entry. Nobody can ask for them before the disclosure
and its manifest name them: behind what a crash half way has left, the next process goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, ParamSpec, TypeVar, final

from gateway.disclosure import models
from gateway.disclosure.cms import Recipient
from gateway.disclosure.lifecycle import Case, Deed
from gateway.disclosure.making import Making, Place, Stage, Step, part_key
from gateway.disclosure.office import software
from gateway.disclosure.parts import (
    Letter,
    MessageVolume,
    PartWriter,
    TooLarge,
    TrafficVolume,
    document,
    mbox_message,
    plain,
)
from policy.order import DataCategory, Timespan
from storage.audit.log import AuditLog
from storage.disclosure_reader import DisclosureReader, StoredMessage, Unreadable
from storage.identity import KeyRange, MessageId
from storage.objects import Bucket
from storage.tombstones import TOMBSTONES

P = ParamSpec("P")
T = TypeVar("T")

# Octets from which on a message is packed and encrypted in a thread: less takes less than getting there.
_LARGE: Final = 256 * 1024


@final
@dataclass(frozen=True, slots=True)
class Built:
    """A finished package: its manifest, and whether anything was found at all."""

    manifest: bytes
    found: bool
    complete: bool


@final
@dataclass(frozen=True, slots=True)
class Commission:
    """All that the making of one package needs, besides what it reads.

    `order` is the order as it is released on: as received, or with the validating signature that came since.
    """

    case: Case
    approved: Deed
    order: str
    order_digest: str
    decision: dict[str, Any]
    decision_digest: str
    categories: frozenset[DataCategory]
    timespan: Timespan | None
    recipient: Recipient
    release: int
    began: datetime
    expires: datetime
    part_size: int


@final
class _Binder:
    """Encrypts parts, puts them where they belong, and keeps count."""

    def __init__(self, store: Bucket, commission: Commission, making: Making, done: Sequence[Step]) -> None:
        self._store: Final = store
        self._commission: Final = commission
        self._making: Final = making
        self.steps: Final = list(done)
        self._errors: Final = {_told(error) for step in done for error in step.errors}
        self._messages: list[bytes] = []  # as JSON already: there may be a hundred thousand
        self._omitted: list[models.Omission] = []
        self._traffic_records = 0
        self._writing: asyncio.Task[None] | None = None
        self._volumes = {
            stage: sum(part.name.endswith(ending) for step in done for part in step.parts)
            for stage, ending in ((Stage.TRAFFIC, ".jsonl"), (Stage.CONTENT, ".zip"))
        }

    @property
    def begins(self) -> Place:
        """Where the next step begins."""
        return self.steps[-1].following if self.steps else Place(Stage.PAPERS)

    def next_volume(self, stage: Stage) -> int:
        self._volumes[stage] += 1
        return self._volumes[stage]

    def placed(self, row: models.Message) -> None:
        self._messages.append(row.model_dump_json().encode())

    def traffic_record(self) -> None:
        self._traffic_records += 1

    def omit(self, key: str, code: str, detail: str) -> None:
        """Selected, and not handed over: told to the authority, once for a message."""
        omission = models.Omission(message_id=key.rpartition("/")[2], code=code, detail=detail)
        if _told(omission) not in self._errors:
            self._errors.add(_told(omission))
            self._omitted.append(omission)

    async def step(self, parts: Sequence[PartWriter], following: Place) -> None:
        """End a step. It is finished and written while the next one is read: two are in memory at most."""
        await self.settle()
        messages, omitted, records = tuple(self._messages), tuple(self._omitted), self._traffic_records
        self._messages, self._omitted, self._traffic_records = [], [], 0
        work = self._write(tuple(parts), messages, omitted, records, following)
        self._writing = asyncio.create_task(work, name=f"step {len(self.steps)}")

    async def settle(self) -> None:
        """Wait until every step is written. Raises what writing it raised."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def abandon(self) -> None:
        """Stop what is being written: the package will not be finished here."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(
        self,
        parts: tuple[PartWriter, ...],
        messages: tuple[bytes, ...],
        omitted: tuple[models.Omission, ...],
        records: int,
        following: Place,
    ) -> None:
        """The parts first, then the step that names them: what it names is there."""
        case, told = self._commission.case, []
        for part in parts:
            sealed = await asyncio.to_thread(part.finish)
            key = part_key(case.id, self._commission.release, sealed.told.encrypted_sha256)
            await self._store.put(key, sealed.body)
            told.append(sealed.told)
        step = Step(tuple(told), messages, omitted, records, following)
        await self._making.record(len(self.steps), step)
        self.steps.append(step)


def _told(omission: models.Omission) -> tuple[str | None, str, str]:
    return omission.message_id, omission.code, omission.detail


async def build(
    commission: Commission, making: Making, reader: DisclosureReader, store: Bucket, log: AuditLog
) -> Built:
    """Read, encrypt and put every part that is not there yet; returns the manifest, to be made public.

    Raises Overtaken, and what the bucket and the log raise; a message that cannot be opened is an entry
    of the manifest's error list instead, since the others are still owed.
    """
    binder = _Binder(store, commission, making, await making.steps())
    try:
        await _bind(binder, commission, reader, store, log)
    finally:
        await binder.abandon()
    return _built(binder.steps, commission)


async def _bind(
    binder: _Binder, commission: Commission, reader: DisclosureReader, store: Bucket, log: AuditLog
) -> None:
    """Each stage begins where the steps before it have ended, and ends with a step of its own."""
    begins = binder.begins
    if begins.stage is Stage.PAPERS:
        await binder.step(await _papers(commission, reader, log), begins := Place(Stage.TRAFFIC))
    mail = commission.categories & {DataCategory.TRAFFIC, DataCategory.CONTENT}
    deleted = await _deleted(store, commission) if mail else frozenset()
    if begins.stage is Stage.TRAFFIC:
        if DataCategory.TRAFFIC in commission.categories:
            await _add_traffic(binder, reader, commission, deleted, begins.after)
        begins = Place(Stage.CONTENT)
    if begins.stage is Stage.CONTENT:
        if DataCategory.CONTENT in commission.categories:
            await _add_content(binder, reader, commission, deleted, begins.after)
        begins = Place(Stage.CUSTODY)
    if begins.stage is Stage.CUSTODY:
        custody = document("custody.json", _custody(commission).model_dump(mode="json"), commission.recipient)
        await binder.step([custody], Place(Stage.NOTHING))
    await binder.settle()


async def _papers(commission: Commission, reader: DisclosureReader, log: AuditLog) -> list[PartWriter]:
    to, region = commission.recipient, str(commission.case.region)
    proof = await log.prove(commission.release)
    papers = [
        document("decision.json", commission.decision, to),
        plain("order.jws", "application/jose", commission.order.encode(), to),
        document("audit.json", {"region": region, **proof.to_json()}, to),
        plain("audit.tlog-proof", "text/plain", proof.text().encode(), to),
    ]
    if DataCategory.SUBSCRIBER in commission.categories:
        papers.append(document("subscriber.json", await reader.subscriber(), to))
    if DataCategory.IDENTIFICATION in commission.categories:
        papers.append(document("identification.json", await reader.identification(), to))
    return papers


async def _add_traffic(
    binder: _Binder,
    reader: DisclosureReader,
    commission: Commission,
    deleted: frozenset[MessageId],
    after: str | None,
) -> None:
    volume: TrafficVolume | None = None
    async with aclosing(reader.traffic(after=after)) as records:
        async for found in records:
            if isinstance(found, Unreadable):
                binder.omit(found.key, "unreadable", found.rule)
                continue
            if volume is not None and volume.size >= commission.part_size:
                await binder.step(volume.close(), Place(Stage.TRAFFIC, after))
                volume = None
            if volume is None:
                volume = TrafficVolume(binder.next_volume(Stage.TRAFFIC), commission.recipient)
            volume.add(found.to_json() | {"deleted_by_owner": found.id in deleted})
            binder.traffic_record()
            after = str(found.id)
    await binder.step(volume.close() if volume else [], Place(Stage.CONTENT))


async def _add_content(
    binder: _Binder,
    reader: DisclosureReader,
    commission: Commission,
    deleted: frozenset[MessageId],
    after: str | None,
) -> None:
    wants_mbox = models.Rendition.MBOX in commission.case.renditions
    volume: MessageVolume | None = None
    async with aclosing(reader.messages(after=after)) as messages:
        async for message in messages:
            if isinstance(message, Unreadable):
                binder.omit(message.key, "unreadable", message.rule)
                continue
            name = str(message.message_id)
            try:
                letter = await _aside(message, Letter.of, name, message.received_at, message.content)
            except TooLarge as error:
                binder.omit(name, "too-large", str(error))
                continue
            again = await _for_mbox(binder, message) if wants_mbox else None
            if volume is not None and not volume.has_room(letter, again, commission.part_size):
                await binder.step(volume.close(), Place(Stage.CONTENT, after))
                volume = None
            if volume is None:
                number = binder.next_volume(Stage.CONTENT)
                volume = MessageVolume(number, commission.recipient, mbox=wants_mbox)
            placed = await _aside(message, volume.add, letter, again)
            binder.placed(
                models.Message(
                    part=placed.part,
                    path=placed.path,
                    message_id=name,
                    received_at=message.received_at,
                    size=placed.size,
                    sha256=placed.sha256,
                    deleted_by_owner=message.message_id in deleted,
                )
            )
            after = name
    await binder.step(volume.close() if volume else [], Place(Stage.CUSTODY))


async def _aside(message: StoredMessage, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What takes long for a large message, in a thread where it is one."""
    if len(message.content) < _LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def _for_mbox(binder: _Binder, message: StoredMessage) -> bytes | None:
    try:
        return await _aside(message, mbox_message, message.received_at, message.content)
    except TooLarge as error:  # the quoting made it so: its EML is there
        binder.omit(str(message.message_id), "too-large-for-mbox", str(error))
        return None


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
        packaged=commission.began,
        software=software(),
        recipient=commission.recipient.fingerprint,
    )


def _built(steps: Sequence[Step], commission: Commission) -> Built:
    messages = [row for step in steps for row in step.messages]
    errors = [error for step in steps for error in step.errors]
    counts = models.Counts(
        messages=len(messages),
        traffic_records=sum(step.traffic_records for step in steps),
        errors=len(errors),
    )
    parts = [part for step in steps for part in step.parts]
    manifest = _manifest(commission, counts, parts, errors, messages)
    one_only = commission.categories & {DataCategory.SUBSCRIBER, DataCategory.IDENTIFICATION}
    found = bool(one_only or messages or counts.traffic_records)
    return Built(manifest, found, complete=not errors)


def _manifest(
    commission: Commission,
    counts: models.Counts,
    parts: list[models.Part],
    errors: list[models.Omission],
    messages: list[bytes],
) -> bytes:
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
        order_digest=commission.order_digest,
        audit=models.Audit(region=str(case.region), index=commission.release),
        custody=_custody(commission),
        counts=counts,
        parts=parts,
        errors=errors,
        expires=commission.expires,
        messages=[],
    )
    head, empty = manifest.model_dump_json().encode(), b'"messages":[]}'
    if not head.endswith(empty):
        raise AssertionError("`messages` is the last field of the manifest")
    return b"".join((head[: -len(empty)], b'"messages":[', b",".join(messages), b"]}"))


def terms_digest(
    order_digest: str,
    decision_digest: str,
    categories: frozenset[DataCategory],
    timespan: Timespan | None,
    recipient: Recipient,
    part_size: int,
) -> str:
    """What a release is of, for whom and on what: where one of these has changed, it is another release."""
    span = [timespan.start.isoformat(), timespan.end.isoformat()] if timespan else None
    told = [
        order_digest,
        decision_digest,
        sorted(categories),
        span,
        recipient.fingerprint,
        part_size,
        software(),
    ]
    return f"sha256:{hashlib.sha256(json.dumps(told).encode()).hexdigest()}"
