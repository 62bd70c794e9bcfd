"""Everything about the doors that an operator may choose, each with a default that is sane.

Sizes are octets, times are seconds. The reply that each limit gives stands beside it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, final

from gateway.ingress.tls import server_context

_MIB: Final = 1024 * 1024

# A message is charged to the memory bound while it comes in, and each copy again while it is being
# stored: under its trace, compressed, sealed, and joined (later: in the object client's buffer).
COPIES_WHILE_STORING: Final = 4
# A session without a message: its task, its buffers, its transport.
CONNECTION_OVERHEAD: Final = 16 * 1024


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one peer, one session and one process may take. Raises ValueError if impossible."""

    message_size: int = 25 * _MIB
    """552 5.3.4; announced as SIZE (RFC 1870)."""
    recipients: int = 100
    """452 4.5.3. RFC 5321 4.5.3.1.8 asks for at least 100."""
    text_line: int = 65_536
    """554 5.6.0. RFC 5321 4.5.3.1.6 asks for 1,000; real mail has longer lines."""
    received_hops: int = 100
    """554 5.4.6. RFC 5321 6.3: a large threshold, at least 100."""

    connections: int = 1_000
    """421 4.3.2, over all doors of the process."""
    connections_per_address: int = 50
    """421 4.7.0. Not counted: a UNIX socket, a trusted proxy's own address, and over LMTP this host and who
    is in `connect_from` (the mail server in front brings everybody's mail)."""
    connections_per_minute: int = 6_000
    """421 4.7.0, from one address."""
    commands: int = 10_000
    """421 4.7.0, in one session; the mail server in front (see above) uses one for as long as it likes."""
    errors: int = 20
    """421 4.7.0, in one session since its last message: replies of 500 and above. Not for the mail server in
    front, which asks over one session who is here."""

    command_timeout: float = 300.0
    """421 4.4.2. RFC 5321 4.5.3.2.7: at least 5 minutes."""
    data_timeout: float = 180.0
    """421 4.4.2 when nothing comes for so long within a message. RFC 5321 4.5.3.2.5: 3 minutes."""
    message_timeout: float = 1_800.0
    """421 4.4.2 when a message has not ended by then, however steadily it drips."""
    lookup_timeout: float = 10.0
    """451 4.3.2, for one recipient's directory lookup."""
    store_timeout: float = 20.0
    """451 4.3.2, from the end of a message until its last copy is durable."""
    stop_timeout: float = 30.0
    """How long a graceful stop takes at the most."""

    memory: int = 512 * _MIB
    """421 4.3.1 before mail in flight takes more than this, over all sessions of the process."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be more than 0")
        if self.recipients < 100:
            raise ValueError("recipients must be at least 100 (RFC 5321 4.5.3.1.8)")
        if self.text_line < 1_000:
            raise ValueError("text_line must be at least 1000 (RFC 5321 4.5.3.1.6)")
        if self.message_size < 65_536:
            raise ValueError("message_size must be at least 65536 (RFC 5321 4.5.3.1.7)")
        if self.memory_for_mail < 2 * COPIES_WHILE_STORING * self.message_size:
            raise ValueError(
                f"memory must be at least {2 * COPIES_WHILE_STORING + 1} x message_size and "
                f"{CONNECTION_OVERHEAD} x connections: half of what connections leave is for mail that comes "
                f"in, half for the {COPIES_WHILE_STORING} working copies of mail that is being stored"
            )
        if self.store_timeout >= self.stop_timeout:
            raise ValueError("stop_timeout must be more than store_timeout")

    @property
    def memory_for_mail(self) -> int:
        """What the connections leave, and the one message that is just being copied from its buffer."""
        return self.memory - self.connections * CONNECTION_OVERHEAD - self.message_size


Network = IPv4Network | IPv6Network


@final
@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A PEM certificate with its chain, and its private key. Read again when either changes."""

    certificate: Path
    key: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.certificate, self.key

    def context(self) -> ssl.SSLContext:
        """Raises BadCertificate."""
        return server_context(self.certificate, self.key)


@final
@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One door: where it listens, in which way, and for whom.

    Either `host` and `port` (0: any free port), or `unix`. `connect_from` empty means everybody.
    From `proxy_from` a PROXY protocol header is demanded; from everywhere else it is refused,
    since whoever may send one may claim any address.
    """

    host: str = "127.0.0.1"
    port: int = 0
    unix: Path | None = None
    reuse_port: bool = False
    certificate: CertificateFiles | None = None
    implicit_tls: bool = False
    require_tls: bool = False
    connect_from: tuple[Network, ...] = ()
    proxy_from: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if (self.implicit_tls or self.require_tls) and self.certificate is None:
            raise ValueError("implicit_tls and require_tls need a certificate")


class WhenUnreachable(StrEnum):
    """What becomes of mail while the content check cannot be asked."""

    ACCEPT = "accept"
    DEFER = "defer"


@final
@dataclass(frozen=True, slots=True)
class RspamdSettings:
    """The optional content check: an rspamd worker's HTTP address, such as `http://127.0.0.1:11333`."""

    url: str
    timeout: float = 10.0
    unreachable: WhenUnreachable = WhenUnreachable.DEFER
    password: str | None = None
