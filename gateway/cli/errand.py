"""What commands that change something in a house have in common: the house, an address, the entry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.outcome import AnswerIsNo, UsageFault
from gateway.config import Config
from gateway.house import House
from gateway.logs import configure_logs
from policy.address import Address, AddressError
from policy.geography import RegionCode
from storage.audit.entry import Entry, Event
from storage.errors import AddressTaken, AlreadyExists, UnknownAddress
from storage.identity import AccountId

_T = TypeVar("_T")


def run(config: Config, work: Callable[[House], Awaitable[_T]]) -> _T:
    """Open the house, do the work, and close it again. Logs go to standard error."""
    configure_logs(json=False)

    async def inside() -> _T:
        async with House.open(config) as house:
            return await work(house)

    return asyncio.run(inside())


def parse_address(text: str) -> Address:
    """Raises UsageFault naming the rule of RFC 5321 that it breaks."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise UsageFault(f"{text}: {error}") from None


async def about(address: Address | str, work: Awaitable[_T]) -> _T:
    """The answer to a question about an address or a name. Raises AnswerIsNo where it is a no."""
    try:
        return await work
    except (AddressTaken, AlreadyExists, UnknownAddress) as error:
        raise AnswerIsNo(f"{address}: {error}") from None


async def note(house: House, home: RegionCode, event: Event, account: AccountId) -> None:
    """Commit an entry about an account to its home's log, before it happens.

    Raises LogUnavailable, and ConfigError where this configuration does not serve the region.
    """
    chamber = await house.chamber(home)
    pseudonym = chamber.pseudonyms.account(account)
    await chamber.log.append(Entry(time=house.clock(), event=event, region=home, account=pseudonym))
