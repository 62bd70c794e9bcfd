"""Somebody at a browser: signed in by hand, every page checked for what no page may have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from aiohttp.test_utils import TestServer
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.console.conftest import PICTURES
from tests.disclosure.desk import Gateway

SAME: Final = {"Sec-Fetch-Site": "same-origin"}


def base(desk: Gateway) -> str:
    assert isinstance(desk.client.server, TestServer)
    return str(desk.client.server.make_url("/console"))


async def signed_in(desk: Gateway, who: str) -> dict[str, str]:
    """The headers of a session of theirs, for a look without a browser."""
    token = {"token": desk.tokens[who]}
    answer = await desk.ask("POST", "/console/sign-in", None, headers=SAME, data=token, allow_redirects=False)
    assert answer.status == 303
    desk.client.session.cookie_jar.clear()
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert desk.tokens[who] not in cookie
    return {"Cookie": cookie.split(";")[0]}


@asynccontextmanager
async def looking(
    chromium: Browser,
    desk: Gateway,
    who: str | None,
    *,
    javascript: bool = True,
    scheme: Literal["light", "dark"] = "light",
) -> AsyncIterator[Page]:
    """A page of that person's own browser profile. Leaving it, nothing may have gone wrong in the page."""
    context = await chromium.new_context(
        java_script_enabled=javascript, color_scheme=scheme, viewport={"width": 1180, "height": 900}
    )
    troubles: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        # A policy that something was tried against speaks on the console.
        page.on(
            "console", lambda said: troubles.append(said.text) if "Security Policy" in said.text else None
        )
        page.on("dialog", lambda dialog: troubles.append(f"a script said {dialog.message}"))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
        if who is not None:
            await page.goto(base(desk))
            await page.get_by_label("Operator token").fill(desk.tokens[who])
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("heading", name="Disclosures", exact=True).wait_for()
        yield page
        assert troubles == []
    finally:
        await context.close()


async def accessible(page: Page) -> None:
    """axe-core finds nothing."""
    found: Any = await Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()


async def picture(page: Page, name: str) -> None:
    """The whole page, light and dark, for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        await page.screenshot(path=PICTURES / f"{name}-{scheme}.png", full_page=True)
