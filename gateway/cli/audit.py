"""`situs audit`: verify the log, read it, prove an entry, and be a witness to it."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.audit_list import print_entries
from gateway.cli.audit_logs import (
    Subject,
    configuration,
    directory_subject,
    region_code,
    region_subject,
    url_subject,
    verifier_key,
)
from gateway.cli.audit_verdict import as_json, show_report
from gateway.cli.bar import Bar
from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.secret_files import read_signer
from gateway.witness import serving_witness
from policy.geography import RegionCode
from storage.audit.copying import copy_log
from storage.audit.entry import Entry, Event
from storage.audit.log import AuditLog
from storage.audit.merkle import ProofError
from storage.audit.note import (
    Checkpoint,
    KeyKind,
    Note,
    NoteError,
    Signer,
    VerifierKey,
    generate_signer,
)
from storage.audit.report import Report
from storage.audit.source import BackendSource
from storage.audit.verify import Demands
from storage.audit.verify import verify as verify_log
from storage.audit.view import LogView, NoSuchEntry, Proof
from storage.audit.witness import Memory, Witness
from storage.identity import utc_now
from storage.region import RegionStore

_FILE = click.Path(path_type=Path, dir_okay=False)
_CONFIG = click.option("--config", type=_FILE, help="The configuration; else $SITUS_CONFIG, else situs.toml.")
_REGION = click.option("--region", "region", metavar="CODE", required=True, help="Whose log.")


@click.group()
def audit() -> None:
    """Verify, list and prove the audit log."""


@audit.command()
@click.option("--region", "regions", metavar="CODE", multiple=True, help="A configured region; else all.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="A copy of a log or its bucket.")
@click.option("--url", metavar="URL", help="A log that is served: the prefix before /checkpoint.")
@click.option("--key", metavar="VERIFIER_KEY", help="The log's key, or a file with it.")
@click.option("--checkpoint", "earlier", type=_FILE, multiple=True, help="An earlier one that you trust.")
@click.option("--save", type=_FILE, help="Keep the verified checkpoint, for the next time.")
@click.option("--witness", "witnesses", metavar="VERIFIER_KEY", multiple=True, help="Must have cosigned.")
@click.option("--quorum", type=click.IntRange(0), help="How many of the witnesses; all by default.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@_CONFIG
def verify(
    regions: tuple[str, ...],
    directory: Path | None,
    url: str | None,
    key: str | None,
    earlier: tuple[Path, ...],
    save: Path | None,
    witnesses: tuple[str, ...],
    quorum: int | None,
    json_: bool,
    config: Path | None,
) -> None:
    """Rebuild the tree from the entries, and compare everything with what is signed.

    Exit status 1 if anything at all is wrong; each fault is named. With --dir or --url the
    --key is needed, and nothing else: not Situs, not its operator.
    """
    outside = directory is not None or url is not None
    if sum((bool(regions), directory is not None, url is not None)) > 1:
        raise UsageFault("--region, --dir and --url: one of them is expected")
    if outside and key is None:
        raise UsageFault("--key: the log's verifier key is expected with --dir and --url")
    if quorum is not None and quorum > len(witnesses):
        raise UsageFault(f"--quorum: {quorum} cosignatures of {len(witnesses)} witnesses cannot be had")
    demands = Demands(
        earlier=[_earlier(path) for path in earlier],
        witnesses=[_witness_key(text) for text in witnesses],
        quorum=quorum,
    )
    log_key = verifier_key(key) if key is not None else None

    async def run() -> list[Report]:
        async with AsyncExitStack() as stack:
            if directory is not None and log_key:
                return [await _verify(directory_subject(directory, log_key), demands, save)]
            if url is not None and log_key:
                subject = await stack.enter_async_context(url_subject(url, log_key))
                return [await _verify(subject, demands, save)]
            settings = configuration(config)
            codes = [region_code(settings, text) for text in regions] or list(settings.serves)
            if len(codes) > 1 and (earlier or save or log_key):
                raise UsageFault("--key, --checkpoint and --save are about one log: give one --region")
            subjects = [await region_subject(settings, code, log_key) for code in codes]
            return [await _verify(subject, demands, save) for subject in subjects]

    reports = asyncio.run(run())
    if json_:
        click.echo(json.dumps(as_json(reports), indent=2))
    else:
        for report in reports:
            show_report(report)
    if broken := [report.origin for report in reports if not report.ok]:
        raise AnswerIsNo(f"{', '.join(broken)}: the log is not what was signed")


async def _verify(subject: Subject, demands: Demands, save: Path | None) -> Report:
    with Bar(subject.key.name, None) as bar:
        wanted = replace(
            demands,
            region=subject.region,
            records=subject.records,
            history=subject.history,
            progress=bar.stands,
        )
        report = await verify_log(subject.source, subject.key, wanted)
    if save is not None and report.ok:
        try:
            await asyncio.to_thread(save.write_bytes, report.checkpoint)
        except OSError as error:
            raise UsageFault(f"--save: {save}: {error.strerror or error}") from None
    return report


def _earlier(path: Path) -> bytes:
    """A checkpoint that somebody kept. Whose it is, and whether it is signed, the verifier finds out."""
    raw = _read(path)
    try:
        Checkpoint.parse(Note.parse(raw).text)
    except NoteError as error:
        raise UsageFault(f"--checkpoint: {path}: {error}") from None
    return raw


def _witness_key(text: str) -> VerifierKey:
    key = verifier_key(text, "--witness")
    if key.kind is not KeyKind.COSIGNATURE:
        raise UsageFault(f"--witness: {key.name!r} has a log's key: a cosignature key (type 4) is expected")
    return key


@audit.command("list")
@_REGION
@click.option("--from", "start", type=click.IntRange(0), default=0, show_default=True, help="First index.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option("--records", is_flag=True, help="Join the sealed records; $SITUS_TOKEN is an auditor's token.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on standard output.")
@_CONFIG
def list_(region: str, start: int, count: int, records: bool, json_: bool, config: Path | None) -> None:
    """Print entries. With --records, as an auditor cleared for the region sees them."""
    settings = configuration(config)
    code = region_code(settings, region)
    asyncio.run(print_entries(settings, code, start, count, records=records, json_=json_))


@audit.command()
@click.argument("index", type=click.IntRange(0))
@_REGION
@click.option("--json", "json_", is_flag=True, help="One JSON object instead of a .tlog-proof.")
@_CONFIG
def prove(index: int, region: str, json_: bool, config: Path | None) -> None:
    """Print the proof that an entry stands in the log: c2sp.org/tlog-proof, checkable offline."""
    settings = configuration(config)
    code = region_code(settings, region)
    try:
        proof = asyncio.run(_prove(settings, code, index))
    except NoSuchEntry as error:
        raise AnswerIsNo(str(error)) from None
    click.echo(json.dumps(proof.to_json(), indent=2) if json_ else proof.text(), nl=json_)


async def _prove(config: Config, code: RegionCode, index: int) -> Proof:
    subject = await region_subject(config, code, None)
    return await LogView(subject.source, subject.key).prove(index)


@audit.command()
@_REGION
@click.option("--to", "directory", type=click.Path(path_type=Path, file_okay=False), required=True)
@_CONFIG
def export(region: str, directory: Path, config: Path | None) -> None:
    """Copy a region's log into a directory, for whoever verifies it offline. Is itself an entry."""
    settings = configuration(config)
    code = region_code(settings, region)
    checkpoint = asyncio.run(_export(settings, code, directory))
    click.echo(f"{directory}: {checkpoint.size} entries of {checkpoint.origin}")


