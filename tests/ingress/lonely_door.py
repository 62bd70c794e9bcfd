"""A door in a process of its own: `python -m tests.ingress.lonely_door`.

Its post seals each copy as the real one does, holds it for a while and forgets it.

Prints its port, and when its standard input closes, its peak of resident memory in KiB before the
door opened and at its end. Arguments: message size, memory bound, both in MiB.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys

import structlog
import uvloop

from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.smtp import serve_smtp
from policy.address import Address
from storage.identity import AccountId, MessageId, MessageIds
from storage.keys import PrivateKey, PublicKeys, Purpose
from storage.located import AccountStatus, Located
from storage.mailbox import message_key
from storage.sealing import Binding, seal_message
from storage.traffic import Envelope
from tests.ingress.posts import IRELAND

MIB = 1024 * 1024


class SealingPost:
    """Takes the memory that storing takes, and puts nothing anywhere."""

    def __init__(self) -> None:
        keys = PublicKeys(1, *(PrivateKey.generate(1, purpose).public for purpose in Purpose))
        self._located = Located(AccountId.new(), IRELAND, keys, AccountStatus.ACTIVE)
        self._ids = MessageIds()

    def remembered(self, _address: Address) -> Located | None:
        return None

    async def locate(self, _address: Address) -> Located:
        return self._located

    async def store(self, located: Located, envelope: Envelope, content: bytes) -> MessageId:
        message = self._ids.issue(envelope.received_at)
        binding = Binding(located.home.code, message_key(located.account, message))
        sealed = await asyncio.to_thread(seal_message, located.keys, binding, b"{}", content)
        in_the_client = bytes(memoryview(sealed))
        await asyncio.sleep(0.1)
        assert in_the_client
        return message


async def main(message_size: int, memory: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    limits = Limits(
        message_size=message_size * MIB,
        memory=memory * MIB,
        connections=600,
        connections_per_address=600,
        connections_per_minute=1_000_000,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    door = await serve_smtp(ListenerSettings(), Reception(SealingPost(), "mx.example.ie", limits))
    print(door.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
