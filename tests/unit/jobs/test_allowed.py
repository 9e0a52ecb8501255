"""Which files and places a job may name: what the config has, and what links lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.jobs.allowed import Allowed, is_within, place_parts
from shardproxy.jobs.interface import JobError


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("/b", "/b"),
        ("/b/", "/b"),
        ("//b//x/", "/b/"),
        ("/b/./x/../y", "/b"),
        ("/anything", "/"),
        ("s3://bucket/a/b", "s3://bucket/a/"),
        ("s3://bucket/a/", "s3://bucket/a"),
        ("s3://bucket", "s3://bucket/"),
    ],
)
def test_what_is_below_is_allowed(place: str, named: str) -> None:
    assert is_within(place, named)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("/bb", "/b"),
        ("/b/../etc", "/b"),
        ("/", "/b"),
        ("b", "/b"),
        ("/b\0", "/b"),
        ("", "/"),
        ("s3://bucket2/a", "s3://bucket"),
        ("s3://bucket/ab", "s3://bucket/a"),
        ("s3://bucket/a/../c", "s3://bucket/a"),
        ("s3://bucket", "/"),
        ("/bucket", "s3://bucket"),
        ("s3://", "s3://bucket"),
    ],
)
def test_what_is_elsewhere_is_not(place: str, named: str) -> None:
    assert not is_within(place, named)


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/secret").write_text("hush")
    (tmp_path / "named/out").symlink_to(tmp_path / "other")
    (tmp_path / "named/file").symlink_to(tmp_path / "other/secret")
    (tmp_path / "alias").symlink_to(tmp_path / "named")
    allowed = Allowed(secrets=(str(tmp_path / "named"), str(tmp_path / "alias")))
    for name in ("out/secret", "file"):
        with pytest.raises(JobError, match="nothing that jobs may use"):
            allowed.check_file(str(tmp_path / "named" / name))
    allowed.check_file(str(tmp_path / "named/fine"))
    allowed.check_file(str(tmp_path / "alias/fine"))


def test_a_refusal_says_which_line_is_missing() -> None:
    allowed = Allowed(("/backups",), ("/secrets",), ("/own/key",))
    with pytest.raises(JobError, match=r'`jobs: \{secrets: \["/etc"\]\}`'):
        allowed.check_file("/etc/shadow")
    with pytest.raises(JobError, match=r'`jobs: \{places: \["s3://mine/x"\]\}`'):
        allowed.check_place("s3://mine/x")
    with pytest.raises(JobError, match="secrets"):
        allowed.check_data("/etc/x.rdb")
    with pytest.raises(JobError, match="secrets"):
        allowed.check_file("/backups/key")
    allowed.check_data("/backups/x.rdb")
    allowed.check_data("/secrets/x.rdb")
    allowed.check_file("/own/key")
    allowed.check_place("/backups/moved")


words = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c"]), max_size=6)


@given(words, words)
def test_dots_never_lead_out(named: list[str], more: list[str]) -> None:
    place, above = "/" + "/".join([*named, *more]), "/" + "/".join(named)
    parts, root = place_parts(place), place_parts(above)
    assert parts is not None
    assert root is not None
    assert ".." not in parts
    assert is_within(place, above) is (parts[: len(root)] == root)
