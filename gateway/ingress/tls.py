"""A certificate that can be renewed under a running server."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, final

import structlog

from gateway.ingress.limits import CertificateFiles

_log: Final = structlog.get_logger("situs.ingress")


class BadCertificate(Exception):
    """The certificate or the key cannot be used. The message names the file."""


@final
class Certificate:
    """The context for the next handshake, read again when a file has changed.

    Files that cannot be used leave the last good ones in force: a renewal that went half way
    must not close the door.
    """

    def __init__(self, files: CertificateFiles) -> None:
        """Raises BadCertificate."""
        self._files: Final = files
        self._version = self._stat()
        self._context = self._load()

    async def context(self) -> ssl.SSLContext:
        """The context to begin a handshake with."""
        try:
            version = self._stat()
            if version != self._version:
                self._version = version
                self._context = await asyncio.to_thread(self._load)
                _log.info("certificate read again", file=str(self._files.certificate))
        except BadCertificate as error:
            _log.error("certificate not usable, the last one stays", reason=str(error))
        return self._context

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [path.stat() for path in (self._files.certificate, self._files.key)]
        except OSError as error:
            raise BadCertificate(f"{error.filename}: {error.strerror}") from None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: older ones must not be used
        try:
            # Without a password OpenSSL would ask at the terminal, and wait for it.
            context.load_cert_chain(self._files.certificate, self._files.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BadCertificate(
                f"{self._files.certificate} and {self._files.key}: "
                f"a PEM certificate and its key are expected ({error.strerror})"
            ) from None
        return context
