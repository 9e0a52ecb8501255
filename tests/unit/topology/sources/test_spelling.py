"""A node has one name, however it is spelled."""

from __future__ import annotations

from shardproxy.model import Address
from shardproxy.topology.sources.spelling import Spelling

LOCAL, NUMBER, OTHER = Address("localhost", 1), Address("127.0.0.1", 1), Address("10.0.0.1", 1)


async def test_a_name_stands_for_its_address() -> None:
    spelling = Spelling()
    assert spelling.of(NUMBER) == NUMBER, "not learned yet"
    await spelling.learn([NUMBER, LOCAL, OTHER])
    assert spelling.of(NUMBER) == LOCAL
    assert spelling.of(LOCAL) == LOCAL
    assert spelling.of(OTHER) == OTHER
    assert spelling.of(Address("127.0.0.1", 2)) == Address("127.0.0.1", 2)


async def test_what_the_config_says_stands_for_both() -> None:
    spelling = Spelling([NUMBER])
    await spelling.learn([LOCAL])
    assert spelling.of(LOCAL) == NUMBER


async def test_a_name_that_cannot_be_looked_up_stands_for_itself() -> None:
    spelling = Spelling()
    nowhere = Address("nowhere.invalid", 1)
    await spelling.learn([nowhere])
    assert spelling.of(nowhere) == nowhere
