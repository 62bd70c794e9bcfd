"""The sweeper: what its owner has deleted and what has outlived its retention goes, unless it is held.

Any number of processes may sweep a region. Each takes the next account that nobody is sweeping
(`sweeps/<account>`, taken by compare-and-swap for as long as the work shows progress), goes through
it in key order, and writes down how far it came; whoever takes the account next goes on from
there. Two that sweep the same account all the same, since a claim has run out, do no harm: every
deletion asks the register of its own.

The sweeper never deletes on a doubt. A hold, a label or a rule that cannot be read stops it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, final

import structlog

from policy.hold import HoldId, Mailbox
from policy.retention import Due, LabelName, Reach, Retention, RetentionError, RetentionRule
from storage.contents import Stored, stored_messages
from storage.deletion import BATCH, Candidate, Deletions, Outcome
from storage.errors import Conflict, Corrupt, NotFound
from storage.holds import HoldRegister
from storage.identity import AccountId, MessageId
from storage.in_order import as_stream
from storage.labels import read_label
from storage.mailboxes import accounts_at_home, mailbox_of
from storage.moving import Moving
from storage.objects import ETag
from storage.opening import Opener
from storage.region import RegionStore

_log: Final = structlog.get_logger(__name__)

RULES: Final = "retention/rules.json"
_CLAIM: Final = timedelta(minutes=5)
_SAVE_EVERY: Final = 5000  # messages looked at: a crash repeats at most so many


@dataclass(slots=True)
class SweepReport:
    """What a sweep did. `held` counts messages that were due and that a hold kept, `holds` says which."""

    accounts: int = 0
    looked_at: int = 0
    deleted: dict[Due, int] = field(default_factory=lambda: dict.fromkeys(Due, 0))
    held: int = 0
    locked: int = 0
    holds: set[HoldId] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        return {
            "accounts": self.accounts,
            "looked_at": self.looked_at,
            "deleted": {str(due): count for due, count in self.deleted.items()},
            "held": self.held,
            "locked": self.locked,
            "holds": sorted(map(str, self.holds)),
        }


Progress = Callable[[SweepReport], None]


async def read_rules(register: HoldRegister) -> tuple[Retention, ETag | None]:
    """The region's retention rules. Raises Corrupt, Unavailable: then nothing may be swept."""
    try:
        blob = await register.vault.get(RULES)
    except NotFound:
        return Retention(), None
    try:
        return _parse_rules(blob.body), blob.etag
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(RULES, f"not retention rules ({error})") from None


