"""What the control plane sends for clients explains a silent node as what the workers send does."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
import trio.testing

from shardproxy.commands.errands import AllTraffic, Errands
from shardproxy.commands.table import Table
from shardproxy.model import Address
from shardproxy.model.health import NO_STANDING

NODE, OTHER = Address("n", 7001), Address("n", 7002)


async def test_a_node_owes_what_it_was_sent_until_it_answers(autojump_clock: trio.testing.MockClock) -> None:
    errands, began = Errands(), trio.current_time()
    with errands.under_way("main", NODE, "keys", 7):
        await trio.sleep(1.0)
        with errands.under_way("main", NODE, "flushall", 8):
            owed = errands.standing("main", NODE)
            assert errands.standing("main", OTHER) == errands.standing("other", NODE) == NO_STANDING
        assert owed.busy is not None
        assert (owed.busy.command, owed.busy.client, owed.busy.since) == ("keys", "client id 7", began)
        assert errands.standing("main", NODE).heard_at == began + 1.0
        await trio.sleep(1.0)
    after = errands.standing("main", NODE)
    assert (after.busy, after.heard_at) == (None, began + 2.0)


async def test_a_question_that_is_given_up_is_no_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    errands = Errands()
    with pytest.raises(trio.TooSlowError), trio.fail_after(1.0), errands.under_way("main", NODE, "keys", 7):
        await trio.sleep_forever()
    assert errands.standing("main", NODE) == NO_STANDING


class Workers:
    """A data plane that is told what may take long."""

    def __init__(self) -> None:
        self.expected: dict[str, set[str]] = {}

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        self.expected[cluster] = set(commands)


def test_what_took_long_of_late_may_again_whoever_sends_it() -> None:
    workers, errands, table = Workers(), Errands(), Table.load()
    traffic = AllTraffic(workers, errands, table)  # type: ignore[arg-type]
    scan, keys, ping = (table.commands[name] for name in ("scan", "keys", "ping"))
    assert not errands.may_be_slow("main", scan)
    traffic.expect_slow("main", iter(["scan", "ping"]))
    assert workers.expected == {"main": {"scan", "ping"}}
    assert errands.may_be_slow("main", scan)
    assert not errands.may_be_slow("other", scan)
    assert not errands.may_be_slow("main", ping), "it is quick by its nature, and was held up"
    traffic.expect_slow("main", [])
    assert not errands.may_be_slow("main", scan)
    assert errands.may_be_slow("main", keys)
    assert [name for name in ("config|set", "lrange|l", "keys") if traffic.is_command(name)] == [
        "config|set",
        "keys",
    ]
