"""TLS between a transport and a session, over memory: nothing is read that was not asked for.

`loop.start_tls` cannot be used on a server that is already reading: a ClientHello that came
together with a PROXY header, or before the session's task first ran, is lost to it, and the two
event loops differ in what they then do. Here the octets go where the session sends them.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final, final

# The plaintext of one record (RFC 8446 5.1): nothing smaller comes out of OpenSSL at once.
_RECORD: Final = 16_384


@final
class TlsPump:
    """One server side of TLS. Octets from the peer go into `receive`; those for it come out of `due`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming: Final = ssl.MemoryBIO()
        self._outgoing: Final = ssl.MemoryBIO()
        self.session: Final = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def receive(self, octets: bytes | memoryview) -> None:
        """What has come from the peer."""
        self._incoming.write(octets)

    def due(self) -> bytes:
        """What has to go to the peer."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Goes on with the handshake; True when it is done. Raises ssl.SSLError when it fails."""
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self, into: bytearray) -> bool:
        """One record's plaintext, if all of it has come. Raises ssl.SSLError, also where TLS has ended."""
        try:
            octets = self.session.read(_RECORD)
        except ssl.SSLWantReadError:
            return False
        if not octets:
            raise ssl.SSLEOFError("the peer has ended TLS")
        into += octets
        return True

    def encrypt(self, octets: bytes) -> bytes:
        """For the peer. Raises ssl.SSLError where TLS has ended."""
        self.session.write(octets)
        return self.due()

    def goodbye(self) -> bytes:
        """close_notify (RFC 8446 6.1), without waiting for the peer's."""
        with suppress(ssl.SSLError):  # the peer's own close_notify has not come, or TLS has failed
            self.session.unwrap()
        return self.due()
