"""Signing in with the certificate that a browser shows, in Chromium.

Playwright does the browser's TLS for it and shows the certificate to the gateway; the pages, forms and
cookies are Chromium's own. (Chromium by itself takes client certificates from its user's NSS database, and
asks in a window that no headless browser has which one to show, unless a policy of the whole machine says.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from gateway.disclosure.tls import GatewayTls
from storage.operators import OperatorRegister
from tests.console.eyes import accessible, picture
from tests.disclosure.desk import NOW, Gateway
from tests.disclosure.test_tls import Holder, employ, holder, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUTTON = "Sign in with the certificate"


@dataclass
class Front:
    """The console over TLS. `kay` is an operator's certificate, `eve` another's of the same authority."""

    chromium: Browser
    desk: Gateway
    origin: str
    kay: Holder
    eve: Holder
    kays_record: str

    @asynccontextmanager
    async def profile(self, who: Holder | None) -> AsyncIterator[BrowserContext]:
        """A browser profile of somebody's, who shows that certificate where one is asked for."""
        context = await self.chromium.new_context(
            client_certificates=(
                [] if who is None else [{"origin": self.origin, "certPath": who.cert, "keyPath": who.key}]
            ),
            ignore_https_errors=True,  # the gateway's own certificate is not what is looked at here
            viewport={"width": 1180, "height": 900},
        )
        try:
            yield context
        finally:
            await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def front(chromium: Browser, desk: Gateway, tmp_path: Path) -> AsyncIterator[Front]:
    authority = holder(tmp_path, "authority")
    server, kay, eve = (holder(tmp_path, name, authority) for name in ("server", "kay", "eve"))
    record = await employ(desk, kay)
    async with served(desk, GatewayTls(server.cert, server.key, authority.cert)) as url:
        yield Front(chromium, desk, url.removesuffix("/v1/disclosures"), kay, eve, record.id)


async def test_a_certificate_signs_in_and_out(front: Front) -> None:
    async with front.profile(front.kay) as profile:
        page = await profile.new_page()
        await page.goto(f"{front.origin}/console")
        await accessible(page)
        await picture(page, "sign-in-certificate")
        await page.get_by_role("button", name=BUTTON).click()
        await page.get_by_role("heading", name="Disclosures", exact=True).wait_for()
        (cookie,) = await profile.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (
            "__Host-situs-console", True, True, "Strict",
        )  # fmt: skip
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in", exact=True).wait_for()
        assert await profile.cookies() == []


async def test_the_session_is_worth_nothing_without_the_certificate(front: Front) -> None:
    """Somebody copies the cookie: a browser without her certificate, or with another, is a stranger's."""
    async with front.profile(front.kay) as profile:
        page = await profile.new_page()
        await page.goto(f"{front.origin}/console/sign-in")
        await page.get_by_role("button", name=BUTTON).click()
        await page.get_by_role("heading", name="Disclosures", exact=True).wait_for()
        (cookie,) = await profile.cookies()
    for who in (None, front.eve):
        async with front.profile(who) as profile:
            await profile.add_cookies(
                [{"name": cookie["name"], "value": cookie["value"], "url": front.origin, "secure": True}]
            )
            page = await profile.new_page()
            answer = await page.goto(f"{front.origin}/console/disclosures")
            assert answer is not None
            assert answer.status == 401
            await expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


async def test_who_has_none_or_no_record_is_not_signed_in(front: Front) -> None:
    async with front.profile(None) as profile:
        page = await profile.new_page()
        await page.goto(f"{front.origin}/console/sign-in")
        await expect(page.get_by_role("button", name=BUTTON)).to_have_count(0)
    async with front.profile(front.eve) as profile:
        page = await profile.new_page()
        await page.goto(f"{front.origin}/console/sign-in")
        await page.get_by_role("button", name=BUTTON).click()
        await expect(page.get_by_role("alert")).to_contain_text("Not signed in")
        assert await profile.cookies() == []


async def test_an_operator_who_is_revoked_is_signed_out_by_the_next_page(front: Front) -> None:
    async with front.profile(front.kay) as profile:
        page = await profile.new_page()
        await page.goto(f"{front.origin}/console/sign-in")
        await page.get_by_role("button", name=BUTTON).click()
        await page.get_by_role("heading", name="Disclosures", exact=True).wait_for()
        await OperatorRegister(front.desk.chamber().vault).revoke(front.kays_record, NOW)
        front.desk.clock.advance(seconds=15)
        answer = await page.reload()
        assert answer is not None
        assert answer.status == 401
