"""The command line: check, config schema, version, help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shardproxy import __version__
from shardproxy.cli import CLOSED_PIPE, COMMANDS, main
from shardproxy.config import schema_text

EXAMPLES = Path(__file__).parents[3] / "config"
ENDPOINTS = "configuration 127.0.0.1:7000, primary 127.0.0.1:7001, reader 127.0.0.1:7002"
SUMMARY = f"sessions  redis  4 shards  8 nodes  {ENDPOINTS}"


@pytest.fixture(autouse=True)
def no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has served these files before."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error."""
    try:
        code = main(words)
    except SystemExit as e:  # wrong use of the command line
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_good_file_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(EXAMPLES / "cluster.yaml")
    code, out, err = run(capsys, "check", file)
    assert (code, err) == (0, "")
    assert out == f"{file}: OK\n  {SUMMARY}\n"


def test_direct_mode_says_whom_it_is_not_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "direct.yaml"
    for mode, is_told in (("proxy", False), ("direct", True)):
        endpoint = f'{{configuration: {{address: "127.0.0.1:1", mode: {mode}}}}}'
        pool = f'{{engine: memcached, nodes: ["127.0.0.1:2"], endpoints: {endpoint}}}'
        file.write_text(f"clusters: {{pages: {pool}}}\n")
        code, out, _ = run(capsys, "check", str(file))
        assert (code, "pages: clients that ask the nodes" in out) == (0, is_told)


def test_a_key_store_that_everybody_may_read_is_warned_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, store = tmp_path / "proxy.yaml", tmp_path / "iam.yaml"
    access = "access: {users: [{name: app, iam: true}], iam: {keys: iam.yaml, region: a}}"
    file.write_text(
        "clusters: {main: {engine: redis, endpoints: {primary: 127.0.0.1:1},"
        f' shards: [{{nodes: ["127.0.0.1:2"]}}], {access}}}}}'
    )
    store.write_text("keys: []\n")
    for mode, warned in ((0o640, False), (0o644, True)):
        store.chmod(mode)
        code, out, _ = run(capsys, "check", str(file))
        assert code == 0
        assert (f"  {store} can be read by everybody on this machine: chmod o-rwx {store}\n" in out) is warned


def test_a_bad_file_gets_all_its_problems(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("workers: lots\nadmn: 127.0.0.1:1\nclusters: {}\n")
    code, out, err = run(capsys, "check", str(file))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"{file}:1:10: workers: must be auto or a number from 1 to 255 (auto takes one per CPU)",
        f"{file}:2:1: admn: is not a known key (did you mean admin?)",
        f"{file}:3:1: clusters: needs at least one entry (name at least one cluster under clusters:)",
        f"{file}: 3 problems",
    ]


def test_a_missing_file_is_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "check", str(tmp_path / "no.yaml"))
    assert code == 1
    assert "there is no such file" in err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "config", "schema") == (0, schema_text(), "")


@pytest.mark.parametrize(
    "words",
    [("check", str(EXAMPLES / "cluster.yaml")), ("check", "no.yaml"), ("config", "schema"), ("--help",)],
)
@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_reader_that_has_gone_is_no_error(words: tuple[str, ...], is_buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    options = () if is_buffered else ("-u",)
    process = subprocess.run(
        [sys.executable, *options, "-m", "shardproxy", *words],
        stdout=writer,
        stderr=writer if words[-1] == "no.yaml" else subprocess.PIPE,
    )
    os.close(writer)
    assert not process.stderr
    assert process.returncode in (CLOSED_PIPE, 1)


@pytest.mark.parametrize("words", [("--version",), ("version",)])
def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert out.startswith(f"shardproxy {__version__}\n")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_describes_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"Usage: shardproxy {name}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("chek",), 'Did you mean "check"?'),
        (("check",), "requires an argument"),
        (("check", "--nope", "x"), "Unknown option"),
    ],
)
def test_wrong_use_is_explained(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in " ".join((out + err).split())


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "shardproxy", "check", str(EXAMPLES / "standalone.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "standalone.yaml: OK" in done.stdout


def test_check_starts_without_the_services() -> None:
    services = {"trio", "starlette", "httpx", "hypercorn"}
    code = f"import sys, shardproxy.cli.check; print(*({services} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""


USERS = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
    access:
      users: [{name: app, passwords: [{file: /no/where}], rules: "~* +gett"}]
      users_file: users.yaml
"""


def test_users_are_looked_at_and_no_secret_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(USERS)
    (tmp_path / "users.yaml").write_text("- {name: bob}\n")
    file = str(tmp_path / "config.yaml")
    code, out, err = run(capsys, "check", file)
    assert (code, out) == (1, "")
    assert f"{file}:7:66: clusters.main.access.users[0].rules: 'gett': Unknown command" in err
    assert f"{file}: 1 problem" in err
    (tmp_path / "config.yaml").write_text(USERS.replace("+gett", "+get"))
    assert run(capsys, "check", file)[0] == 0
    (tmp_path / "users.yaml").write_text("- {name: app}\n")
    code, _, err = run(capsys, "check", file)
    assert code == 1
    assert f"{tmp_path}/users.yaml:1:10: [0].name: 'app' is a user of cluster main already" in err
