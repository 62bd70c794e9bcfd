"""`situs audit list`: entries as lines or JSON, and for an auditor the sealed records with them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any, Final

import click

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.secret_files import read_key, read_signer
from policy.clearance import NotCleared, Operator, Role, clear
from policy.geography import RegionCode
from storage.audit.entry import Entry, Event
from storage.audit.log import AuditLog
from storage.audit.pseudonym import Pseudonyms
from storage.audit.records import Erased, RecordRoom
from storage.audit.source import BackendSource
from storage.audit.view import LogView
from storage.errors import Corrupt, NotFound
from storage.identity import utc_now
from storage.operators import OperatorRegister, Token, person
from storage.region import RegionStore
from storage.vault import Vault

TOKEN_VARIABLE: Final = "SITUS_TOKEN"


async def print_entries(
    config: Config, code: RegionCode, start: int, count: int, *, records: bool, json_: bool
) -> None:
    """Read, and print. Raises UsageFault, AnswerIsNo, StorageError."""
    store = await RegionStore.open(config.regions[code], config.deployment)
    view = LogView(BackendSource(store.audit), read_signer(config, code).key)
    vault = Vault(store)
    if records:
        # The reading is itself an entry, committed before the first record is opened.
        operator = await _auditor(vault, code)
        await _note_reading(config, store, operator)
    entries = await view.entries(start, count)
    joined = await _join(RecordRoom(store, vault), entries) if records else [None] * len(entries)
    if json_:
        items = [
            {"index": index, "entry": entry.to_json()} | ({"record": record} if records else {})
            for index, (entry, record) in enumerate(zip(entries, joined, strict=True), start)
        ]
        click.echo(json.dumps({"region": code.value, "entries": items}, indent=2))
        return
    for index, (entry, record) in enumerate(zip(entries, joined, strict=True), start):
        click.echo(line(index, entry))
        if record is not None:
            click.echo("        " + json.dumps(record, ensure_ascii=False, sort_keys=True))


def line(index: int, entry: Entry) -> str:
    """One entry for people: when, what, what came of it, and what is public of the rest."""
    words = [f"{index:>7}", entry.time.isoformat(timespec="seconds"), f"{entry.event:<24}"]
    if entry.outcome:
        words.append(entry.outcome.value)
    for name in ("instrument", "claimed_jurisdiction", "issuer", "account", "operator", "disclosure", "hold"):
        if (value := getattr(entry, name)) is not None:
            words.append(f"{name}={value}")
    if entry.findings:
        words.append("failed=" + ",".join(entry.findings))
    return "  ".join(words)


async def _join(room: RecordRoom, entries: Sequence[Entry]) -> list[dict[str, Any] | None]:
    async def one(entry: Entry) -> dict[str, Any] | None:
        if entry.record is None:
            return None
        try:
            return await room.open(entry.record)
        except Erased:
            return {"unreadable": "its account was erased"}
        except (NotFound, Corrupt) as error:
            return {"unreadable": str(error)}

    return list(await asyncio.gather(*map(one, entries)))


async def _auditor(vault: Vault, code: RegionCode) -> Operator:
    """Whoever $SITUS_TOKEN stands for, if the region's own record clears them as an auditor."""
    token = Token.parse(os.environ.get(TOKEN_VARIABLE, ""))
    if token is None:
        raise UsageFault(f"${TOKEN_VARIABLE}: an operator's token is expected with --records")
    try:
        record = await OperatorRegister(vault).get(token.id)
    except NotFound:
        raise AnswerIsNo(f"${TOKEN_VARIABLE}: not cleared as auditor for {code}") from None
    genuine = await asyncio.to_thread(token.matches, record.credential)
    operator = record.operator(code)
    try:
        clear(operator, Role.AUDITOR, code)
    except NotCleared:
        genuine = False
    if not genuine or not record.in_force(utc_now()):
        raise AnswerIsNo(f"${TOKEN_VARIABLE}: not cleared as auditor for {code}")
    return operator


async def _note_reading(config: Config, store: RegionStore, operator: Operator) -> None:
    code = store.region.code
    pseudonyms = Pseudonyms(read_key(config.audit[code].pseudonym_key_file))
    entry = Entry(
        time=utc_now(),
        event=Event.AUDIT_READ,
        region=code,
        operator=pseudonyms.operator(person(operator.name)),
    )
    async with await AuditLog.open(store.audit, code, read_signer(config, code)) as log:
        await log.append(entry)
