"""A certificate that can be renewed under a running server: the mail doors', and the gateway's."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final, Protocol, final

import structlog

_log: Final = structlog.get_logger("situs.ingress")


class BadCertificate(Exception):
    """The certificate or the key cannot be used. The message names the file."""


class TlsFiles(Protocol):
    """What a server's side of TLS is made of. `paths` with the certificate first."""

    @property
    def paths(self) -> tuple[Path, ...]: ...
    def context(self) -> ssl.SSLContext:
        """Raises BadCertificate."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for a server with this PEM chain and key. Raises BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: older ones must not be used
    context.options |= ssl.OP_NO_RENEGOTIATION  # whoever was proven at the beginning stays who it is
    try:
        # Without a password OpenSSL would ask at the terminal, and wait for it.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise BadCertificate(
            f"{certificate} and {key}: a PEM certificate and its key are expected ({error.strerror or error})"
        ) from None
    return context


@final
class Certificate:
    """The context for the next handshake, read again when a file has changed.

    Files that cannot be used leave the last good ones in force: a renewal that went half way
    must not close the door. Nothing of an earlier context is in a later one, so that no session
    from before is resumed either.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Raises BadCertificate."""
        self._files: Final = files
        self._version = self._stat()
        self._context = files.context()

    async def context(self) -> ssl.SSLContext:
        """The context to begin a handshake with. Files that have changed are read in a thread."""
        try:
            if self._has_changed():
                self._renewed(await asyncio.to_thread(self._files.context))
        except BadCertificate as error:
            self._stays(error)
        return self._context

    def current(self) -> ssl.SSLContext:
        """The same, for who cannot wait: files that have changed are read here and now."""
        try:
            if self._has_changed():
                self._renewed(self._files.context())
        except BadCertificate as error:
            self._stays(error)
        return self._context

    def _has_changed(self) -> bool:
        version = self._stat()
        changed, self._version = version != self._version, version
        return changed

    def _renewed(self, context: ssl.SSLContext) -> None:
        self._context = context
        _log.info("certificate read again", file=str(self._files.paths[0]))

    def _stays(self, error: BadCertificate) -> None:
        _log.error("certificate not usable, the last one stays", reason=str(error))

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [path.stat() for path in self._files.paths]
        except OSError as error:
            raise BadCertificate(f"{error.filename}: {error.strerror}") from None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)
