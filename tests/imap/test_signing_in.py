"""Signing in on real regions: at home and nowhere else, with the password and not without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import pytest

from gateway.imap import signing_in
from gateway.imap.replies import Refused
from gateway.imap.signing_in import Credentials, Owner, SignIn
from gateway.imap.throttle import FAILURES_AT_A_MAILBOX, FAILURES_OF_A_PEER, Throttle
from policy.address import Address
from policy.geography import RegionCode
from storage.errors import AccountClosed, AccountSuspended, Unavailable
from storage.holds import HoldRegister
from storage.identity import utc_now
from storage.vault import Vault
from storage.versions import Versions
from tests.engines import GERMANY, IRELAND, Settle
from tests.holds.ward import PSEUDONYMS, Ledger
from tests.storage.grounds import AOIFE, BORIS, World, world

PEER: Final = IPv4Address("192.0.2.7")
REFUSED_AFTER: Final = 0.3


class Desk:
    """The sign-in of a process that serves Ireland alone."""

    def __init__(self, it: World, stack: AsyncExitStack, hosts: Mapping[RegionCode, str]) -> None:
        self.world: Final = it
        self._stack: Final = stack
        self._registers: Final[dict[RegionCode, HoldRegister]] = {}
        serves = frozenset({IRELAND.code})
        self.sign_in: Final = SignIn(
            it.directory, serves, hosts, self._register, utc_now, refused_after=REFUSED_AFTER
        )

    async def _register(self, code: RegionCode) -> HoldRegister:
        if code not in self._registers:
            store = self.world.ground.control_plane(self.world.ground.provisioned(code))
            versions = self._stack.enter_context(Versions(store))
            self._registers[code] = HoldRegister(Vault(store), versions, Ledger(), PSEUDONYMS, utc_now)
        return self._registers[code]

    async def try_(self, user: str, password: str = "secret") -> Owner:
        return await self.sign_in.owner(PEER, Credentials(user.encode(), password.encode()))

    async def refusal(self, user: str, password: str) -> str:
        with pytest.raises(Refused) as refused:
            await self.try_(user, password)
        return refused.value.status.encode("a").decode().strip()


@pytest.fixture
async def desk(settle: Settle) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(world(settle, (IRELAND,), deadline=10.0))
        await it.directory.create(AOIFE, IRELAND.code, password="secret")
        yield Desk(it, stack, {})


async def test_the_owner_finds_the_folders(desk: Desk) -> None:
    owner = await desk.try_("Aoife@Example.IE")
    inbox, *_ = await owner.folders.names()
    assert inbox.name == "INBOX"
    assert await owner.is_still_open()


async def test_who_does_not_know_the_password_learns_nothing(desk: Desk) -> None:
    """The same words at the same time, whether there is such an account or not."""
    loop, answers = asyncio.get_running_loop(), set()
    await desk.world.directory.create(Address.parse("none@example.ie"), IRELAND.code)
    for user, password in (
        (str(AOIFE), "wrong"),
        ("nobody@example.ie", "secret"),
        ("none@example.ie", "secret"),  # an account without a password
        ("no address", "secret"),
        (str(AOIFE), "x" * 2_000),
        (str(AOIFE), ""),
    ):
        began = loop.time()
        answers.add(await desk.refusal(user, password))
        assert loop.time() - began >= REFUSED_AFTER
    assert answers == {"a NO [AUTHENTICATIONFAILED] the name or the password is wrong"}


async def test_a_mailbox_at_home_elsewhere_is_sent_there(settle: Settle) -> None:
    """RFC 2221 4.1."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(world(settle, (IRELAND, GERMANY), deadline=10.0))
        await it.directory.create(BORIS, GERMANY.code, password="geheim")
        await _is_sent_there(Desk(it, stack, {GERMANY.code: "imap.de.example"}))


