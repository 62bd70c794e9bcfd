"""How often a wrong password may be tried: bounds by the peer and by the mailbox, in memory only."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, IPv6Network
from typing import Final, final

from gateway.ingress.admission import PeerAddress
from policy.address import Address

_WINDOW: Final = 600.0  # seconds in which failures are counted
FAILURES_OF_A_PEER: Final = 100  # more than the sign-ins that an office begins at the same moment
FAILURES_AT_A_MAILBOX: Final = 30
_REMEMBERED: Final = 20_000  # pairs of a peer and a mailbox that it has opened


@final
class Throttle:
    """Counts what failed. Each attempt counts as failed from its beginning, until it has succeeded:
    many at a time get no further than one after the other.

    A peer that has opened a mailbox before is not shut out of it by the failures of others: else
    whoever knows an address could lock its owner out.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic: Final = monotonic
        self._window = 0
        self._failures: Final[Counter[Hashable]] = Counter()
        self._known: Final[OrderedDict[tuple[Hashable, Address | None], None]] = OrderedDict()

    def attempt(self, peer: PeerAddress | None, address: Address | None) -> bool:
        """Counts an attempt, or says that there have been too many: then it is not counted. `address` is
        None for a name that is none: then there is no mailbox to protect, and the peer counts alone."""
        window = int(self._monotonic() // _WINDOW)
        if window != self._window:
            self._window = window
            self._failures.clear()
        network = _network(peer)
        if network is not None and self._failures[network] >= FAILURES_OF_A_PEER:
            return False
        known = address is None or (network, address) in self._known
        if not known and self._failures[address] >= FAILURES_AT_A_MAILBOX:
            return False
        self._failures.update((network, address))
        return True

    def undecided(self, peer: PeerAddress | None, address: Address | None) -> None:
        """Nobody could say whether the attempt was right: a region that is down shuts nobody out."""
        for counted in (_network(peer), address):
            if self._failures[counted] > 0:
                self._failures[counted] -= 1

    def succeeded(self, peer: PeerAddress | None, address: Address | None) -> None:
        """The attempt was the owner's own."""
        self.undecided(peer, address)
        network = _network(peer)
        self._known[network, address] = None
        self._known.move_to_end((network, address))
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _network(peer: PeerAddress | None) -> Hashable:
    """One customer's IPv6 addresses are the 2^64 of a network (RFC 6177): they count as one."""
    if isinstance(peer, IPv6Address):
        return IPv6Network((peer, 64), strict=False)
    return peer
