"""CLIENT LIST, INFO, KILL over the proxy's own clients."""

from __future__ import annotations

from typing import Any

import pytest
from redis._parsers import helpers

from tests.fixtures.offload import client_row, open_desk, topology_at

parse_list: Any = helpers.parse_client_list
ME = 1  # the client id a desk's commands come from


CLIENTS = [
    client_row(3, name=b"worker-\xff", lib_name=b"redis-py", lib_version=b"5.2", command="client|list"),
    client_row(ME),
    client_row(2, channels=1),
    client_row(4, local_address="unix:/run/x.sock", address="unix:", no_evict=True),
    client_row(5, cluster="other"),
]


def list_of(reply: bytes) -> list[dict[str, str]]:
    return list(parse_list(reply.split(b"\r\n", 1)[1].removesuffix(b"\r\n").decode(errors="replace")))


@pytest.mark.parametrize(
    ("args", "ids"),
    [
        ([], [1, 2, 3, 4]),
        (["ID", 3, 2, 99], [2, 3]),
        (["TYPE", "normal"], [1, 3, 4]),
        (["type", "PUBSUB"], [2]),
        (["TYPE", "replica"], []),
    ],
)
async def test_list_shows_the_clients_of_the_cluster(args: list[str | int], ids: list[int]) -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        desk.connected = CLIENTS
        assert [int(c["id"]) for c in list_of(await desk.ask("CLIENT", "LIST", *args))] == ids


async def test_line_has_the_fields_of_redis() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        desk.connected = CLIENTS
        line = await desk.ask("CLIENT", "LIST", "ID", 3)
        assert (
            b"id=3 addr=10.0.0.3:5000 laddr=127.0.0.1:7000 fd=0 name=worker-\xff age=10 idle=2 flags=N db=0"
            in line
        )
        assert line.endswith(
            b"cmd=client|list user=default redir=-1 resp=2 lib-name=redis-py lib-ver=5.2\n\r\n"
        )
        assert b" flags=Ue " in await desk.ask("CLIENT", "LIST", "ID", 4)
        assert list_of(await desk.ask("CLIENT", "INFO"))[0]["id"] == "1"
        assert (await desk.ask("CLIENT", "INFO", resp=3)).startswith(b"=")


KILLS: list[tuple[list[str | int], list[int], bytes]] = [
    (["10.0.0.3:5000"], [3], b"+OK\r\n"),
    (["ID", 3], [3], b":1\r\n"),
    (["ID", 5], [], b":0\r\n"),
    (["ADDR", "10.0.0.2:5000"], [2], b":1\r\n"),
    (["LADDR", "127.0.0.1:7000"], [3, 2], b":2\r\n"),
    (["LADDR", "127.0.0.1:7000", "SKIPME", "no"], [3, 1, 2], b":3\r\n"),
    (["TYPE", "pubsub"], [2], b":1\r\n"),
    (["USER", "default", "TYPE", "normal"], [3, 4], b":2\r\n"),
    (["ID", ME], [], b":0\r\n"),
    (["ID", ME, "SKIPME", "NO"], [ME], b":1\r\n"),
    (["10.0.0.1:5000"], [ME], b"+OK\r\n"),
]


@pytest.mark.parametrize(("args", "ids", "reply"), KILLS)
async def test_kill_closes_those_all_filters_name(
    args: list[str | int], ids: list[int], reply: bytes
) -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        desk.connected = CLIENTS
        assert await desk.ask("CLIENT", "KILL", *args) == reply
        assert desk.killed == ids


@pytest.mark.parametrize(
    ("args", "described"),
    [
        (["INFO"], [ME]),
        (["LIST", "ID", 3, 99, -7], [3]),
        (["KILL", "ID", 3], [3]),
        (["KILL", "ID", 2, "TYPE", "normal"], [2]),
        (["UNBLOCK", 2], [2]),
        (["LIST", "TYPE", "pubsub"], [3, ME, 2, 4, 5]),
    ],
)
async def test_who_is_named_is_looked_up_alone(args: list[str | int], described: list[int]) -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        desk.connected = CLIENTS
        await desk.ask("CLIENT", *args)
        assert desk.described == described
