"""twemproxy's pools become clusters; what has no counterpart becomes a note."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from shardproxy.cli import main
from shardproxy.config import ConfigError, KeyHash, parse_config
from shardproxy.config.nutcracker import Imported, import_nutcracker
from shardproxy.config.nutcracker.pools import KEYS, read_pools

POOL = """\
pool:
  listen: 127.0.0.1:22121
  timeout: 400
  servers:
   - 127.0.0.1:11311:1
   - 127.0.0.1:11312:1
"""

# The example in twemproxy's README, in short.
FIVE = """\
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: true
  redis: true
  server_retry_timeout: 2000
  server_failure_limit: 1
  servers:
   - 127.0.0.1:6379:1
beta:
  listen: 127.0.0.1:22122
  hash_tag: "{}"
  timeout: 400
  redis: true
  servers:
   - 127.0.0.1:6380:1 server1
   - 127.0.0.1:6381:1 server2
omega:
  listen: /tmp/gamma 0666
  hash: hsieh
  distribution: ketama
  auto_eject_hosts: false
  servers:
   - 127.0.0.1:11214:100000
   - 127.0.0.1:11215:1
"""


def imported(text: str) -> Imported:
    """Import what a config of ours can hold, but for a hash function that is not there."""
    done = import_nutcracker(text)
    assert all("hsieh is not available" in problem.message for problem in done.problems)
    if not done.problems:
        parse_config(done.text)
    return done


def cluster(text: str) -> dict[str, object]:
    """The only cluster, as plain values."""
    (one,) = YAML(typ="safe").load(imported(text).text)["clusters"].values()
    return dict(one)


def notes(text: str) -> list[str]:
    return [note.text for note in imported(text).notes]


def test_a_whole_file_becomes_a_config() -> None:
    assert imported(FIVE).text == (
        "# Made of nutcracker.yml by shardproxy config import.\n"
        '# Lines that start with "# !" tell what is not as it was.\n'
        "\n"
        "clusters:\n"
        "  # ! no timeout: twemproxy waits for ever, here a node has 5s to answer (timeouts.reply)\n"
        "  # ! auto_eject_hosts (after 1 failures, for 2s): a failing shard is not ejected, its keys stay\n"
        "  #   with it\n"
        "  alpha:\n"
        "    engine: redis\n"
        '    endpoints: {configuration: "127.0.0.1:22121"}\n'
        "    shards:\n"
        '      - {nodes: ["127.0.0.1:6379"]}\n'
        "  # ! distribution ketama, hash fnv1a_64: keys go by slots (crc16) here, so most belong to another\n"
        "  #   shard; start with empty shards, or copy the keys through the proxy\n"
        "  beta:\n"
        "    engine: redis\n"
        '    endpoints: {configuration: "127.0.0.1:22122"}\n'
        "    timeouts: {connect: 400ms, reply: 400ms}\n"
        "    shards:\n"
        '      - {nodes: ["127.0.0.1:6380"]}\n'
        '      - {nodes: ["127.0.0.1:6381"]}\n'
        "  # ! hash hsieh: its licence keeps it out; choose another hash and start with an empty cache\n"
        "  # ! no timeout: twemproxy waits for ever, here a node has 5s to answer (timeouts.reply)\n"
        "  # ! listen: the socket had permissions 0666; here the umask of the process decides\n"
        "  omega:\n"
        "    engine: memcached\n"
        '    endpoints: {configuration: "unix:/tmp/gamma"}\n'
        "    hashing: {method: ketama, hash: hsieh}\n"
        "    nodes:\n"
        '      - {address: "127.0.0.1:11214", weight: 100000}\n'
        '      - "127.0.0.1:11215"\n'
    )


@pytest.mark.parametrize(
    ("settings", "hashing"),
    [
        ("", "ketama"),
        ("  hash: fnv1a_64\n  distribution: ketama\n", "ketama"),
        ("  hash: murmur\n", {"method": "ketama", "hash": "murmur"}),
        ('  hash_tag: "$$"\n', {"method": "ketama", "hash": "fnv1a_64", "tag": "$$"}),
        ("  distribution: modula\n", {"method": "modula", "hash": "fnv1a_64"}),
        ("  distribution: random\n", None),
    ],
)
def test_memcached_keys_stay_where_they_are(settings: str, hashing: object) -> None:
    assert cluster(POOL + settings).get("hashing") == hashing


def test_a_failing_node_is_ejected_as_before() -> None:
    settings = "  auto_eject_hosts: true\n  server_retry_timeout: 2000\n  server_failure_limit: 3\n"
    assert cluster(POOL + settings)["on_failure"] == {"action": "rehash", "failures": 3, "retry": "2s"}
    assert "on_failure" not in cluster(POOL)


@pytest.mark.parametrize("key_hash", [one.value for one in KeyHash])
def test_every_hash_of_twemproxy_is_known(key_hash: str) -> None:
    assert cluster(POOL + f"  hash: {key_hash}\n  distribution: modula\n")["hashing"] == {
        "method": "modula",
        "hash": key_hash,
    }


# The names nutcracker 0.5.0 itself shows in its statistics.
NAMES = """\
pool:
  listen: 127.0.0.1:22121
  timeout: 400
  servers:
   - 127.0.0.1:11211:1
   - 127.0.0.1:11311:2
   - /tmp/m.sock:3
   - /tmp/m2.sock:1 named
   - 127.0.0.1:11312:1 cache-2
   - ::1:11313:1
