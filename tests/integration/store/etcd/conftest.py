from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from tests.fixtures.etcd import Etcd, etcd_starter
from tests.integration.store.contract.sites import EtcdSite


@pytest.fixture(scope="module")
def hurt_etcd() -> Iterator[Etcd]:
    """Members that the tests of a module may kill, freeze and empty; each leaves them as they were."""
    for start in etcd_starter():
        yield start()


@pytest.fixture
async def site(hurt_etcd: Etcd, tmp_path: Path) -> AsyncIterator[EtcdSite]:
    """Stores in a prefix of their own, each member behind a relay."""
    hurt_etcd.start()
    async with trio.open_nursery() as nursery:
        site = EtcdSite(nursery, tmp_path, hurt_etcd)
        await site.start()
        yield site
        nursery.cancel_scope.cancel()
