"""How often a wrong password may be tried: bounds by peer and by mailbox, for all workers together."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Final, final

from gateway.imap.tally import Tally
from gateway.ingress.admission import PeerAddress
from policy.address import Address

WINDOW: Final = 600.0  # seconds in which failures are counted
FAILURES_OF_A_PEER: Final = 100  # more than the sign-ins that an office begins at the same moment
FAILURES_AT_A_MAILBOX: Final = 30


@final
class Throttle:
    """Counts what failed. Each attempt counts as failed from its beginning, until it has succeeded:
    many at a time get no further than one after the other.

    A peer that has opened a mailbox before is not shut out of it by the failures of others: else
    whoever knows an address could lock its owner out.
    """

    def __init__(
        self, tally: Tally | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`tally`: one that other workers share, whose clock is the same: that of the machine's start."""
        self._tally: Final = tally or Tally.own()
        self._monotonic: Final = monotonic

    def attempt(self, peer: PeerAddress | None, address: Address | None) -> bool:
        """Counts an attempt, or says that there have been too many: then it is not counted. `address` is
        None for a name that is none: then there is no mailbox to protect, and the peer counts alone."""
        bounds = {}
        if peer is not None:
            bounds[_network(peer)] = FAILURES_OF_A_PEER
        if address is not None:
            known = self._tally.is_marked(_pair(peer, address))
            bounds[_mailbox(address)] = _NO_BOUND if known else FAILURES_AT_A_MAILBOX
        return self._tally.count(bounds, int(self._monotonic() // WINDOW))

    def undecided(self, peer: PeerAddress | None, address: Address | None) -> None:
        """Nobody could say whether the attempt was right: a region that is down shuts nobody out."""
        counted = [_network(peer)] if peer is not None else []
        counted += [_mailbox(address)] if address is not None else []
        self._tally.take_back(*counted)

    def succeeded(self, peer: PeerAddress | None, address: Address) -> None:
        """The attempt was the owner's own."""
        self.undecided(peer, address)
        self._tally.mark(_pair(peer, address))


_NO_BOUND: Final = 1 << 31


def _network(peer: PeerAddress) -> str:
    """One customer's IPv6 addresses are the 2^64 of a network (RFC 6177): they count as one."""
    if isinstance(peer, IPv6Address):
        return f"peer {IPv6Network((peer, 64), strict=False)}"
    return f"peer {peer}"


def _mailbox(address: Address) -> str:
    return f"mailbox {address}"


def _pair(peer: PeerAddress | None, address: Address) -> str:
    return f"{_network(peer) if peer is not None else 'peer'} {_mailbox(address)}"
