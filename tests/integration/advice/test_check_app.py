"""`check --app`: real servers are listened to, and a real proxy of three shards has the last word."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.advice.monitor import Seen, line_parse
from shardproxy.advice.verdict import Judge
from shardproxy.commands.table import Table
from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, executable, wait_until

KEYS = ("a", "b", "{a}1", "{a}2", "c:{a}", "d", "e:1")
REQUESTS = (
    *(
        "GET $",
        "SET $ v",
        "MGET $ $ $",
        "DEL $ $",
        "EXISTS $ $",
        "MSETNX $ 1 $ 2",
        "RENAME $ $",
        "RENAMENX $ $",
    ),
    *("SUNION $ $", "SINTERSTORE $ $ $", "SINTERCARD 2 $ $", "ZUNIONSTORE $ 2 $ $", "ZDIFF 2 $ $ WITHSCORES"),
    *(
        "LMPOP 2 $ $ LEFT",
        "BLPOP $ $ 0.01",
        "BLMPOP 0.01 2 $ $ LEFT",
        "BRPOPLPUSH $ $ 0.01",
        "BZPOPMIN $ $ 0.01",
    ),
    *(
        "LMOVE $ $ LEFT LEFT",
        "SMOVE $ $ m",
        "PFMERGE $ $",
        "PFCOUNT $ $",
        "BITOP AND $ $ $",
        "COPY $ $",
        "LCS $ $",
    ),
    *(
        "COPY $ $ DB 1",
        "COPY $ $ DB 0",
        "MOVE $ 1",
        "SORT $",
        "SORT $ STORE $",
        "SORT $ BY w_* GET {a}*",
        "SORT $ BY {a}*",
    ),
    *("GEORADIUS $ 0 0 1 m STORE $", "GEOSEARCHSTORE $ $ FROMLONLAT 0 0 BYRADIUS 1 m", "OBJECT ENCODING $"),
    *("XREAD STREAMS $ $ 0 0", "XREAD COUNT 1 BLOCK 5 STREAMS $ $ 0 0", "XADD $ * f v", "XINFO STREAM $"),
    *(
        "EVAL return(1) 2 $ $",
        "EVAL return(1) 0",
        "EVALSHA x 2 $ $",
        "FCALL f 2 $ $",
        "SWAPDB 0 1",
        "CONFIG SET save x",
    ),
    *(
        "SCRIPT DEBUG YES",
        "PUBLISH ch m",
        "SPUBLISH $ m",
        "DBSIZE",
        "CLIENT ID",
        "SHUTDOWN",
        "REPLICAOF a 1",
        "MEMORY USAGE $",
    ),
    *(
        "KEYS *",
        "SCAN 0",
        "LOLWUT",
        "WAIT 0 0",
        "CLIENT TRACKING ON",
        "CLIENT TRACKING OFF",
        "DEBUG SLEEP 0",
        "MIGRATE h 1 $ 0 5",
    ),
)
NOT_IN_MULTI = ("SHUTDOWN",)  # one Redis refuses it there, too


def requests_of(chance: random.Random) -> list[list[str]]:
    """One request, or several of a transaction."""

    def drawn() -> list[str]:
        return [chance.choice(KEYS) if word == "$" else word for word in chance.choice(REQUESTS).split()]

    def queued() -> list[str]:
        return next(words for words in iter(drawn, None) if words[0] not in NOT_IN_MULTI)

    if chance.random() < 0.6:
        return [drawn()]
    watch = (
        [["WATCH", *(chance.choice(KEYS) for _ in range(chance.choice((1, 1, 2))))]]
        if chance.random() < 0.4
        else []
    )
    return [*watch, ["MULTI"], *(queued() for _ in range(chance.randrange(1, 4))), ["EXEC"]]


def is_of_shards(error: str) -> bool:
    """Whether one Redis would not have said so."""
    marks = ("CROSSSLOT", "refused by this proxy", "in cluster mode", "inside MULTI:")
    return any(mark in error for mark in marks)


def kind_of(error: str) -> str:
    return "inside MULTI" if "inside MULTI:" in error else error.partition(" (commands: ")[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_verdict_is_the_proxys(start_fleet: StartFleet, start_proxy: StartProxy, seed: int) -> None:
    proxy = start_proxy(config_of(start_fleet(shards=3, replicas=0), workers=1))
    chance = random.Random(seed)
    for number in range(400):
        requests = requests_of(chance)
        wire = Wire(proxy.address())
        replies = [wire.ask(*request) for request in requests]
        wire.close()
        said = {kind_of(str(r)) for r in replies if isinstance(r, ReplyError) and is_of_shards(str(r))}
        judge = Judge(Table.load(), 3)
        client = str(number).encode()
        found = [f for r in requests for f in judge.judge(Seen(0, client, tuple(w.encode() for w in r)))]
        assert {kind_of(f.answer) for f in found if f.is_refused} == said, requests


@pytest.fixture(scope="module")
def plain(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


def address_of(fleet: Fleet) -> Address:
    return fleet.nodes[0].address


def test_every_argument_is_read_as_it_was_sent(plain: Fleet) -> None:
    ear, mouth = Wire(address_of(plain)), Wire(address_of(plain))
    ear.send_command("MONITOR")
    ear.expect(b"+OK\r\n")
    lines = ear.socket.makefile("rb")

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
    def check(arguments: list[bytes]) -> None:
        mouth.ask("EXISTS", *arguments)
        seen = line_parse(lines.readline())
        assert seen is not None
        assert seen.args == (b"EXISTS", *arguments)

    check()
    mouth.ask("EVAL", "return redis.call('get', KEYS[1])", 1, b'k"\n\\')
    script, inner = line_parse(lines.readline()), line_parse(lines.readline())
    assert script is not None
    assert inner is not None
    assert (script.is_of_script, inner.is_of_script, inner.args) == (False, True, (b"get", b'k"\n\\'))
    for closed in (lines, ear, mouth):
        closed.close()


def check_app(*words: str) -> subprocess.Popen[bytes]:
    argv = (str(executable("shardproxy")), "check", *words)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})


def heard(fleet: Fleet, use: Callable[[redis.Redis], Any], *words: str) -> tuple[int, str, str]:
    """What the command line prints of an application that is used while it listens."""
    address = address_of(fleet)
    child = check_app("--app", f"redis://{address}", "--seconds", "3", *words)
    client = redis.Redis(address.host, address.port)
    done: list[tuple[bytes, bytes]] = []
    waiter = threading.Thread(target=lambda: done.append(child.communicate()))
    waiter.start()
    wait_until(lambda: any(c["cmd"] == "monitor" for c in client.client_list()), "it listens")
    use(client)
    waiter.join()
    client.close()
    out, err = done[0]
    return child.returncode, out.decode(), err.decode()


def an_application(client: redis.Redis) -> None:
    for number in range(20):
        pipeline = client.pipeline()
        pipeline.hset(f"user:{number}:cart", "a", "secret-value")
        pipeline.incr(f"user:{number}:visits")
        pipeline.execute()
        client.mget(f"page:{number}", f"page:{number + 1}")
    client.blpop(["high", "low"], timeout=0.01)
    client.config_set("save", "")


def test_an_application_is_told_what_several_shards_refuse(plain: Fleet) -> None:
    code, out, err = heard(plain, an_application, "--output", "json")
    answer = json.loads(out)
    found = {(f["command"], *f["keys"]): f for f in answer["findings"]}
    assert (code, answer["refused"]) == (1, 21)
    transaction = found["MULTI … EXEC", "user:*:cart", "user:*:visits"]
    assert (transaction["count"], transaction["is_cured_by_all"]) == (20, True)
    assert found["BLPOP", "high", "low"]["is_one_shards_burden"]
    assert not found["MGET", "page:*"]["is_refused"]
    assert {"match": "user:{id}:*", "hash": "{id}"} in answer["key_families"]
    assert [hidden["command"] for hidden in answer["since_start"]] == ["CONFIG SET"]
    assert "MONITOR costs this server" in err
    code, out, _ = heard(plain, an_application)
    assert code == 1
    assert 'key_families:\n      - {match: "user:{id}:*", hash: "{id}"}\n' in out
    assert "secret-value" not in out + err


def test_the_families_it_proposes_cure_it(
    plain: Fleet, start_fleet: StartFleet, start_proxy: StartProxy
) -> None:
    answer = json.loads(heard(plain, an_application, "--output", "json")[1])
    fleet = start_fleet(shards=3, replicas=0)
    proxy: Proxy = start_proxy(config_of(fleet, workers=1, key_families=answer["key_families"]))
    client = redis.Redis(proxy.host, proxy.port)
    for number in range(20):
        pipeline = client.pipeline()
        pipeline.hset(f"user:{number}:cart", "a", "1")
        pipeline.incr(f"user:{number}:visits")
        assert pipeline.execute() == [1, 1]
    assert client.blpop(["high", "low"], timeout=0.01) is None
    client.close()


def test_saved_output_is_read_and_a_config_gives_its_families(tmp_path: Path) -> None:
    saved, config = tmp_path / "monitor.txt", tmp_path / "config.yaml"
    saved.write_bytes(b'OK\n1.2 [0 a:1] "RENAME" "u:1:a" "u:1:b"\n')
    child = check_app("--file", str(saved), "--output", "json")
    answer = json.loads(child.communicate()[0])
    assert (child.returncode, answer["refused"], answer["commands"]) == (1, 1, 1)
    families = json.dumps(answer["key_families"])
    config.write_text(
        '{"clusters": {"main": {"engine": "redis", "endpoints": {"configuration": "127.0.0.1:1"},'
        f'"shards": [{{"nodes": ["127.0.0.1:2"]}}, {{"nodes": ["127.0.0.1:3"]}}],'
        f'"key_families": {families}}}}}}}'
    )
    child = check_app(str(config), "--file", str(saved), "--output", "json")
    assert json.loads(child.communicate()[0])["refused"] == child.returncode == 0


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("redis://127.0.0.1:1", "cannot be reached"),
        ("http://a", "--app is redis://"),
        ("redis://:wrong@{}", "the server says"),
    ],
)
def test_what_cannot_be_listened_to_is_said_without_the_password(plain: Fleet, app: str, why: str) -> None:
    child = check_app("--app", app.format(address_of(plain)), "--seconds", "1")
    _, err = child.communicate()
    assert child.returncode == 1
    assert why in err.decode()
    assert "wrong@" not in err.decode()
