"""What every test may ask for; tests/fixtures says more."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no example is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = [
    "tests.fixtures.engines",
    "tests.fixtures.proxy",
    "tests.fixtures.clients",
    "tests.fixtures.fake_engine",
    "tests.fixtures.oracle",
    "tests.fixtures.certificates",
    "tests.fixtures.etcd",
    "tests.fixtures.postgres",
    "tests.fixtures.prometheus",
    "tests.fixtures.s3",
    "tests.fixtures.sentinel",
    "tests.fixtures.systemd",
    "tests.fixtures.kubernetes",
    "tests.fixtures.charts",
    "tests.fixtures.named",
    "tests.fixtures.redis_cluster",
    "tests.fixtures.browser",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=("auto", "local", "containers"),
        default="auto",
        help="where engines run: local processes, containers, or containers when a Docker engine answers",
    )
    parser.addoption(
        "--rounds",
        type=int,
        default=1,
        help="how often a fault is repeated whose outcome is also a matter of chance",
    )


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> int:
    """How often such a fault is repeated in this run."""
    return int(pytestconfig.getoption("--rounds"))
