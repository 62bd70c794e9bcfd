"""TLS for the gateway's own door, and client certificates: a key that an operator has proven to hold."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, final

from cryptography import x509

from gateway.ingress.tls import BadCertificate, Certificate, server_context
from policy.trust import spki_sha256


@final
@dataclass(frozen=True, slots=True)
class GatewayTls:
    """PEM files. `client_ca`: whose client certificates are let in; what they may do is their record's."""

    certificate: Path
    key: Path
    client_ca: Path | None

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.certificate, self.key, *([self.client_ca] if self.client_ca is not None else [])

    def context(self) -> ssl.SSLContext:
        """A server's context; without a certificate a client may show a token. Raises BadCertificate."""
        context = server_context(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise BadCertificate(f"{self.client_ca}: {error.strerror or error}") from None
        return context


@final
class RenewedContext(ssl.SSLContext):
    """Stands in a listener for whichever context is in force when somebody connects.

    A listener takes one context for its life; asyncio and uvloop ask it for each connection's own part.
    """

    certificate: Certificate

    @classmethod
    def of(cls, files: GatewayTls) -> RenewedContext:
        """Raises BadCertificate."""
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made.certificate = Certificate(files)
        return made

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.certificate.current().wrap_bio(*args, **kwargs)


def held_key(der: bytes, now: datetime) -> str | None:
    """SHA-256 of the key of a client certificate that the handshake has verified, in hex.

    None outside the certificate's own time: a connection, or a session that is resumed, can outlive it.
    """
    certificate = x509.load_der_x509_certificate(der)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:  # RFC 5280 4.1.2.5
        return None
    return spki_sha256(certificate)
