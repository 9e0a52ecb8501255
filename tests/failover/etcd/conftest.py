from __future__ import annotations

from tests.integration.store.etcd.conftest import hurt_etcd, site

__all__ = ["hurt_etcd", "site"]
