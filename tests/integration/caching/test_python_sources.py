"""Functions in Python as sources: of a module, and of a package's entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shardproxy.caching.sources.interface import (
    SourceBusyError,
    SourceDownError,
    SourceError,
    SourceRefusedError,
    SourceSlowError,
    Value,
)
from shardproxy.caching.sources.opening import SourceSetupError, open_sources
from shardproxy.config.caching import Caching
from tests.fixtures.rules import loading, parts_of

EXAMPLES = Path(__file__).parents[3] / "config"
MODULE = """
import trio
from shardproxy.caching.sources.interface import SourceDownError

async def profile(key, parts):
    if parts["id"] == "none":
        return None
    if parts["id"] == "broken":
        raise RuntimeError("secret")
    if parts["id"] == "gone":
        raise ConnectionRefusedError("10.0.0.7")
    if parts["id"] == "down":
        raise SourceDownError("the other one is down")
    if parts["id"] == "slow":
        await trio.sleep_forever()
    return {"key": key, **parts}

class Loaders:
    async def __call__(self, key, parts):
        return key

made = Loaders()

def plain(key, parts):
    return key

async def greedy(key, parts, more):
    return key
"""
RULE = loading("user:{id}", **{"as": "json"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as it is once it is installed: a module, and what it says of itself."""
    (tmp_path / "shop_loaders.py").write_text(MODULE)
    about = tmp_path / "shop-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[shardproxy.loaders]\nprofile = shop_loaders:profile\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("shop_loaders", None)


def caching(python: str, **more: object) -> Caching:
    source = {"python": python, "timeout": "300ms", "breaker": {"failures": 1000}, **more}
    return Caching.model_validate({"sources": {"main": source}, "rules": [RULE.config]})


@pytest.mark.parametrize("name", ["profile", "shop_loaders:profile"])
async def test_a_function_is_called_with_the_key_and_its_parts(package: Path, name: str) -> None:
    async with open_sources(caching(name).sources, package) as sources:
        source = sources["main"]
        assert await source.load(RULE, parts_of(RULE, b"user:42")) == Value({"key": "user:42", "id": "42"})
        assert await source.load(RULE, parts_of(RULE, b"user:none")) is None


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("broken", SourceRefusedError, "the loader failed: RuntimeError"),
        ("gone", SourceDownError, "the loader does not reach its source"),
        ("down", SourceDownError, "the other one is down"),
        ("slow", SourceSlowError, "the source did not answer in time"),
    ],
)
async def test_what_it_raises_says_who_is_at_fault(
    package: Path, what: str, error: type[SourceError], text: str
) -> None:
    async with open_sources(caching("profile").sources, package) as sources:
        with pytest.raises(error) as failed:
            await sources["main"].load(RULE, parts_of(RULE, f"user:{what}".encode()))
        assert str(failed.value) == text


async def test_no_more_calls_run_at_once_than_it_says(package: Path) -> None:
    settings = caching("profile", connections=1, waiting=1)
    failed: list[type[SourceError]] = []

    async def asks() -> None:
        try:
            await source.load(RULE, parts_of(RULE, b"user:slow"))
        except SourceError as e:
            failed.append(type(e))

    async with open_sources(settings.sources, package) as sources:
        source = sources["main"]
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(asks)
        assert failed[0] is SourceBusyError
        assert len(failed) == 3
        assert source.statistics().taken == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:x", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("shop_loaders:nothing", "shop_loaders has no nothing"),
        ("shop_loaders:plain", "is no async function: write async def"),
        ("shop_loaders:greedy", "is called with a key and its parts: missing a required argument: 'more'"),
        ("nothing", r"no package has an entry point nothing in shardproxy.loaders \(known: .*profile"),
    ],
)
async def test_what_is_no_loader_is_said_at_once(package: Path, name: str, why: str) -> None:
    with pytest.raises(SourceSetupError, match=f"source main: .*{why}"):
        async with open_sources(caching(name).sources, package):
            pass


async def test_an_object_may_be_called(package: Path) -> None:
    async with open_sources(caching("shop_loaders:made").sources, package) as sources:
        assert await sources["main"].load(RULE, parts_of(RULE, b"user:1")) == Value("user:1")


async def test_the_example_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    (tmp_path / "a1").write_text("10.00\n")
    rule = loading("price:{sku}:{currency}")
    async with open_sources(caching("loaders:price").sources, tmp_path) as sources:
        monkeypatch.setattr("loaders.PRICES", tmp_path)

        async def price(key: bytes) -> object:
            return await sources["main"].load(rule, parts_of(rule, key))

        assert await price(b"price:a1:USD") == Value("10.80")
        assert await price(b"price:a1:XXX") is None
        assert await price(b"price:a2:EUR") is None
        assert await price(b"price:../a1:EUR") is None
    sys.modules.pop("loaders")
