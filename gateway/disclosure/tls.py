"""TLS for the gateway's own door, and client certificates: a key that an operator has proven to hold."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gateway.ingress.tls import BadCertificate


@final
@dataclass(frozen=True, slots=True)
class GatewayTls:
    """PEM files. `client_ca`: whose client certificates are let in; what they may do is their record's."""

    certificate: Path
    key: Path
    client_ca: Path | None

    def context(self) -> ssl.SSLContext:
        """A server's context; without a certificate a client may show a token. Raises BadCertificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: older ones must not be used
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password OpenSSL would ask at the terminal, and wait for it.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BadCertificate(f"{self.certificate} and {self.key}: {_reason(error)}") from None
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise BadCertificate(f"{self.client_ca}: {_reason(error)}") from None
        return context


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