async def _is_sent_there(desk: Desk) -> None:
    assert await desk.refusal(str(BORIS), "geheim") == (
        "a NO [REFERRAL imap://;AUTH=*@imap.de.example/] "
        "this mailbox is at home in eu-central-1: sign in at imap.de.example"
    )
    unnamed = SignIn(
        desk.world.directory, frozenset({IRELAND.code}), {}, desk._register, utc_now, refused_after=0.0
    )
    with pytest.raises(Refused, match=r"this mailbox is at home in eu-central-1 \(DE\): sign in there"):
        await unnamed.owner(PEER, Credentials(b"boris@example.de", b"geheim"))


async def test_an_account_that_is_not_open_is_refused_to_its_owner_alone(desk: Desk) -> None:
    directory = desk.world.directory
    await directory.suspend(AOIFE)
    with pytest.raises(AccountSuspended):
        await desk.try_(str(AOIFE))
    assert "AUTHENTICATIONFAILED" in await desk.refusal(str(AOIFE), "wrong")
    await directory.resume(AOIFE)
    await desk.world.close(AOIFE)
    with pytest.raises(AccountClosed):
        await desk.try_(str(AOIFE))


async def test_a_session_notices_that_its_account_was_suspended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await desk.try_(str(AOIFE))
    await desk.world.directory.suspend(AOIFE)
    assert await owner.is_still_open(), "it has looked just now"
    monkeypatch.setattr(signing_in, "_LOOK_AGAIN", 0.0)
    assert not await owner.is_still_open()


def test_a_peer_is_shut_out_after_many_failures_and_let_in_again_later() -> None:
    now = 0.0
    throttle = Throttle(monotonic=lambda: now)
    for number in range(FAILURES_OF_A_PEER):
        assert throttle.attempt(PEER, Address(f"user{number}", "example.ie"))
    assert not throttle.attempt(PEER, AOIFE)
    assert throttle.attempt(IPv4Address("192.0.2.8"), AOIFE)
    now = 600.0
    assert throttle.attempt(PEER, AOIFE)


def test_a_mailbox_is_shut_to_strangers_and_never_to_its_owner() -> None:
    throttle = Throttle(monotonic=lambda: 0.0)
    home = IPv4Address("198.51.100.1")
    assert throttle.attempt(home, AOIFE)
    throttle.succeeded(home, AOIFE)
    for number in range(FAILURES_AT_A_MAILBOX):
        assert throttle.attempt(IPv4Address(number + 1), AOIFE)
    assert not throttle.attempt(IPv4Address("203.0.113.1"), AOIFE)
    assert throttle.attempt(home, AOIFE)


def test_the_addresses_of_one_network_count_as_one_peer() -> None:
    throttle = Throttle(monotonic=lambda: 0.0)
    for number in range(FAILURES_OF_A_PEER):
        assert throttle.attempt(IPv6Address(0x20010DB8 << 96 | number), None)
    assert not throttle.attempt(IPv6Address("2001:db8::ffff:0:0:1"), None)
    assert throttle.attempt(IPv6Address("2001:db8:1::1"), None)


def test_what_succeeds_is_no_failure() -> None:
    throttle = Throttle(monotonic=lambda: 0.0)
    for _ in range(10 * FAILURES_OF_A_PEER):
        assert throttle.attempt(PEER, AOIFE)
        throttle.succeeded(PEER, AOIFE)


async def test_a_region_that_is_down_shuts_nobody_out(desk: Desk) -> None:
    place = desk.world.place(IRELAND)
    place.goes_down()
    with pytest.raises(Unavailable):
        await desk.try_(str(AOIFE))
    place.comes_back()
    throttle = Throttle(monotonic=lambda: 0.0)
    for _ in range(FAILURES_AT_A_MAILBOX):
        assert throttle.attempt(PEER, AOIFE)
        throttle.undecided(PEER, AOIFE)
    assert throttle.attempt(PEER, AOIFE)
    assert await desk.try_(str(AOIFE))


def test_credentials_are_shown_nowhere() -> None:
    assert "secret" not in repr(Credentials(b"aoife@example.ie", b"secret"))
