"""Whoever listens is told of logins and refusals; who is slow loses some, and nobody waits for them."""

from __future__ import annotations

import trio

from shardproxy.access.events import AccessEvent, AccessFeed, run_access_feed
from shardproxy.dataplane._native import AccessEvent as Native


def event(user: str) -> AccessEvent:
    return Native("main", "primary", "login", 7, "10.0.0.7:5000", user, "", b"", "toplevel")


async def test_all_listeners_hear_everything() -> None:
    feed = AccessFeed()
    first, second = feed.listen(), feed.listen()
    send, receive = trio.open_memory_channel[AccessEvent](10)
    for user in "abc":
        send.send_nowait(event(user))
    send.close()
    await run_access_feed(receive, feed)
    for listener in (first, second):
        assert [(await listener.events.receive()).user for _ in range(3)] == ["a", "b", "c"]


async def test_who_is_slow_loses_and_can_see_how_many() -> None:
    feed = AccessFeed()
    slow, quick = feed.listen(waiting=1), feed.listen()
    for user in "abc":
        feed.tell(event(user))
    assert (slow.lost, quick.lost) == (2, 0)
    assert (await slow.events.receive()).user == "a"
    feed.tell(event("d"))
    assert (await slow.events.receive()).user == "d"
