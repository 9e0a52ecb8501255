"""The kinds of jobs are told without making who does them, and are theirs."""

from __future__ import annotations

from typing import Any

from shardproxy.app.moving import KINDS, workers_of


class AnyTools:
    """Has whatever is asked for: workers are made, and do nothing."""

    def __getattr__(self, name: str) -> Any:
        return AnyTools()

    def __call__(self, *args: object) -> Any:
        return AnyTools()


def test_the_kinds_are_those_of_the_workers() -> None:
    tools: Any = AnyTools()
    assert sorted(worker.kind for worker in workers_of(tools)) == sorted(KINDS)
