"""What a starting proxy loads, and when: the time until it listens and its idle memory are mostly that."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from shardproxy.fleet import free_port
from tests.fixtures.proxy import Proxy, proxy_starter

# An import that is done, or a log line; both go to standard error, in the order in which they happen.
LINE = re.compile(r"import time: .*\| +(?P<module>[\w.]+)$|.*\"event\": \"(?P<event>[^\"]+)\"")

NEVER = (
    "cyclopts",
    "httpx",
    "pygments",
    "pymemcache",
    "rich.console",
    "shardproxy.config.nutcracker",
    "shardproxy.fleet",
)
ONLY_WHEN_IT_LISTENS = ("h11", "h2", "hypercorn", "prometheus_client", "starlette", "wsproto")


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
    for line in proxy.log().splitlines():
        found = LINE.match(line)
        if found is not None and found["module"]:
            modules.add(found["module"])
        elif found is not None and found["event"] == until:
            return modules
    assert until is None, f"no event {until!r}"
    return modules


def test_what_it_does_not_need_is_never_loaded(started: Proxy) -> None:
    modules = loaded(started)
    assert "shardproxy.admin.server" in modules, "the reading of the lines works"
    assert modules & set(NEVER) == set()


def test_what_the_admin_pages_need_is_loaded_when_clients_can_connect(started: Proxy) -> None:
    modules = loaded(started, until="listening")
    assert "shardproxy.dataplane" in modules, "the reading of the lines works"
    assert modules & set(ONLY_WHEN_IT_LISTENS) == set()
    assert loaded(started) >= set(ONLY_WHEN_IT_LISTENS)
