"""One gateway for all tests of a module: whoever breaks it, or moves its clock, opens one of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.disclosure.desk import Gateway, gateway
from tests.engines import Engines, settings_on


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The regions IE and DE, seated in IE; ina asks, art and bea approve in both."""
    keys = tmp_path_factory.mktemp("keys")
    async with gateway(lambda kind, region: settings_on(engines.of(kind, region), region, keys)) as built:
        yield built
