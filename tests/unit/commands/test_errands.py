"""What the control plane sends for clients explains a silent node as what the workers send does."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.commands.errands import Errands
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
