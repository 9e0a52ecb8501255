"""What restore, import and diff say to wrong uses, before anybody is asked."""

from __future__ import annotations

import pytest

from shardproxy.cli import main

NOBODY = ("--admin", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("restore", "--to", "main"), 1, "restore NAME --from DIR|s3://.. or restore --rdb FILE.."),
        (("restore", "nightly", "--to", "main"), 1, "restore NAME --from"),
        (("restore", "nightly", "--from", "/b", "--rdb", "/a", "--to", "main"), 1, "restore NAME --from"),
        (("restore", "--rdb", "a.rdb", "--to", "main"), 1, "no proxy answers"),
        (("import", "redis://old", "--to", "main", "--rate", "quick"), 1, "--rate quick"),
        (("import", "redis://old", "--to", "main"), 1, "no proxy answers"),
        (("import", "finish", "main"), 1, "no proxy answers"),
        (("diff", "redis://eve:hush@old:x", "redis://b"), 2, "redis://old:x"),
        (("diff", "main", "redis://b"), 2, "no proxy answers"),
    ],
)
def test_a_wrong_use_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, why: str
) -> None:
    assert main([*words, *NOBODY]) == code
    err = capsys.readouterr().err
    assert why in err
    assert "hush" not in err
