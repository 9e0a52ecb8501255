"""Backups that are there, on the command line: which place is meant, what is printed, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from shardproxy.archive import Archive, Key
from shardproxy.archive.archive import file_context
from shardproxy.archive.directory import DirectoryPlace
from shardproxy.cli import main
from tests.unit.archive.manifests import file_of, manifest_of

KEY = Key(b"k" * 32)
CONFIG = """
clusters:
  %s:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:7101"]}]
    backups: {to: %s}
"""


def kept(folder: Path, name: str = "monday", key: Key | None = None) -> None:
    """A backup whose one file is no RDB."""

    async def make() -> None:
        archive = Archive(DirectoryPlace(folder), key)
        rdb = folder.parent / "made.rdb"
        rdb.write_bytes(b"no rdb")
        file = file_of(0, b"no rdb")
        context = file_context(manifest_of().id, 0)
        size, sha256 = await archive.put(rdb, name, file.file, what=context)
        await archive.commit(manifest_of(name, replace(file, stored_bytes=size, stored_sha256=sha256)))

    trio.run(make)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    kept(tmp_path / "backups")
    return tmp_path / "backups"


def test_what_is_there_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "list", "--from", str(place)]) == 0
    out = capsys.readouterr().out
    assert "monday" in out
    assert "sessions" in out
    assert main(["backup", "list", "--from", str(place), "--output", "json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["backups"]] == ["monday"]
    assert main(["backup", "list", "--from", str(place / "none")]) == 0
    assert capsys.readouterr().out == f"no backup in {place}/none\n"


def test_a_manifest_that_cannot_be_read_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "broken").mkdir()
    (place / "broken" / "manifest.json").write_text("{}")
    assert main(["backup", "list", "--from", str(place)]) == 0
    assert "broken: the manifest of broken cannot be read" in capsys.readouterr().out


def test_a_backup_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "show", "monday", "--from", str(place)]) == 0
    assert "monday: manual backup of sessions, at one moment" in capsys.readouterr().out
    assert main(["backup", "show", "tuesday", "--from", str(place)]) == 1
    assert "there is no backup tuesday" in capsys.readouterr().err


def test_a_config_says_where_they_are(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % ("main", place))
    assert main(["backup", "show", "monday", "--config", str(config)]) == 0
    assert main(["backup", "show", "monday", "--config", str(config), "--cluster", "other"]) == 1
    assert (
        f"--cluster NAME says whose backups; clusters with backups in {config}: none"
        in capsys.readouterr().err
    )
    config.write_text("clusters: {}")
    assert main(["backup", "show", "monday", "--config", str(config)]) == 1
    assert main(["backup", "show", "monday"]) == 1
    assert "say where the backups are" in capsys.readouterr().err


def test_what_is_no_rdb_is_not_verified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "verify", "monday", "--from", str(place)]) == 1
    assert "is no RDB that this version reads" in capsys.readouterr().err


def test_copies_exports_and_ends(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = ("--from", str(place))
    assert main(["backup", "copy", "monday", "kept", *there]) == 0
    assert main(["backup", "copy", "monday", "kept", *there]) == 1
    assert "take another name" in capsys.readouterr().err
    assert main(["backup", "copy", "monday", "no--name", *there]) == 1
    assert main(["backup", "export", "kept", "--to", str(tmp_path / "out"), *there]) == 0
    assert (tmp_path / "out" / "kept-0001.rdb").read_bytes() == b"no rdb"
    assert main(["backup", "export", "kept", "--to", str(tmp_path / "out"), *there]) == 1
    assert "export to another place" in capsys.readouterr().err
    assert main(["backup", "delete", "monday", *there]) == 0
    assert main(["backup", "delete", "monday", *there]) == 1
    assert "there is no backup monday" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["kept"]


def test_a_copy_of_what_is_encrypted_needs_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(tmp_path / "backups", key=KEY)
    (tmp_path / "key").write_text(KEY.secret.hex())
    there = ("--from", str(tmp_path / "backups"))
    assert main(["backup", "copy", "monday", "kept", *there]) == 1
    assert f"encrypted with the key {KEY.id}" in capsys.readouterr().err
    assert main(["backup", "copy", "monday", "kept", *there, "--key-file", str(tmp_path / "key")]) == 0
    export = ["backup", "export", "kept", "--to", str(tmp_path / "out"), *there]
    assert main([*export, "--key-file", str(tmp_path / "key")]) == 0
    assert (tmp_path / "out" / "kept-0001.rdb").read_bytes() == b"no rdb"


def test_what_was_never_whole_can_be_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "backups" / "monday"
    folder.mkdir(parents=True)
    (folder / "shard-0000-0123abcd.rdb").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    assert main(["backup", "delete", "monday", "--from", str(tmp_path / "backups")]) == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
