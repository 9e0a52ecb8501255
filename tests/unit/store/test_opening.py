"""Which store a config opens."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shardproxy.config import Config, parse_config
from shardproxy.store.local import LocalStore
from shardproxy.store.member import member_name
from shardproxy.store.opening import StoreOpeningError, store_opened

REDIS = "clusters: {a: {engine: redis, endpoints: {primary: 127.0.0.1:70}, shards: [{nodes: [127.0.0.1:1]}]}}"
POOL = (
    "clusters: {pages: {engine: memcached, endpoints: {configuration: 127.0.0.1:7000}, nodes: [127.0.0.1:1]}}"
)


def config_of(text: str, state: Path) -> Config:
    return parse_config(f"{text}\nstate: {state}\n")


async def test_a_proxy_that_is_alone_has_its_state_file(tmp_path: Path) -> None:
    config = config_of(REDIS, tmp_path / "state.json")
    async with store_opened(config, None, member="me-1") as store:
        assert isinstance(store, LocalStore)
        assert (store.path, store.member) == (tmp_path / "state.json", "me-1")
        assert set(store.members) == {"me-1"}
        with pytest.raises(StoreOpeningError, match=r"the state file: .+ is in use"):
            async with store_opened(config, None, member="me-2"):
                raise AssertionError("not reached")
        async with store_opened(config_of(POOL, tmp_path / "state.json"), None, member="me-2") as other:
            assert isinstance(other, LocalStore)
            assert other.path != store.path, "what a pool has to remember is worth no refusal"


async def test_one_that_shares_a_store_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Shared:
        def __init__(self, config: object, **options: Any) -> None:
            made.append({"config": config, **options})

    for name in ("Etcd", "Kubernetes"):
        module = ModuleType(f"shardproxy.store.{name.lower()}")
        setattr(module, f"{name}Store", Shared)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    kinds = ("etcd: {endpoints: [http://127.0.0.1:2379]}", "kubernetes: {name: cache}")
    for kind in kinds:
        text = f"{REDIS}\nstore: {{{kind}, membership: follower}}"
        for _ in range(2):
            async with store_opened(config_of(text, tmp_path / "s.json"), None, member="me") as store:
                assert isinstance(store, Shared)
    assert not (tmp_path / "s.json").exists()
    assert made[0]["config"] == parse_config(f"{REDIS}\nstore: {{{kinds[0]}}}").store.etcd  # type: ignore[union-attr]
    assert [one["keep"] for one in made] == [tmp_path / "s.json.kept"] * 4
    assert all(one["is_follower"] and one["member"] == "me" for one in made)


def test_no_two_processes_have_one_name() -> None:
    names = {member_name("cache-1") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("cache-1-") for name in names)
