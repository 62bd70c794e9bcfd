"""Which log a command is about: a configured region's, a directory's, a web server's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from yarl import URL

from gateway.cli.outcome import UsageFault
from gateway.config import Config, load_config
from gateway.secret_files import read_signer
from policy.geography import GeographyError, RegionCode
from storage.audit.note import NoteError, VerifierKey
from storage.audit.records import RecordRoom
from storage.audit.remote import UrlSource
from storage.audit.source import BackendSource, DirectorySource, Source
from storage.audit.verify import History, Records
from storage.errors import NotFound
from storage.region import RegionStore
from storage.vault import Vault
from storage.versions import Versions


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """A log that can be read, the key that it must be signed with, and what else is known of it."""

    source: Source
    key: VerifierKey
    region: RegionCode | None = None
    records: Records | None = None
    history: History | None = None


def configuration(path: Path | None) -> Config:
    """`--config`, else $SITUS_CONFIG, else `situs.toml`. Raises ConfigError."""
    return load_config(path or Path(os.environ.get("SITUS_CONFIG", "situs.toml")))


def region_code(config: Config, text: str) -> RegionCode:
    """A region of the configuration. Raises UsageFault."""
    try:
        code = RegionCode.parse(text)
    except GeographyError as error:
        raise UsageFault(f"--region: {error}") from None
    if code not in config.regions:
        known = ", ".join(map(str, config.regions))
        raise UsageFault(f"--region: {code} is not in {config.path} (there are {known})")
    return code


def verifier_key(text: str, option: str = "--key") -> VerifierKey:
    """A verifier key, or a file that holds one. Raises UsageFault."""
    try:
        if "+" not in text:  # every verifier key has one, and few files do
            text = Path(text).read_text("utf-8").strip()
        return VerifierKey.parse(text)
    except OSError as error:
        reason = error.strerror or error
        raise UsageFault(
            f"{option}: {text!r} is no verifier key (name+keyid+base64) nor a file: {reason}"
        ) from None
    except (NoteError, UnicodeDecodeError) as error:
        raise UsageFault(f"{option}: {error}") from None


def directory_subject(directory: Path, key: VerifierKey) -> Subject:
    """Raises UsageFault where there is no log."""
    try:
        return Subject(DirectorySource(directory), key)
    except NotFound:
        raise UsageFault(f"--dir: {directory}: no log here: a file 'checkpoint' is expected") from None


@asynccontextmanager
async def url_subject(url: str, key: VerifierKey) -> AsyncIterator[Subject]:
    try:
        parsed = URL(url)
        plain = (
            parsed.scheme in ("http", "https")
            and parsed.host
            and not parsed.query_string
            and not parsed.fragment
        )
    except ValueError:
        plain = False
    if not plain:
        raise UsageFault(f"--url: {url!r}: an http or https URL is expected, without a query")
    async with UrlSource.open(url) as source:
        yield Subject(source, key)


async def region_subject(config: Config, code: RegionCode, key: VerifierKey | None) -> Subject:
    """The log in a region's own bucket, with its sealed records. Raises FenceBroken, Unavailable."""
    store = await RegionStore.open(config.regions[code], config.deployment)
    return Subject(
        BackendSource(store.audit),
        key or read_signer(config, code).key,
        code,
        RecordRoom(store, Vault(store)),
        Versions(store, of=store.audit),
    )
