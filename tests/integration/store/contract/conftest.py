from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.store.contract.sites import SITES, Site, site_opened


@pytest.fixture(params=sorted(SITES))
def store_name(request: pytest.FixtureRequest) -> str:
    """Which store the contract is tested with."""
    return str(request.param)


@pytest.fixture
async def site(store_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with site_opened(store_name, tmp_path, request) as site:
        yield site
