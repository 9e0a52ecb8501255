"""Sites for the tests of moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from shardproxy.fleet.process import Launch
from tests.failover.moving.site import MovingSite, open_moving

OpenMoving = Callable[..., MovingSite]


@pytest.fixture
def moving_with(launch: Launch) -> Iterator[OpenMoving]:
    """Open sites that end with the test: `moving_with(shards=3, empty=1)`."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> MovingSite:
            return stack.enter_context(open_moving(*args, launch=launch, **options))

        yield start
