"""The trust lists on disk: `trust/<JURISDICTION>/anchors/*.pem`, `crl/*.crl`, `authorities.toml`.

Read strictly: whatever stands there and is not understood is a fault, since an anchor that is
silently left out, or an authority with a misspelt key, is found out on the day it is needed.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias, final

from cryptography import x509

from gateway.config import ConfigError
from policy.geography import GeographyError, Jurisdiction
from policy.order import IssuerRole
from policy.trust import Authority, JurisdictionTrust, Trust, TrustError, TrustFault

_SPKI: Final = re.compile(r"[0-9a-f]{64}\Z")
_AUTHORITY_KEYS: Final = frozenset({"name", "spki_sha256", "roles"})
_State: TypeAlias = tuple[tuple[str, int, int, int], ...]


class TrustUnusable(ConfigError):
    """The trust lists cannot be used: one line for each fault, each with its file and rule."""


def load_trust(directory: Path) -> Trust:
    """Reads the trust lists of every jurisdiction in `directory`. Raises TrustUnusable."""
    reader = _Reader()
    lists = reader.read(directory)
    if not reader.faults and not lists:
        reader.fault(directory, "a directory for at least one jurisdiction is expected, such as IE/")
    if not reader.faults:
        try:
            return Trust(lists)
        except TrustError as error:
            for fault in error.faults:
                reader.fault(reader.origin(fault), fault.rule)
    raise TrustUnusable("\n".join(reader.faults))


@final
class TrustDirectory:
    """The trust lists as they stand on disk now: read again when a file there has changed.

    Revocation lists are renewed by other programs, which write under a name that begins with a dot and
    rename, so that nobody reads half a list. A directory that has become unusable raises
    TrustUnusable instead of answering from memory: the change may have been a revocation.
    """

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._state = _state(directory)
        self._trust = load_trust(directory)

    def __call__(self) -> Trust:
        state = _state(self._directory)
        if state != self._state:
            self._trust = load_trust(self._directory)
            self._state = state  # only now: after a fault, the next call tries again
        return self._trust


def _state(directory: Path) -> _State:
    """What a change of any file would change: a file replaced by renaming has another inode."""
    found = []
    for folder, folders, files in os.walk(directory, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except FileNotFoundError:  # replaced at this moment; the next call sees what came of it
                    continue
                found.append((path, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


class _Reader:
    """Reads everything there is, and keeps every fault with its file."""

    def __init__(self) -> None:
        self.faults: Final[list[str]] = []
        self._origins: Final[dict[int, Path]] = {}

    def fault(self, path: Path, rule: str) -> None:
        self.faults.append(f"{path}: {rule}")

    def origin(self, fault: TrustFault) -> Path:
        return self._origins[id(fault.subject)]

    def read(self, directory: Path) -> dict[Jurisdiction, JurisdictionTrust]:
        lists = {}
        for path in self._entries(directory):
            try:
                jurisdiction = Jurisdiction.parse(path.name)
            except GeographyError as error:
                self.fault(path, str(error))
                continue
            lists[jurisdiction] = self._jurisdiction(path)
        return lists

    def _jurisdiction(self, directory: Path) -> JurisdictionTrust:
        for path in self._entries(directory):
            if path.name not in ("anchors", "crl", "authorities.toml"):
                self.fault(path, "only anchors/, crl/ and authorities.toml may stand here")
        anchors = tuple(
            anchor for path in self._entries(directory / "anchors") for anchor in self._certificates(path)
        )
        crls = tuple(crl for path in self._entries(directory / "crl") for crl in self._revocation_list(path))
        return JurisdictionTrust(anchors, crls, tuple(self._authorities(directory / "authorities.toml")))

    def _entries(self, directory: Path) -> list[Path]:
        try:
            return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self.fault(directory, error.strerror or str(error))
            return []

    def _octets(self, path: Path, suffix: str) -> bytes | None:
        if path.suffix != suffix:
            self.fault(path, f"only *{suffix} files may stand here")
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            self.fault(path, error.strerror or str(error))
            return None

    def _certificates(self, path: Path) -> Iterator[x509.Certificate]:
        octets = self._octets(path, ".pem")
        if octets is None:
            return
        try:
            certificates = x509.load_pem_x509_certificates(octets)
        except ValueError:
            self.fault(path, "certificates in PEM are expected")
            return
        for certificate in certificates:
            self._origins[id(certificate)] = path
            yield certificate

    def _revocation_list(self, path: Path) -> Iterator[x509.CertificateRevocationList]:
        octets = self._octets(path, ".crl")
        if octets is None:
            return
        load = x509.load_pem_x509_crl if octets.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl
        try:
            crl = load(octets)
        except ValueError:
            self.fault(path, "a certificate revocation list in PEM or DER is expected (RFC 5280 5)")
            return
        self._origins[id(crl)] = path
        yield crl

    def _authorities(self, path: Path) -> Iterator[Authority]:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.fault(path, error.strerror or str(error))
            return
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.fault(path, str(error))
            return
        for key in document.keys() - {"authority"}:
            self.fault(path, f"{key}: unknown key; [[authority]] is expected")
        entries = document.get("authority", [])
        if not isinstance(entries, list) or not entries:
            self.fault(path, "at least one [[authority]] is expected")
            return
        for index, entry in enumerate(entries):
            authority = self._authority(path, f"authority[{index}]", entry)
            if authority is not None:
                self._origins[id(authority)] = path
                yield authority

    def _authority(self, path: Path, place: str, entry: object) -> Authority | None:
        before = len(self.faults)
        if not isinstance(entry, dict):
            self.fault(path, f"{place}: a table is expected")
            return None
        for key in entry.keys() - _AUTHORITY_KEYS:
            self.fault(path, f"{place}.{key}: unknown key")
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 256:
            self.fault(path, f"{place}.name: a text of 1 to 256 characters is expected")
        spki = entry.get("spki_sha256")
        if not isinstance(spki, str) or not _SPKI.match(spki):
            self.fault(path, f"{place}.spki_sha256: 64 lower-case hexadecimal digits are expected")
        roles = entry.get("roles")
        if not isinstance(roles, list) or not roles or any(role not in list(IssuerRole) for role in roles):
            self.fault(path, f"{place}.roles: a list of {', '.join(IssuerRole)} is expected")
        if len(self.faults) > before:
            return None
        return Authority(str(name), str(spki), frozenset(IssuerRole(role) for role in roles or ()))
