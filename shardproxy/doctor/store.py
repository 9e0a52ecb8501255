"""Whether the store that proxies share answers, and how soon."""

from __future__ import annotations

import base64
from pathlib import Path

import trio

from shardproxy.config.root import Config
from shardproxy.config.store import EtcdStore, KubernetesStore
from shardproxy.doctor.finding import Finding, bad, ok, warn
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.statistics import StoreStatistics

ABOUT = "store"
TIMEOUT = 5.0  # seconds
SLOW = 0.2  # of the ttl: a keepalive that is late by more is one of few that may be


async def store_finding(config: Config) -> Finding | None:
    """Ask it once; None where nothing is shared."""
    if config.store is None:
        return None
    directory = config.source.directory
    begun = trio.current_time()
    try:
        with trio.fail_after(TIMEOUT):
            if config.store.etcd is not None:
                where = await _ask_etcd(config.store.etcd, directory)
            else:
                assert config.store.kubernetes is not None
                where = await _ask_kubernetes(config.store.kubernetes, directory)
    except StoreUnavailableError as error:
        return _silent(config, str(error))
    except trio.TooSlowError:
        return _silent(config, f"no answer within {TIMEOUT:g} s")
    seconds, ttl = trio.current_time() - begun, config.store.ttl
    shown = f"{where} answers within {1000 * seconds:.0f} ms, ttl {ttl:g} s"
    if seconds <= SLOW * ttl:
        return ok(ABOUT, "reachable", shown)
    return warn(
        ABOUT,
        "reachable",
        shown,
        "a proxy whose answers take so long may lose its lead, and another one decides",
        f"# in the config: ttl: {5 * seconds:.0f}s or more",
    )


async def _ask_etcd(settings: EtcdStore, directory: Path) -> str:
    from shardproxy.store.etcd.access import Access
    from shardproxy.store.etcd.client import Client

    client = Client(Access(settings, directory), StoreStatistics())
    try:
        key = base64.b64encode(f"{settings.prefix}/".encode()).decode()
        await client.call("/v3/kv/range", {"key": key, "limit": "1"})
    finally:
        await client.aclose()
    return f"etcd at {client.endpoint}"


async def _ask_kubernetes(settings: KubernetesStore, directory: Path) -> str:
    from shardproxy.store.kubernetes.api import Api
    from shardproxy.store.kubernetes.credentials import access_of

    access = access_of(settings, directory)
    api = Api(access, StoreStatistics(), timeout=TIMEOUT)
    try:
        await api.get(f"/api/v1/namespaces/{access.namespace}/configmaps", {"limit": "1"})
    finally:
        await api.aclose()
    return f"namespace {access.namespace} at {access.server}"


def _silent(config: Config, why: str) -> Finding:
    assert config.store is not None
    if (etcd := config.store.etcd) is not None:
        mend = f"etcdctl --endpoints={','.join(etcd.endpoints)} endpoint status"
    else:
        mend = (
            "kubectl auth can-i list configmaps  # as the proxy's service account; rbac.yaml has its rights"
        )
    return bad(ABOUT, "reachable", why, "nothing is failed over, and a new proxy knows nothing", mend)
