"""The key store: what it says, and what is wrong with it, with line and hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.access.iam_keys import AccessKey, keys_load, keys_parse
from shardproxy.access.policies import Statement
from shardproxy.config import ConfigError
from shardproxy.config.files import why_exposed

TEXT = """\
account: "210987654321"
keys:
  - access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: hunter2-in-the-file
    principal: arn:aws:iam::123456789012:role/app
    policies: &connect
      - effect: allow
        actions: [elasticache:Connect]
        resources: ["arn:aws:elasticache:*:*:replicationgroup:*", "arn:aws:elasticache:*:*:user:app"]
  - access_key_id: ASIAIOSFODNN7EXAMPLE
    secret_access_key: {file: SECRET}
    session_token: {env: SHARDPROXY_SESSION}
    expires: 2026-11-23T06:18:37Z
    principal: batch
    policies: *connect
"""


def test_keys_are_read_with_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("SHARDPROXY_SESSION", "session")
    path = tmp_path / "iam.yaml"
    path.write_text(TEXT.replace("SECRET", str(secret)))
    read: list[str] = []
    store = keys_load(path, read.append)
    statements = (
        Statement(
            True,
            ("elasticache:Connect",),
            ("arn:aws:elasticache:*:*:replicationgroup:*", "arn:aws:elasticache:*:*:user:app"),
        ),
    )
    assert store.find("AKIAIOSFODNN7EXAMPLE") == AccessKey(
        "AKIAIOSFODNN7EXAMPLE",
        "arn:aws:iam::123456789012:role/app",
        "123456789012",
        statements,
        "hunter2-in-the-file",
    )
    assert store.find("ASIAIOSFODNN7EXAMPLE") == AccessKey(
        "ASIAIOSFODNN7EXAMPLE", "batch", "210987654321", statements, "hunter2", "session", 1795414717.0
    )
    assert store.find("AKIA") is None
    assert read == [str(secret)]
    assert "hunter2" not in repr(store)
    assert "session" not in repr(store)


KEY = """\
keys:
  - access_key_id: AKIA1
    secret_access_key: hunter2
    principal: app
    policies: [{effect: allow, actions: [elasticache:Connect], resources: ["*"]}]
"""

CASES: dict[str, tuple[str, int, str, str]] = {
    "nothing": ("", 1, "", "must be a mapping"),
    "a list": ("- a\n", 1, "", "must be a mapping"),
    "no keys": ('account: "123456789012"\n', 1, "keys", "is missing"),
    "no YAML": ("keys: [\n", 2, "", "is not YAML"),
    "a key it does not know": (KEY + "    polices: []\n", 6, "keys[0].polices", "did you mean policies?"),
    "no secret": (
        KEY.replace("    secret_access_key: hunter2\n", ""),
        2,
        "keys[0].secret_access_key",
        "missing",
    ),
    "a secret in digits": (KEY.replace("hunter2", "1234567"), 3, "keys[0].secret_access_key", "must be text"),
    "a secret that is empty": (KEY.replace("hunter2", '""'), 3, "keys[0].secret_access_key", "at least 1"),
    "a secret in two places": (
        KEY.replace("hunter2", "{file: /hunter2, env: H}"),
        3,
        "keys[0].secret_access_key",
        "exactly one of file and env",
    ),
    "a secret in a place that is unknown": (
        KEY.replace("hunter2", "{fil: /hunter2}"),
        3,
        "keys[0].secret_access_key.***",
        "did you mean file?",
    ),
    "a secret that cannot be read": (
        KEY.replace("hunter2", "{file: /no/such/file}"),
        3,
        "keys[0].secret_access_key",
        "cannot read the secret in file /no/such/file",
    ),
    "a key twice": (KEY + KEY.partition("\n")[2], 2, "keys[0].access_key_id", "is given twice"),
    "a key id with spaces": (KEY.replace("AKIA1", "AKIA 1"), 2, "keys[0].access_key_id", "as in AKIA"),
    "another effect": (KEY.replace("allow", "permit"), 5, "keys[0].policies[0].effect", "allow or deny"),
    "no resources": (KEY.replace('["*"]', "[]"), 5, "keys[0].policies[0].resources", "at least one"),
    "an action without a service": (
        KEY.replace("elasticache:Connect", "Connect"),
        5,
        "keys[0].policies[0]",
        "names no service",
    ),
    "a resource that is no ARN": (KEY.replace('"*"', "my-cache"), 5, "keys[0].policies[0]", "is not an ARN"),
    "a session without an end is fine, an end without a session is not": (
        KEY + "    expires: 2026-11-23T06:18:37Z\n",
        2,
        "keys[0]",
        "goes with a session_token",
    ),
    "a time without a zone": (
        KEY + "    session_token: x\n    expires: 2026-11-23T06:18:37\n",
        7,
        "keys[0].expires",
        "write it like",
    ),
    "an account in digits": ("account: 123456789012\n" + KEY, 1, "account", "must be text"),
    "an account that is too short": ('account: "12345"\n' + KEY, 1, "account", "12 digits"),
}


@pytest.mark.parametrize(
    "written",
    [
        "*hunter2",
        "*hunter2:",
        "[*hunter2]",
        "!hunter2 x",
        "!hunter2 {file: /x}",
        "!hunter2!x y",
        "!!int hunter2",
        "{hunter2: 1}",
        "{hunter2: }",
        "{file: {hunter2: 1}}",
        "[{hunter2: 1}]",
        "{hunter2: 1, hunter2: 2}",
        "{!!int hunter2: 1}",
        "{!hunter2 x: 1}",
        "hunter2: 1",
        "&a hunter2\n    session_token: &a hunter2\n    polices: []",
    ],
)
@pytest.mark.parametrize("field", ["secret_access_key", "session_token"])
def test_what_may_be_a_secret_is_not_quoted(
    written: str, field: str, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = KEY.replace("hunter2", "x") if field == "session_token" else KEY
    text = before.replace("    secret_access_key: hunter2\n", "") + f"    {field}: {written}\n"
    with pytest.raises(ConfigError) as caught:
        keys_parse(text, "iam.yaml")
    told = [str(caught.value), *capsys.readouterr(), *(str(one.message) for one in recwarn)]
    assert "hunter2" not in "".join(told)
    assert any(problem.line >= 5 for problem in caught.value.problems), "it is said where"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_named_with_its_place(case: str) -> None:
    text, line, path, words = CASES[case]
    with pytest.raises(ConfigError) as caught:
        keys_parse(text, "iam.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.path) == (line, path)
    assert words in problem.text("iam.yaml")
    assert str(caught.value).startswith("iam.yaml")
    assert "hunter2" not in str(caught.value).replace("/hunter2", "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        keys_load(tmp_path / "iam.yaml")


@pytest.mark.parametrize(
    ("mode", "word"),
    [(0o600, None), (0o640, None), (0o644, "read by everybody"), (0o602, "written by everybody")],
)
def test_a_file_that_everybody_may_read_is_warned_of(tmp_path: Path, mode: int, word: str | None) -> None:
    path = tmp_path / "iam.yaml"
    path.write_text(KEY)
    path.chmod(mode)
    why = why_exposed(path)
    assert (why is None) if word is None else (why is not None and word in why)
    assert why_exposed(tmp_path / "none") is None
