"""What may be written of backups."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.config import ConfigError, RedisCluster, parse_config
from shardproxy.config.backups import Backups, Window

CONFIG = """
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:7101"]}]
    backups: %s
"""


def backups_of(text: str) -> Backups:
    cluster = parse_config(CONFIG % text).clusters["main"]
    assert isinstance(cluster, RedisCluster)
    assert cluster.backups is not None
    return cluster.backups


def test_what_is_left_out() -> None:
    backups = backups_of("{to: /var/backups}")
    assert (backups.retention, backups.daily, backups.key_file) == (0, Window(180, 240), None)


@pytest.mark.parametrize("to", ["/var/backups", "s3://backups", "s3://my.backups-2/a/b c", "/"])
def test_places(to: str) -> None:
    assert backups_of(f'{{to: "{to}"}}').to == to


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("03:00-04:00", (180, 240)),
        ("3:00-04:00", None),
        ("23:30-00:30", (1410, 30)),
        ("00:00 - 23:59", (0, 1439)),
    ],
)
def test_windows(text: str, window: tuple[int, int] | None) -> None:
    written = f'{{to: /b, window: "{text}"}}'
    if window is None:
        with pytest.raises(ConfigError, match="is not a time of day"):
            backups_of(written)
    else:
        assert backups_of(written).daily == Window(*window)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "to"),
        ("{to: backups}", "no absolute path"),
        ("{to: ftp://x}", "neither a directory nor a bucket"),
        ("{to: s3://}", "neither a directory nor a bucket"),
        ("{to: s3://backups/../other}", "neither a directory nor a bucket"),
        ("{to: /b, retention: 36}", "35"),
        ("{to: /b, retention: -1}", "0"),
        ('{to: /b, window: "03:00-03:59"}', "shorter than 60 minutes"),
        ('{to: /b, window: "25:00-26:00"}', "is not a time of day"),
        ("{to: /b, s3: {region: eu-central-1}}", "s3 has no use"),
        ("{to: s3://backups, s3: {access_key_id: ABCDEFGHIJKLMNOP}}", "needs its secret_access_key"),
        (
            "{to: s3://backups, s3: {access_key_id: ABCD, secret_access_key: abc}}",
            "never written",
        ),
        ("{to: s3://backups, s3: {endpoint: example.com}}", "endpoint"),
        ("{to: /b, key_file: backup.key}", "key_file"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        backups_of(text)


def test_what_something_else_decides_about_is_not_backed_up() -> None:
    text = (CONFIG % "{to: /b}").replace(
        "    shards:", "    topology: {from: redis-cluster, seeds: [127.0.0.1:7101]}\n    shards:"
    )
    with pytest.raises(ConfigError, match="only what the proxy decides about is backed up"):
        parse_config(text)


def test_a_key_does_not_show() -> None:
    values: dict[str, Any] = {"access_key_id": "ABCDEFGHIJKLMNOP", "secret_access_key": {"file": "/run/key"}}
    backups = Backups.model_validate({"to": "s3://b1b", "s3": values})
    assert backups.s3 is not None
    assert backups.s3.secret_access_key is not None
    assert backups.s3.secret_access_key.place == "file /run/key"