"""


def test_nodes_are_hashed_by_the_names_twemproxy_gives_them() -> None:
    (pool,) = read_pools(NAMES, "x")
    assert [server.name for server in pool.servers] == [
        "127.0.0.1",
        "127.0.0.1:11311",
        "/tmp/m.sock:",
        "named",
        "cache-2",
        "::1:11313",
    ]
    assert cluster(NAMES)["nodes"] == [
        {"address": "127.0.0.1:11211", "name": "127.0.0.1"},
        {"address": "127.0.0.1:11311", "weight": 2},
        {"address": "unix:/tmp/m.sock", "name": "/tmp/m.sock:", "weight": 3},
        {"address": "unix:/tmp/m2.sock", "name": "named"},
        {"address": "127.0.0.1:11312", "name": "cache-2"},
        {"address": "[::1]:11313", "name": "::1:11313"},
    ]


def test_modula_counts_nodes_in_the_order_twemproxy_sorts_them() -> None:
    text = NAMES + "  distribution: modula\n"
    nodes = parse_config(imported(text).text).topologies()[0].nodes
    assert [str(node) for node in nodes] == [
        "unix:/tmp/m2.sock",
        "127.0.0.1:11312",
        "127.0.0.1:11211",
        "[::1]:11313",
        "unix:/tmp/m.sock",
        "127.0.0.1:11311",
    ]
    assert "the order twemproxy counts them" in notes(text)[0]


def test_weights_of_redis_become_shares_of_the_slots() -> None:
    text = POOL.replace("11312:1", "11312:3") + "  redis: true\n"
    assert cluster(text)["shards"] == [
        {"slots": "0-4095", "nodes": ["127.0.0.1:11311"]},
        {"slots": "4096-16383", "nodes": ["127.0.0.1:11312"]},
    ]
    assert "servers: weights became shares of the slots" in notes(text)


def test_a_tiny_weight_still_gets_a_slot() -> None:
    imported(POOL.replace("11312:1", "11312:999999") + "  redis: true\n")


def test_limits_and_timeouts_are_carried_over() -> None:
    pool = cluster(POOL + "  client_connections: 500\n")
    assert pool["limits"] == {"clients": 500}
    assert pool["timeouts"] == {"connect": "400ms", "reply": "400ms"}


def test_a_password_is_not_carried_over() -> None:
    text = POOL + "  redis: true\n  redis_auth: hunter2\n"
    assert cluster(text)["node_auth"] == {"password": {"env": "REDIS_PASSWORD_POOL"}}
    user = {"name": "default", "passwords": [{"env": "REDIS_PASSWORD_POOL"}]}
    assert cluster(text)["access"] == {"users": [user]}
    done = imported(text)
    assert any("REDIS_PASSWORD_POOL" in note.text and "asked for it" in note.text for note in done.notes)
    assert "hunter2" not in repr((done, read_pools(text, "x")))


def test_who_was_let_in_still_is() -> None:
    text = POOL.replace("127.0.0.1:22121", "0.0.0.0:22121")
    for more in ("", "  redis: true\n"):
        assert cluster(text + more)["access"] == "open"
        assert any("need no login, as before" in note.text for note in imported(text + more).notes)
        assert "access" not in cluster(POOL + more)


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ("  preconnect: true\n", "preconnect: "),
        ("  backlog: 1024\n", "backlog 1024: "),
        ("  server_connections: 4\n", "server_connections 4: "),
        ("  reuse_port: true\n", "reuse_port: "),
        ("  hash: hsieh\n", "hash hsieh: "),
        ("  distribution: random\n", "distribution random: "),
        ("  redis: true\n", "distribution ketama, hash fnv1a_64: "),
        ("  redis: true\n", "no hash_tag: "),
        ('  redis: true\n  hash_tag: "$$"\n', "hash_tag '$$': "),
        ("  redis: true\n  redis_db: 3\n", "redis_db 3: "),
        (
            "  redis: true\n  auto_eject_hosts: true\n",
            "auto_eject_hosts (after 2 failures, for 30s): a failing shard",
        ),
    ],
)
def test_what_is_not_as_it_was_is_noted(settings: str, note: str) -> None:
    assert any(one.startswith(note) for one in notes(POOL + settings))


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "  tcpkeepalive: true\n",
        "  preconnect: false\n",
        "  auto_eject_hosts: false\n  server_retry_timeout: 2000\n  server_failure_limit: 3\n",
        "  server_connections: 1\n",
    ],
)
def test_what_is_as_it_was_needs_no_note(settings: str) -> None:
    assert not notes(POOL + settings)


def test_names_become_names_of_clusters() -> None:
    other = POOL.replace("pool", "my-pool-1").replace("22121", "22122").replace(":113", ":114")
    text = POOL.replace("pool", '"my pool.1"') + other
    assert list(parse_config(imported(text).text).clusters) == ["my-pool-1", "my-pool-1-2"]
    assert notes(text) == ["the pool was called 'my pool.1'", "the pool was called 'my-pool-1'"]


def test_a_name_like_a_truth_value_stays_a_name() -> None:
    assert list(parse_config(imported(POOL.replace("pool", '"on"')).text).clusters) == ["on"]


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("", 0, "", "has no pools"),
        ("[]", 0, "", "has no pools"),
        ("a: [", 1, "", "is not YAML"),
        ("pool: 7\n", 1, "pool", "must be a mapping"),
        ("pool: {}\n", 1, "pool.listen", "is missing"),
        (POOL + "  hsh: md5\n", 7, "pool.hsh", "is not a key of twemproxy"),
        (POOL + "  hash: sha1\n", 7, "pool.hash", "must be one of one_at_a_time, md5"),
        (POOL + "  distribution: rendezvous\n", 7, "pool.distribution", "must be one of ketama"),
        (POOL + "  hash_tag: '{'\n", 7, "pool.hash_tag", "must be two characters"),
        (POOL + "  backlog: many\n", 7, "pool.backlog", "must be a whole number"),
        (POOL + "  redis: yes\n", 7, "pool.redis", "must be true or false"),
        (POOL.replace("127.0.0.1:22121", "22121"), 2, "pool.listen", "'22121': expected host:port"),
        (
            POOL.replace(":11312:1", ":11312"),
            6,
            "pool.servers[1]",
            "'127.0.0.1:11312': expected host:port:weight",
        ),
        (
            POOL.replace(":11312:1", ":11312:0"),
            6,
            "pool.servers[1]",
            "'127.0.0.1:11312:0': expected host:port:weight",
        ),
        (POOL.partition("  servers")[0] + "  servers: x\n", 4, "pool.servers", "must be a list"),
        (POOL.replace(":11312:1", ""), 6, "pool.servers[1]", "'127.0.0.1': expected host:port:weight"),
    ],
)
def test_what_is_no_twemproxy_config_is_told_with_its_place(
    text: str, line: int, path: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        import_nutcracker(text)
    problem = caught.value.problems[0]
    assert (problem.line, problem.path) == (line, path)
    assert problem.message.startswith(message)


def test_what_twemproxy_takes_and_we_do_not_is_told() -> None:
    done = import_nutcracker(POOL.replace("11312", "22121"))
    assert [problem.message.partition(",")[0] for problem in done.problems] == [
        "127.0.0.1:22121 is the address of a node"
    ]


def test_every_key_in_the_readme_of_twemproxy_is_known() -> None:
    assert set(KEYS) == {
        *("listen", "client_connections", "hash", "hash_tag", "distribution", "timeout", "backlog"),
        *("tcpkeepalive", "preconnect", "redis", "redis_auth", "redis_db", "server_connections"),
        *("auto_eject_hosts", "server_retry_timeout", "server_failure_limit", "servers", "reuse_port"),
    }


def test_the_command_prints_config_and_notes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "nutcracker.yml"
    file.write_text(FIVE)
    assert main(["config", "import", str(file)]) == 1
    assert "clusters.omega.hashing: the hash function hsieh is not available" in capsys.readouterr().err
    file.write_text(FIVE.replace("hsieh", "murmur"))
    assert main(["config", "import", str(file)]) == 0
    out, err = capsys.readouterr()
    assert len(parse_config(out).clusters) == 3
    assert err.startswith(f"{file}: alpha: no timeout: ")


def test_the_command_tells_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "nutcracker.yml"
    file.write_text("pool: {}\n")
    assert main(["config", "import", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"{file}:1:1: pool.listen: is missing")
    assert main(["config", "import", str(tmp_path / "no.yml")]) == 1
    assert "there is no such file" in capsys.readouterr().err
