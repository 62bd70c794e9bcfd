"""A gateway with cases to look at, and Debian's Chromium to look with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from policy.clearance import Role
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, gateway
from tests.engines import Engines, settings_on
from tests.peers import require

PICTURES: Final = Path(__file__).resolve().parents[2] / "artifacts" / "console"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """IE and DE; ina asks, art and bea approve, cora and carl keep holds, audrey reads the log."""
    keys = tmp_path_factory.mktemp("keys")
    async with gateway(lambda kind, region: settings_on(engines.of(kind, region), region, keys)) as built:
        for name in ("cora", "carl"):
            await built.employ(name, [Role.CUSTODIAN], [IRELAND])
        await built.employ("audrey", [Role.AUDITOR], [IRELAND])
        await built.employ("dieter", [Role.APPROVER], [GERMANY])
        yield built


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    path = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()