async def _export(config: Config, code: RegionCode, directory: Path) -> Checkpoint:
    store = await RegionStore.open(config.regions[code], config.deployment)
    signer = read_signer(config, code)
    async with await AuditLog.open(store.audit, code, signer) as log:
        place = await log.append(Entry(time=utc_now(), event=Event.AUDIT_EXPORTED, region=code))
        await log.published(place.size)
    with Bar(signer.name, None) as bar:
        try:
            return await copy_log(BackendSource(store.audit), directory, signer.key, bar.stands)
        except OSError as error:
            raise UsageFault(f"--to: {directory}: {error.strerror or error}") from None


@audit.command()
@click.argument("file", type=_FILE)
@click.option("--key", metavar="VERIFIER_KEY", required=True, help="The log's key, or a file with it.")
def check(file: Path, key: str) -> None:
    """Check a proof that `audit prove` printed, and print the entry that it proves. Offline."""
    try:
        proof = Proof.parse(_read(file).decode("utf-8"))
        checkpoint = proof.verify(verifier_key(key))
    except (ProofError, NoteError, UnicodeDecodeError) as error:
        raise AnswerIsNo(f"{file}: {error}") from None
    click.echo(proof.entry.decode())
    click.echo(f"entry {proof.index} of {checkpoint.origin}, a log of {checkpoint.size}: proven", err=True)


@audit.command()
@click.option("--log", "logs", metavar="VERIFIER_KEY", multiple=True, required=True, help="A log to witness.")
@click.option("--name", default="witness.example/situs", show_default=True, help="Of a key made anew.")
@click.option("--key-file", type=_FILE, required=True, help="Its signing key; made if need be.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Its memory.")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8026", show_default=True)
def witness(logs: tuple[str, ...], name: str, key_file: Path, state: Path, listen: str) -> None:
    """Be a witness: cosign the checkpoints of logs that never take anything back.

    Prints its verifier key, for the log's configuration and for `audit verify --witness`.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageFault("--listen: 'HOST:PORT' is expected, such as '127.0.0.1:8026'")
    try:
        keys = [verifier_key(text, "--log") for text in logs]
        if key_file.exists():
            signer = Signer.load(key_file)
        else:
            signer = generate_signer(key_file, name, KeyKind.COSIGNATURE)
        cosigner = Witness(signer, keys, Memory(state), utc_now)
    except (NoteError, OSError) as error:
        raise UsageFault(str(error)) from None
    asyncio.run(_serve(cosigner, host, int(port)))


async def _serve(witness: Witness, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with serving_witness(witness, host, port) as url:
            click.echo(f"{witness.key}")
            click.echo(f"listening on {url}", err=True)
            await stopped.wait()
    except OSError as error:
        raise UsageFault(f"--listen: {host}:{port}: {error.strerror or error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}") from None
