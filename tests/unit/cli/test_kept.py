"""Which key backups are opened with, by what was written on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.archive import ManifestError, open_place
from shardproxy.archive.archive import Archive
from shardproxy.cli.kept import Kept, UsageError
from tests.unit.archive.manifests import manifest_of

CONFIG = """
clusters:
  sessions:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:7101"]}]
    backups: {to: %s, key_file: %s}
"""


@pytest.fixture
async def plain(tmp_path: Path) -> Path:
    """A config with a key, whose place has a backup of before there was one."""
    await Archive(open_place(str(tmp_path / "backups"))).commit(manifest_of())
    (tmp_path / "key").write_text("ab" * 32)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % (tmp_path / "backups", tmp_path / "key"))
    return config


async def test_one_that_is_not_encrypted_is_taken_when_that_is_said(plain: Path) -> None:
    with pytest.raises(ManifestError, match="say --unencrypted"):
        await (await Kept(config=plain).archive()).manifest("monday")
    archive = await Kept(config=plain, unencrypted=True).archive()
    assert await archive.manifest("monday") == manifest_of()
    assert not (await Kept(config=plain, unencrypted=True).archive_at("/elsewhere")).is_sealed


async def test_a_key_for_what_is_not_encrypted_is_refused(plain: Path) -> None:
    kept = Kept(config=plain, key_file=plain.with_name("key"), unencrypted=True)
    with pytest.raises(UsageError, match="contradict each other"):
        await kept.archive()
