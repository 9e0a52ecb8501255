"""What every test may ask for; tests/fixtures says more."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.engines",
    "tests.fixtures.proxy",
    "tests.fixtures.clients",
    "tests.fixtures.fake_engine",
    "tests.fixtures.oracle",
    "tests.fixtures.certificates",
    "tests.fixtures.etcd",
    "tests.fixtures.s3",
    "tests.fixtures.sentinel",
    "tests.fixtures.kubernetes",
    "tests.fixtures.named",
    "tests.fixtures.redis_cluster",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=("auto", "local", "containers"),
        default="auto",
        help="where engines run: local processes, containers, or containers when a Docker engine answers",
    )