async def change_rules(register: HoldRegister, change: Callable[[Retention], Retention]) -> Retention:
    """Apply a change to the newest rules. Raises what `change` raises, Corrupt, Unavailable."""
    while True:
        before, etag = await read_rules(register)
        after = change(before)
        rules = [
            {
                "reach": rule.reach.value,
                "name": rule.name,
                "delete_after": rule.delete_after and rule.delete_after.days,
                "keep_at_least": rule.keep_at_least and rule.keep_at_least.days,
            }
            for rule in after.rules
        ]
        # The nonce keeps two writings of the same rules apart (`Bucket.compare_and_swap`).
        document = {"version": 1, "nonce": secrets.token_hex(8), "rules": rules}
        with suppress(Conflict):
            await register.vault.compare_and_swap(RULES, json.dumps(document).encode(), etag)
            return after


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who sweeps an account, until when, and how far it came: the last message looked at."""

    by: str
    until: datetime
    position: str = ""
    ended: datetime | None = None


@final
class Sweeper:
    """Sweeps one region. Needs the region's key service."""

    def __init__(self, store: RegionStore, register: HoldRegister) -> None:
        self._store: Final = store
        self._register: Final = register
        self._deletions: Final = Deletions(register)
        self._name: Final = secrets.token_hex(8)

    async def sweep(
        self,
        only: AccountId | None = None,
        *,
        every: timedelta = timedelta(days=1),
        progress: Progress = lambda _: None,
    ) -> SweepReport:
        """Every account (or this one) whose last sweep ended longer than `every` ago and that nobody
        else is sweeping.

        Raises Corrupt, Unavailable, Forbidden: what was not reached is swept by the next run.
        """
        report = SweepReport()
        await self._register.intents.sweep()
        accounts = accounts_at_home(self._store) if only is None else as_stream([only])
        async for account in accounts:
            try:
                await self._sweep_account(account, every, report, progress)
            except Moving:
                _log.info("retention.account_moving", account=str(account))
            except Conflict:  # the claim had run out, and somebody else goes on with the account
                _log.info("retention.claim_lost", account=str(account))
            except NotFound:  # the account moved away, or was erased, since it was listed
                _log.info("retention.account_gone", account=str(account))
        return report

    async def _sweep_account(
        self, account: AccountId, every: timedelta, report: SweepReport, progress: Progress
    ) -> None:
        taken = await self._take(account, every)
        if taken is None:
            return
        claim, etag = taken
        retention, _ = await read_rules(self._register)
        mailbox = await mailbox_of(self._store, account)
        opener = Opener(self._store, account)
        start = MessageId.parse(claim.position) if claim.position else None
        pending: list[tuple[Candidate, Due]] = []
        seen = 0
        async with self._deletions.on(mailbox, opener.traffic_if_known) as eraser:
            async for stored in stored_messages(self._register.versions, account, start_after=start):
                seen += 1
                report.looked_at += 1
                if (due := await why_due(self._register, retention, mailbox, stored)) is not None:
                    pending.append((stored.candidate, due))
                if len(pending) >= BATCH or seen % _SAVE_EVERY == 0:
                    _count(report, pending, await eraser.destroy([one for one, _ in pending]))
                    pending.clear()
                    progress(report)
                if seen % _SAVE_EVERY == 0:
                    claim = _Claim(self._name, self._register.clock() + _CLAIM, str(stored.message))
                    etag = await self._write(account, claim, etag)
            _count(report, pending, await eraser.destroy([one for one, _ in pending]))
        report.accounts += 1
        progress(report)
        now = self._register.clock()
        await self._write(account, _Claim(self._name, now, ended=now), etag)

    async def _take(self, account: AccountId, every: timedelta) -> tuple[_Claim, ETag] | None:
        """Claim an account; None where somebody sweeps it now, or has done so lately."""
        now = self._register.clock()
        key, etag, position = f"sweeps/{account}", None, ""
        try:
            blob = await self._register.vault.get(key)
        except NotFound:
            pass
        else:
            found = _read_claim(key, blob.body)
            if found.until > now or (found.ended is not None and found.ended + every > now):
                return None
            etag, position = blob.etag, found.position
        claim = _Claim(self._name, now + _CLAIM, position)
        try:
            return claim, await self._write(account, claim, etag)
        except Conflict:
            return None

    async def _write(self, account: AccountId, claim: _Claim, etag: ETag | None) -> ETag:
        body = json.dumps({"version": 1} | asdict(claim), default=datetime.isoformat).encode()
        return await self._register.vault.compare_and_swap(f"sweeps/{account}", body, etag)


async def why_due(
    register: HoldRegister, retention: Retention, mailbox: Mailbox, stored: Stored
) -> Due | None:
    """Why a message is to go now; None where it is to stay. Says nothing of holds.

    Raises Corrupt for a label that cannot be read, Unavailable.
    """
    if not stored.has_data:
        return Due.OWNER  # a tombstone or a label whose message is gone
    label: LabelName | None = None
    if stored.label_key is not None:
        label = await read_label(register.vault, stored.label_key)
    received = stored.message.received_at
    deleted = stored.deleted_by_owner
    return retention.due(mailbox, received, label, register.clock(), deleted_by_owner=deleted)


def _count(report: SweepReport, pending: list[tuple[Candidate, Due]], outcome: Outcome) -> None:
    why = dict(pending)
    for candidate in outcome.destroyed:
        report.deleted[why[candidate]] += 1
    report.held += len(outcome.held)
    report.locked += len(outcome.locked)
    report.holds.update(outcome.holds)


def _read_claim(key: str, body: bytes) -> _Claim:
    try:
        found = json.loads(body)
        ended = found["ended"]
        return _Claim(
            str(found["by"]),
            datetime.fromisoformat(found["until"]),
            str(found["position"]),
            datetime.fromisoformat(ended) if ended else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(key, f"not a sweeper's claim ({error})") from None


def _parse_rules(body: bytes) -> Retention:
    document = json.loads(body)
    if document["version"] != 1:
        raise RetentionError(f"version {document['version']!r} is unknown")
    return Retention(
        tuple(
            RetentionRule(
                Reach(rule["reach"]),
                str(rule["name"]),
                _days(rule["delete_after"]),
                _days(rule["keep_at_least"]),
            )
            for rule in document["rules"]
        )
    )


def _days(value: object) -> timedelta | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise RetentionError("a number of days is expected")
    return timedelta(days=value)
