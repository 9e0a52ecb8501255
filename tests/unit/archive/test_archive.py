"""What goes wrong on this machine is said as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.archive import Archive, ArchiveError, PlaceError, open_place
from tests.unit.archive.manifests import manifest_of


async def test_a_file_that_somebody_has_tidied_away_is_said(tmp_path: Path) -> None:
    archive = Archive(open_place(str(tmp_path / "backups")))
    with pytest.raises(ArchiveError, match=r"cannot read .*/gone\.rdb again: No such file") as caught:
        await archive.put(tmp_path / "gone.rdb", "monday", "shard-0000-0123abcd.rdb", what="")
    assert not isinstance(caught.value, PlaceError), "it is of no use to try again"


async def test_a_spool_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    archive = Archive(open_place(str(tmp_path / "backups")))
    made = manifest_of()
    with pytest.raises(PlaceError, match=r"cannot write .*/x\.rdb: No such file"):
        await archive.fetch(made, made.files[0], tmp_path / "nowhere" / "x.rdb")
