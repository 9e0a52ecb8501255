"""The console in a real browser, over documents of fleets that are large, ill, or not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures.browser import Look, OpenPage
from tests.fixtures.console_documents import documents_add
from tests.fixtures.console_site import ConsoleSite, console_site, fleet_documents
from tests.fixtures.proxy import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator

FAR = "copying, 40 % (400 of 1000 keys), slots 0-99"
VIEWS = ("overview", "traffic", "events", "keys", "slow", "clients", "jobs", "advice", "config")
SCREENS = {
    "desktop": {"width": 1280, "height": 900, "theme": "light"},
    "desktop, dark": {"width": 1280, "height": 900, "theme": "dark"},
    "phone": {"width": 360, "height": 740, "theme": "light"},
    "phone, dark": {"width": 360, "height": 740, "theme": "dark"},
}
ASKED_OF_AXE = ("desktop", "phone, dark")  # it takes longer than all the rest


def ill_documents() -> dict[str, Any]:
    """Four shards: of one the primary is down, of one a replica lets nobody in."""
    documents = documents_add(fleet_documents(4))
    shards = documents["status"]["clusters"]["sessions"]["shards"]
    shards[1].update(state="fencing", is_covered=False)
    shards[1]["nodes"][0].update(state="down", reason="connection refused", since=12.0)
    shards[1]["nodes"][1].update(sync="no link", sync_reason="its link is down", lag=None)
    shards[3]["nodes"][2].update(state="denied", reason="NOPERM for 'info'", sync=None, lag=None)
    return documents


@pytest.fixture
def site() -> Iterator[ConsoleSite]:
    with console_site(ill_documents()) as one:
        yield one


def rows(look: Look) -> Locator:
    return look.page.locator("table.shards tbody.shard")


@pytest.mark.parametrize("screen", SCREENS)
def test_every_view_is_readable_for_everybody(site: ConsoleSite, open_page: OpenPage, screen: str) -> None:
    look = open_page(**SCREENS[screen])
    for view in VIEWS:
        look.view(site.url, view)
        look.page.locator("main .card table, main .card article, main .card pre").first.wait_for()
        assert look.overflow <= 0, view
        if screen in ASKED_OF_AXE:
            assert look.violations() == [], view
    look.check()


def test_axe_would_find_something(site: ConsoleSite, open_page: OpenPage) -> None:
    look = open_page()
    look.view(site.url, "clients")
    look.page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [one.partition(":")[0] for one in look.violations()] == ["button-name"]


def test_what_is_down_is_said_in_words(site: ConsoleSite, open_page: OpenPage) -> None:
    look = open_page()
    look.view(site.url, "overview")
    look.page.get_by_role("heading", name="Needs a look").wait_for()
    said = look.page.locator(".troubles li").all_inner_texts()
    assert said[0] == "sessions, shard 1 is failing over: nobody may acknowledge writes."
    assert re.fullmatch(
        r"sessions, shard 1: primary 10.0.1.1:6379 is down, for \d+ s: connection refused", said[1]
    )
    assert any("shard 3: replica 10.0.3.3:6379 is denied" in one for one in said)
    assert "fencing" in rows(look).nth(1).inner_text()
    assert "down for" in rows(look).nth(1).inner_text()
    assert "not served: shard 1." in look.page.locator(".slots .said").inner_text()
    site.documents = {**site.documents, **fleet_documents(4)}
    look.page.get_by_role("heading", name="All is well").wait_for()
    look.check()


def test_250_shards_are_found_by_what_they_are(open_page: OpenPage) -> None:
    documents = fleet_documents(250)
    documents["status"]["clusters"]["sessions"]["shards"][117]["nodes"][0].update(state="down", reason="x")
    with console_site(documents) as site:
        look = open_page()
        look.view(site.url, "overview")
        rows(look).nth(249).wait_for()
        assert rows(look).count() == 250
        assert look.page.locator("tr.of-node").count() == 3  # of the one that is ill
        look.page.get_by_label("only what is not ok").check()
        look.page.get_by_text("1 of 250 shards").wait_for()
        assert "primary down" in rows(look).first.inner_text()
        look.page.get_by_label("only what is not ok").uncheck()
        look.page.get_by_label("Find").fill("10.0.33.2")
        look.page.get_by_text("1 of 250 shards").wait_for()
        turn = look.page.get_by_role("button", name="Shard 33: show its nodes")
        turn.focus()
        look.page.keyboard.press("Enter")
        look.page.get_by_role("button", name="Shard 33: hide its nodes").wait_for()
        assert look.page.locator("tr.of-node").count() == 3
        assert look.overflow <= 0
        look.check()


def test_nothing_at_all_is_said_to_be_nothing(open_page: OpenPage) -> None:
    with console_site(fleet_documents(0)) as site:
        look = open_page()
        look.view(site.url, "overview")
        look.page.get_by_text("No cluster is configured.").wait_for()
        assert look.violations() == []
        look.check()


@pytest.mark.parametrize(
    ("view", "what"),
    [("keys", "hot keys"), ("slow", "slow requests"), ("advice", "advice"), ("config", "config")],
)
def test_what_this_version_does_not_tell_breaks_nothing(open_page: OpenPage, view: str, what: str) -> None:
    with console_site(fleet_documents(2)) as site:
        look = open_page()
        look.view(site.url, view)
        look.page.get_by_text(f"This proxy does not tell {what}").wait_for()
        look.page.get_by_role("link", name="Overview").click()
        rows(look).nth(1).wait_for()
        assert {fault.partition(" (")[0] for fault in look.faults} <= {
            "Failed to load resource: the server responded with a status of 404"
        }


def test_keys_are_shown_as_they_are(site: ConsoleSite, open_page: OpenPage) -> None:
    look = open_page()
    look.view(site.url, "keys")
    look.page.get_by_role("rowheader", name="<b>config</b>\\xff").wait_for()
    look.page.get_by_role("rowheader", name="session:cart:1").wait_for()
    look.check()


def test_an_action_is_confirmed_in_words_and_the_dangerous_one_by_its_name(
    site: ConsoleSite, open_page: OpenPage
) -> None:
    look = open_page()
    look.view(site.url, "overview")
    opener = look.page.get_by_role("button", name="Act on shard 2 of sessions")
    opener.focus()
    look.page.keyboard.press("Enter")
    dialog = look.page.get_by_role("dialog", name="Shard 2 of sessions")
    dialog.wait_for()
    assert look.violations() == []
    assert "no write is lost" in dialog.inner_text()
    look.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert opener.evaluate("(button) => button === document.activeElement")
    opener.click()
    dialog.get_by_label("Promote a node by force").check()
    assert "LOST" in dialog.inner_text()
    do = dialog.get_by_role("button", name="Promote by force")
    assert do.is_disabled()
    dialog.get_by_label("New primary").select_option("10.0.2.3:6379")
    dialog.get_by_label("to confirm").fill("sessions")
    assert do.is_disabled()
    dialog.get_by_label("to confirm").fill("sessions/2")
    site.answers["promote"] = {"error": "10.0.2.3:6379 does not answer"}
    do.click()
    dialog.get_by_role("alert").get_by_text("10.0.2.3:6379 does not answer").wait_for()
    site.answers.clear()
    do.click()
    look.page.get_by_text("Shard 2 of sessions has another primary.").wait_for()
    body = {"cluster": "sessions", "shard": "2", "to": "10.0.2.3:6379"}
    assert site.posted == [("promote", body), ("promote", body)]


def test_long_work_shows_its_plan_before_it_is_begun(site: ConsoleSite, open_page: OpenPage) -> None:
    look = open_page()
    look.view(site.url, "jobs")
    assert look.page.get_by_label("Progress of reshard 7 of sessions").get_attribute("value") == "400"
    assert look.page.locator("article.job p").first.inner_text() == FAR
    look.page.get_by_role("button", name="New work on sessions").click()
    dialog = look.page.get_by_role("dialog", name="Work on sessions")
    site.answers["jobs/plan"] = {"plan": {"lines": ["1000 slots move"], "why_not": "a shard is down"}}
    dialog.get_by_role("button", name="Show the plan").click()
    dialog.get_by_text("1000 slots move").wait_for()
    assert dialog.get_by_role("button", name="Rebalance").is_disabled()
    dialog.get_by_label("Copy at most").fill("2")
    site.answers["jobs/plan"] = {"plan": {"lines": ["1000 slots move"]}}
    site.answers["jobs/start"] = {"job": {"kind": "reshard", "id": "8", "cluster": "sessions"}}
    dialog.get_by_role("button", name="Show the plan").click()
    dialog.get_by_role("button", name="Rebalance").click()
    look.page.get_by_text("reshard 8 of sessions is asked for").wait_for()
    wants = {"do": "rebalance", "by": "keys", "rate": 2 << 20, "slots_per_step": 0}
    assert site.posted[-1] == ("jobs/start", {"cluster": "sessions", "kind": "reshard", "wants": wants})
    look.page.get_by_role("button", name="Cancel…").click()
    dialog = look.page.get_by_role("dialog", name="Cancel: reshard 7 of sessions")
    dialog.get_by_label("to confirm").fill("sessions")
    dialog.get_by_role("button", name="Cancel the job").click()
    look.page.get_by_text("reshard 7 of sessions is given up.").wait_for()
    assert site.posted[-1] == ("jobs/abort", {"cluster": "sessions", "id": "7"})
    look.check()


def test_who_may_only_read_is_told_so(site: ConsoleSite, open_page: OpenPage) -> None:
    site.documents["process"] = {**site.documents["process"], "rights": "read"}
    look = open_page()
    look.view(site.url, "overview")
    look.page.get_by_role("button", name="Act on sessions").click()
    dialog = look.page.get_by_role("dialog", name="Cluster sessions")
    dialog.get_by_label("to confirm").fill("sessions")
    assert dialog.get_by_role("button", name="Pause").is_disabled()
    assert "You may only read here" in dialog.inner_text()


def test_a_token_is_asked_for_and_stays_in_the_tab(site: ConsoleSite, open_page: OpenPage) -> None:
    site.token = "a-token-of-16-and-more"
    look = open_page()
    look.page.goto(site.url)
    dialog = look.page.get_by_role("dialog", name="Who asks")
    dialog.get_by_text("a token is asked for").wait_for()
    dialog.get_by_label("Token").fill(site.token)
    look.page.keyboard.press("Enter")
    rows(look).nth(3).wait_for()
    assert site.token in look.page.evaluate("JSON.stringify(Object.values(sessionStorage))")
    assert site.token not in look.page.evaluate("JSON.stringify(localStorage) + document.cookie")
    look.page.reload()
    rows(look).nth(3).wait_for()


def test_light_and_dark_follow_the_system_and_the_switch(site: ConsoleSite, open_page: OpenPage) -> None:
    def brightness(look: Look) -> int:
        rgb = look.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        return int(sum(rgb[:3]) // 3)

    look = open_page(theme="dark")
    look.view(site.url, "overview")
    assert brightness(look) < 60
    look.page.get_by_label("Theme").select_option("light")
    wait_until(lambda: brightness(look) > 200, "it is light")
    look.page.reload()
    look.page.locator("main .card").first.wait_for()
    assert brightness(look) > 200
    look.page.get_by_label("Theme").select_option("")
    wait_until(lambda: brightness(look) < 60, "it is as the system has it")
