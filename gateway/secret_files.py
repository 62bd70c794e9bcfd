"""Secrets in files of their own: made once, mode 0600, read by their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from gateway.config import Config, ConfigError
from policy.geography import RegionCode
from storage.audit.note import NoteError, Signer

KEY_OCTETS: Final = 32


def read_key(path: Path) -> bytes:
    """32 octets in hexadecimal. Raises ConfigError naming the file and what was expected."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: readable by others; expected mode 0600")
        key = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `situs region provision` makes it") from None
    except ValueError:
        raise ConfigError(f"{path}: {KEY_OCTETS} octets in hexadecimal are expected") from None
    if len(key) != KEY_OCTETS:
        raise ConfigError(f"{path}: {KEY_OCTETS} octets in hexadecimal are expected, found {len(key)}")
    return key


def read_signer(config: Config, code: RegionCode) -> Signer:
    """The key that signs a region's log. Raises ConfigError, also for the key of another log."""
    path = config.audit[code].signing_key_file
    try:
        signer = Signer.load(path)
    except NoteError as error:
        raise ConfigError(str(error)) from None
    if signer.name != audit_origin(config, code):
        raise ConfigError(f"{path}: signs for {signer.name!r}, expected {audit_origin(config, code)!r}")
    return signer


def audit_origin(config: Config, code: RegionCode) -> str:
    """The name of a region's log: the first line of each of its checkpoints (C2SP tlog-checkpoint)."""
    return f"situs/{config.deployment}/{code}"


def make_missing(config: Config, code: RegionCode) -> list[Path]:
    """Makes whichever secret files a region lacks; returns those that were made. Raises ConfigError."""
    audit = config.audit[code]
    made = []
    for path in (config.directory_key_file, audit.pseudonym_key_file):
        if _create(path, secrets.token_hex(KEY_OCTETS)):
            made.append(path)
    if _create(audit.signing_key_file, Signer(audit_origin(config, code), secrets.token_bytes(32)).text()):
        made.append(audit.signing_key_file)
    return made


def _create(path: Path, text: str) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return True
