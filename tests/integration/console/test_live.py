"""The console of a real proxy over a real fleet, in a real browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import redis

from shardproxy.fleet import Fleet
from tests.fixtures.browser import Look, OpenPage
from tests.fixtures.engines import StartFleet
from tests.fixtures.prefix import behind_prefix
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, wait_until

PATIENT = 30.0  # seconds


@contextmanager
def load(proxy: Proxy) -> Iterator[None]:
    """Some reads and writes all the time."""
    over = threading.Event()

    def work() -> None:
        with redis.Redis(proxy.host, proxy.port, client_name="loader") as client:
            while not over.wait(0.005):
                client.set("key", "value")
                client.get("key")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def fleet(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=1)


@pytest.fixture(scope="module")
def proxy(fleet: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    proxy = start_proxy_for_module({"workers": 1, "clusters": {"sessions": cluster_of(fleet)}})
    wait_until(lambda: proxy.get("/api/status")[1].count('"streaming"') == 2, "replicas follow", PATIENT)
    return proxy


def followed(proxy: Proxy, wanted: int) -> list[tuple[str, dict[str, Any]]]:
    """So many events of its stream."""
    found: list[tuple[str, dict[str, Any]]] = []
    with httpx.stream("GET", f"{proxy.admin}/api/stream", timeout=PATIENT, trust_env=False) as response:
        name = ""
        for line in response.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                found.append((name, json.loads(value)))
                if len(found) == wanted:
                    return found
    return found


def primary_of(proxy: Proxy, shard: int) -> str:
    shards = json.loads(proxy.get("/api/status")[1])["clusters"]["sessions"]["shards"]
    return str(next(node["address"] for node in shards[shard]["nodes"] if node["role"] == "primary"))


def test_the_stream_tells_what_the_pages_do_and_rates_under_load(proxy: Proxy) -> None:
    with load(proxy):
        events = followed(proxy, 6)
    name, state = events[0]
    assert name == "state"
    assert state["topology"]["clusters"]["sessions"]["endpoints"]
    assert state["status"]["clusters"]["sessions"]["shards"][1]["nodes"][0]["role"] == "primary"
    cluster = [document for name, document in events if name == "rates"][-1]["clusters"]["sessions"]
    assert cluster["requests_per_second"] > 0
    assert cluster["clients"] == 1
    for kind in ("read", "write"):
        times = cluster["classes"][kind]
        assert times["rate"] > 0
        assert 0 < times["p50"] <= times["p99"] <= times["p999"]
    assert sum(shard["rate"] for shard in cluster["shards"].values()) > 0


def test_a_client_is_closed_over_http(proxy: Proxy) -> None:
    with redis.Redis(proxy.host, proxy.port, client_name="victim", single_connection_client=True) as victim:
        victim.ping()
        (found,) = json.loads(proxy.get("/api/clients?match=victim")[1])["clients"]
        answer = httpx.post(
            f"{proxy.admin}/api/clients/kill", json={"ids": [found["id"]]}, timeout=PATIENT, trust_env=False
        )
        assert answer.json() == {"killed": 1}
        assert json.loads(proxy.get("/api/clients?match=victim")[1])["total"] == 0


def opened(look: Look, url: str) -> Look:
    look.view(url, "overview")
    look.page.get_by_text("2 shards, 4 nodes, all ok").wait_for()
    return look


def test_a_page_of_a_real_proxy_is_live(proxy: Proxy, open_page: OpenPage) -> None:
    look = opened(open_page(), f"{proxy.admin}/")
    assert look.page.get_by_role("button", name="Act on shard").count() == 2
    look.page.locator("header").get_by_text("Live").wait_for()
    requests = look.page.locator(".figures div").filter(has_text="Requests").locator("dd")
    with load(proxy):
        wait_until(lambda: requests.inner_text()[0] in "123456789", requests.inner_text, PATIENT)
        look.view(f"{proxy.admin}/", "clients")
        look.page.get_by_label("Find").fill("loader")
        look.page.get_by_text("1 like that").wait_for()
        look.view(f"{proxy.admin}/", "config")
        look.page.get_by_role("region", name="Config as YAML").get_by_text("sessions:").wait_for()
    look.check()


def test_a_switchover_by_keyboard_alone(proxy: Proxy, open_page: OpenPage) -> None:
    before = primary_of(proxy, 1)
    look = opened(open_page(), f"{proxy.admin}/")
    keyboard = look.page.keyboard
    for _ in range(60):  # from the page's beginning to the button
        keyboard.press("Tab")
        if look.page.evaluate("document.activeElement.ariaLabel") == "Act on shard 1 of sessions":
            break
    keyboard.press("Enter")
    dialog = look.page.get_by_role("dialog", name="Shard 1 of sessions")
    assert f"from {before} to" in dialog.inner_text()
    for _ in range(10):
        keyboard.press("Tab")
        if look.page.evaluate("document.activeElement.textContent") == "Switch over":
            break
    keyboard.press("Enter")
    look.page.get_by_text("Shard 1 of sessions has another primary.").wait_for()
    wait_until(lambda: primary_of(proxy, 1) != before, "the shard has another primary", PATIENT)
    look.page.get_by_role("link", name="Failovers and events").click()
    look.page.get_by_role("table", name="Failovers and switchovers").get_by_role(
        "cell", name="switchover", exact=True
    ).wait_for()
    look.check()


def test_a_node_that_dies_is_told_in_words_and_so_is_its_return(
    proxy: Proxy, fleet: Fleet, open_page: OpenPage
) -> None:
    look = opened(open_page(), f"{proxy.admin}/")
    replica = next(node for node in fleet.shards[0].nodes if str(node.address) != primary_of(proxy, 0))
    fleet.kill(replica)
    try:
        said = look.page.locator(".troubles li").filter(has_text=f"replica {replica.address} is down")
        said.wait_for()
        assert "shard 0" in said.inner_text()
    finally:
        fleet.restart(replica)
    look.page.get_by_role("heading", name="All is well").wait_for()
    look.check()


def test_behind_a_path_it_works_as_well(proxy: Proxy, open_page: OpenPage) -> None:
    with behind_prefix(str(proxy.config["admin"])) as url:
        look = opened(open_page(width=360, height=740), url)
        assert look.overflow <= 0
        look.page.locator("header").get_by_text("Live").wait_for()
        look.page.get_by_role("button", name="Act on shard 0 of sessions").click()
        dialog = look.page.get_by_role("dialog", name="Shard 0 of sessions")
        dialog.get_by_label("Acknowledge the last failover").check()
        dialog.get_by_role("button", name="Acknowledge").click()
        look.page.get_by_text("The next failover need not wait.").wait_for()
        look.check()
