"""What a starting proxy loads, and when: the time until it listens and its idle memory are mostly that."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from shardproxy.fleet import free_port
from tests.fixtures.proxy import Proxy, proxy_starter

# An import that is done, or an event of the log; both go to standard error, in the order in which they
# happen. A thread imports too, so one may follow the other within a line.
DONE = re.compile(r"import time:[^|\n]*\|[^|\n]*\| +(?P<module>[\w.]+)|\"event\": \"(?P<event>[^\"]+)\"")

NEVER = (
    "cryptography",
    "cyclopts",
    "httpx",
    "jsonschema",
    "obstore",
    "opentelemetry",
    "psycopg",
    "pygments",
    "pymemcache",
    "rich.console",
    "shardproxy.archive",
    "shardproxy.backup",
    "shardproxy.caching.scripts",
    "shardproxy.caching.service",
    "shardproxy.config.nutcracker",
    "shardproxy.fleet",
    "shardproxy.importing",
    "shardproxy.store.etcd",
    "shardproxy.store.kubernetes",
    "shardproxy.topology.sources.cluster.source",
    "shardproxy.topology.sources.sentinel.source",
    "sqlalchemy",
)
ONLY_WHEN_IT_LISTENS = (
    "h11",
    "h2",
    "hypercorn",
    "prometheus_client",
    "shardproxy.admin.http",
    "shardproxy.commands.handlers",
    "shardproxy.insight.explain",
    "starlette",
    "wsproto",
)


@pytest.fixture(scope="module")
def started() -> Iterator[Proxy]:
    """A proxy that wrote down its imports: clusters of both engines, and every engine down."""
    config = {
        "workers": 1,
        "clusters": {
            "main": {"engine": "redis", "shards": [{"nodes": [f"127.0.0.1:{free_port()}"]}]},
            "pages": {"engine": "memcached", "nodes": [f"127.0.0.1:{free_port()}"]},
        },
    }
    for start in proxy_starter():
        proxy = start(config, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert proxy.get("/metrics")[0] == 200, "what a scrape loads counts too"
        yield proxy


def loaded(proxy: Proxy, until: str | None = None) -> set[str]:
    """What it has loaded, or had before the first event of that name."""
    modules: set[str] = set()
    for found in DONE.finditer(proxy.log()):
        if found["module"]:
            modules.add(found["module"])
        elif found["event"] == until:
            return modules
    assert until is None, f"no event {until!r}"
    return modules


def test_what_it_does_not_need_is_never_loaded(started: Proxy) -> None:
    modules = loaded(started)
    assert "shardproxy.admin.http" in modules, "the reading of the lines works"
    assert modules & set(NEVER) == set()


def test_what_is_asked_for_later_is_loaded_when_clients_can_connect(started: Proxy) -> None:
    modules = loaded(started, until="listening")
    assert "shardproxy.dataplane" in modules, "the reading of the lines works"
    assert modules & set(ONLY_WHEN_IT_LISTENS) == set()
    assert loaded(started) >= set(ONLY_WHEN_IT_LISTENS)
