"""A manifest is read as it was written, or refused with the reason."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.archive import Key, ManifestError
from shardproxy.archive.manifest import manifest_decode, manifest_encode
from shardproxy.model import SlotRange
from tests.unit.archive.manifests import file_of, manifest_of

KEY, OTHER = Key(b"k" * 32), Key(b"o" * 32)


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(manifest_encode(manifest_of())), **values}).encode()


def test_what_was_written_is_read() -> None:
    manifest = replace(
        manifest_of("monday", file_of(0, b"a", (SlotRange(0, 99), SlotRange(200, 16383))), file_of(1, b"b")),
        families=(("bull:{queue}:*", "{queue}"),),
    )
    assert manifest_decode(manifest_encode(manifest), "monday") == manifest
    sealed = manifest.sealed(KEY)
    assert manifest_decode(manifest_encode(sealed), "monday") == sealed
    own = replace(manifest, cluster_id="0a" * 8).sealed(KEY)
    assert manifest_decode(manifest_encode(own), "monday") == own


def test_what_older_versions_wrote_is_read_and_vouched_for() -> None:
    """It says less of its files, and its key vouches for just that."""
    old = json.loads(manifest_encode(manifest_of().sealed(KEY)))
    later = {"cluster_id", "rdb_version", "is_checked", "modules", "longest"}
    assert not later & {*old, *old["files"][0]}
    read = manifest_decode(json.dumps(old).encode(), "monday")
    read.check(KEY)
    assert (read.files[0].rdb_version, read.files[0].modules, read.warnings) == (0, (), ())


def test_what_was_found_in_a_file_is_read() -> None:
    file = replace(file_of(0), rdb_version=11, is_checked=False, modules=("a", "b"), longest=1 << 40)
    manifest = manifest_of("monday", file).sealed(KEY)
    read = manifest_decode(manifest_encode(manifest), "monday")
    assert read == manifest
    read.check(KEY)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b"[]", "it has no format"),
        (b"\xff", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (changed(format=2), "use a newer shardproxy"),
        (changed(name="tuesday"), "that of tuesday"),
        (changed(files=[]), "no files"),
        (changed(origin="nobody"), "cannot be read"),
        (changed(key="k"), "without its vouching"),
        (changed(cluster=7), "is no text"),
        (changed(cluster="../*"), "no name of a cluster"),
        (changed(cluster=""), "no name of a cluster"),
        (changed(id="../../x"), "no id of a backup"),
        (changed(id="*"), "no id of a backup"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        manifest_decode(content, "monday")


@pytest.mark.parametrize(
    "file", ["../x.rdb", "", ".", "manifest.json", "a/b", "a.rdb", "shard-0000-0123abcd.rdb\n"]
)
def test_a_file_cannot_be_elsewhere(file: str) -> None:
    manifest = manifest_of("monday", replace(file_of(0), file=file))
    with pytest.raises(ManifestError, match="no name of a file"):
        manifest_decode(manifest_encode(manifest), "monday")


def test_slots_have_one_file() -> None:
    manifest = manifest_of(
        "monday", file_of(0, slots=(SlotRange(0, 9),)), file_of(1, slots=(SlotRange(9, 9),))
    )
    with pytest.raises(ManifestError, match="slots 9 are in two files"):
        manifest_decode(manifest_encode(manifest), "monday")


def test_a_key_vouches_for_all_of_it() -> None:
    sealed = manifest_of().sealed(KEY)
    sealed.check(KEY)
    with pytest.raises(ManifestError, match="changed after it was written"):
        replace(sealed, ended=3.0).check(KEY)
    with pytest.raises(ManifestError, match=f"encrypted with the key {KEY.id}, and this one is {OTHER.id}"):
        sealed.check(OTHER)
    with pytest.raises(ManifestError, match="say which file has it"):
        sealed.check(None)


def test_one_that_no_key_vouches_for_is_not_taken_for_one() -> None:
    manifest_of().check(None)
    with pytest.raises(ManifestError, match="is not encrypted, and a key was given"):
        manifest_of().check(KEY)


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e300", "-1", "true", "null", '"1"', "9" * 5000]
)
@pytest.mark.parametrize("name", ["began", "ended", "bytes", "keys", "number", "held", "offset", "format"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    text = manifest_encode(manifest_of()).decode()
    changed, count = re.subn(rf'"{name}": [0-9.]+', f'"{name}": {value}', text)
    assert count == 1
    if (name, value) == ("offset", "-1"):
        assert manifest_decode(changed.encode(), "monday").files[0].offset == -1
    else:
        with pytest.raises(ManifestError):
            manifest_decode(changed.encode(), "monday")


def test_a_shard_has_one_file() -> None:
    manifest = manifest_of("monday", file_of(0), replace(file_of(1), number=0))
    with pytest.raises(ManifestError, match="two files are of one shard"):
        manifest_decode(manifest_encode(manifest), "monday")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(ManifestError):
        manifest_decode(content, "monday")


@given(st.data())
def test_a_manifest_with_holes_is_read_or_refused(data: st.DataObject) -> None:
    values = json.loads(manifest_encode(manifest_of()))
    where = data.draw(st.sampled_from([values, values["cut"], values["files"][0]]))
    name = data.draw(st.sampled_from(sorted(where)))
    where[name] = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({}))
    )
    with contextlib.suppress(ManifestError):  # anything else fails
        manifest_decode(json.dumps(values).encode(), "monday")
