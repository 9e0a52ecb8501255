"""What a backup says of itself: the file that makes it one. Pure."""

from __future__ import annotations

import enum
import hmac
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from shardproxy.archive.errors import ManifestError
from shardproxy.archive.names import is_whole_file_name
from shardproxy.archive.sealing import Key
from shardproxy.config.slots import format_slots, parse_slots
from shardproxy.model import SlotRange

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST = 4 << 20  # bytes; of 250 shards it has some 150 kB
MOST = (1 << 63) - 1  # of whatever is counted
LATEST = 253_402_300_799.0  # seconds since 1970: the end of the year 9999

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}", re.ASCII)  # as a config has them


class Origin(enum.Enum):
    """Who asked for a backup; only scheduled ones are ever deleted without being asked."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    FINAL = "final"  # before a cluster or shard is taken away
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Cut:
    """How the files of a backup belong together."""

    is_fenced: bool  # all shards at one moment: no effect is in it without its cause
    why: str = ""  # it is not
    held: float = 0.0  # seconds for which writes waited
    at: float = 0.0  # seconds since 1970


@dataclass(frozen=True, slots=True)
class ShardFile:
    """The RDB of one shard."""

    number: int
    shard: str  # what people call it
    file: str  # in the backup's folder
    slots: tuple[SlotRange, ...]  # the shard had then; keys of others are leftovers
    node: str  # read from, its address
    role: str  # primary | replica
    engine: str
    replid: str
    offset: int
    bytes: int  # of the RDB
    sha256: str
    stored_bytes: int  # of the file, which may be encrypted
    stored_sha256: str
    keys: int
    strays: int  # keys of other slots, not counted among `keys` of the shard when restored
    expires: int
    functions: int
    functions_sha256: str
    databases: tuple[int, ...]
    filled_slots: int = 0  # slots that have keys
    types: Mapping[str, int] = field(default_factory=dict)  # of values, by name
    rdb_version: int = 0  # 0 = not known, nor what follows: an older version wrote it
    is_checked: bool = True  # its own checksum vouches for it; an engine may have written none
    modules: tuple[str, ...] = ()  # whose values are in it, by the names of their types
    longest: int = 0  # bytes of the longest value


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup."""

    id: str  # of this backup and its copies; encrypted files are bound to it
    name: str
    cluster: str
    origin: Origin
    version: str  # of shardproxy
    began: float  # seconds since 1970
    ended: float
    cut: Cut
    files: tuple[ShardFile, ...]
    families: tuple[tuple[str, str], ...] = ()  # match and hash of key families: what slots of keys went by
    key: str | None = None  # the id of the key that the files are encrypted with
    mac: str | None = None  # of all of this, by that key
    cluster_id: str = ""  # tells it from others of its name; "" = not known
    format: int = FORMAT

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of it cannot be restored, or not be trusted as much as the rest."""
        where = {module: one.shard for one in reversed(self.files) for module in one.modules}
        warnings = [
            f"values of the module type {module} (shard {shard} has some): shardproxy cannot restore them"
            for module, shard in sorted(where.items())
        ]
        if unchecked := ", ".join(one.shard for one in self.files if not one.is_checked):
            warnings.append(f"RDBs without a checksum of their own (rdbchecksum no): of shards {unchecked}")
        return tuple(warnings)

    @property
    def keys(self) -> int:
        return sum(one.keys for one in self.files)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)

    @property
    def stored_bytes(self) -> int:
        return sum(one.stored_bytes for one in self.files)

    def sealed(self, key: Key | None) -> Manifest:
        """The same, vouched for by its key."""
        if key is None:
            return self
        bare = replace(self, key=key.id, mac=None)
        return replace(bare, mac=key.mac(_encoded(bare)))

    def check(self, key: Key | None) -> None:
        """Raise ManifestError when it was tampered with, or is encrypted with another key than this."""
        if self.key is None:
            if key is not None:
                raise ManifestError(
                    f"{self.name} is not encrypted, and a key was given: what a key does not vouch for may be"
                    " anybody's; leave out the key, or say --unencrypted, to take it all the same"
                )
            return
        if key is None:
            raise ManifestError(f"{self.name} is encrypted with the key {self.key}: say which file has it")
        if self.key != key.id:
            raise ManifestError(f"{self.name} is encrypted with the key {self.key}, and this one is {key.id}")
        if not hmac.compare_digest(self.mac or "", key.mac(_encoded(replace(self, mac=None)))):
            raise ManifestError(f"the manifest of {self.name} was changed after it was written: trust it not")


UNSAID: Mapping[str, Any] = {"rdb_version": 0, "is_checked": True, "modules": (), "longest": 0}


def manifest_encode(manifest: Manifest) -> bytes:
    return _encoded(manifest)


def _encoded(manifest: Manifest) -> bytes:
    """One text for one manifest: the key vouches for these bytes."""
    values = asdict(manifest)
    values["origin"] = manifest.origin.value
    for entry, one in zip(values["files"], manifest.files, strict=True):
        entry["slots"] = format_slots(one.slots)
        for name, unsaid in UNSAID.items():
            if getattr(one, name) == unsaid:
                del entry[name]
    if not manifest.cluster_id:
        del values["cluster_id"]  # as older versions wrote it, which their keys vouch for
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def manifest_decode(content: bytes, name: str) -> Manifest:
    """Read the manifest of the backup of that name; raise ManifestError."""
    try:
        values = json.loads(content)
        if not isinstance(values, dict) or not isinstance(values.get("format"), int):
            raise ValueError("it has no format")
        if values["format"] > FORMAT:
            raise ManifestError(
                f"the manifest of {name} has format {values['format']}, and this version reads {FORMAT}:"
                " use a newer shardproxy"
            )
        manifest = _decoded(values)
    except ManifestError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ManifestError(f"the manifest of {name} cannot be read: {type(e).__name__}: {e}") from None
    if (why := _why_not_sound(manifest, name)) is not None:
        raise ManifestError(f"the manifest of {name} contradicts itself: {why}")
    return manifest


def _decoded(values: Mapping[str, Any]) -> Manifest:
    cut = values["cut"]
    return Manifest(
        id=_text(values["id"]),
        name=_text(values["name"]),
        cluster=_text(values["cluster"]),
        origin=Origin(values["origin"]),
        version=_text(values["version"]),
        began=_seconds(values["began"]),
        ended=_seconds(values["ended"]),
        cut=Cut(_flag(cut["is_fenced"]), _text(cut["why"]), _seconds(cut["held"]), _seconds(cut["at"])),
        files=tuple(map(_file_decoded, values["files"])),
        families=tuple((_text(match), _text(hashed)) for match, hashed in values["families"]),
        key=_text(values["key"]) if values["key"] is not None else None,
        mac=_text(values["mac"]) if values["mac"] is not None else None,
        cluster_id=_text(values.get("cluster_id", "")),
        format=_count(values["format"]),
    )


def _file_decoded(values: Mapping[str, Any]) -> ShardFile:
    slots, types = _text(values["slots"]), values["types"]
    return ShardFile(
        number=_count(values["number"]),
        shard=_text(values["shard"]),
        file=_text(values["file"]),
        slots=parse_slots(slots) if slots else (),
        node=_text(values["node"]),
        role=_text(values["role"]),
        engine=_text(values["engine"]),
        replid=_text(values["replid"]),
        offset=_count(values["offset"], least=-1),
        bytes=_count(values["bytes"]),
        sha256=_text(values["sha256"]),
        stored_bytes=_count(values["stored_bytes"]),
        stored_sha256=_text(values["stored_sha256"]),
        keys=_count(values["keys"]),
        strays=_count(values["strays"]),
        expires=_count(values["expires"]),
        functions=_count(values["functions"]),
        functions_sha256=_text(values["functions_sha256"]),
        databases=tuple(_count(number) for number in values["databases"]),
        filled_slots=_count(values["filled_slots"]),
        rdb_version=_count(values.get("rdb_version", 0)),
        is_checked=_flag(values.get("is_checked", True)),
        modules=tuple(map(_text, values.get("modules", ()))),
        longest=_count(values.get("longest", 0)),
        types={_text(name): _count(count) for name, count in types.items()},
    )


def _count(value: object, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise ValueError(f"{value!r:.40} is no number of {least} to {MOST}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= LATEST:
        raise ValueError(f"{value!r:.40} is no time in seconds")
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is neither true nor false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _why_not_sound(manifest: Manifest, name: str) -> str | None:
    if manifest.name != name:
        return f"it is that of {manifest.name}"
    if _ID.fullmatch(manifest.id) is None:
        return f"{manifest.id!r:.80} is no id of a backup"
    if _CLUSTER.fullmatch(manifest.cluster) is None:
        return f"{manifest.cluster!r:.80} is no name of a cluster"
    if not manifest.files:
        return "it has no files"
    if (manifest.key is None) != (manifest.mac is None):
        return "a key without its vouching, or the reverse"
    names = [one.file for one in manifest.files]
    if len(set(names)) < len(names):
        return "a file is that of two shards"
    for file in names:
        if not is_whole_file_name(file):
            return f"{file!r:.80} is no name of a file"
    if len({one.number for one in manifest.files}) < len(names):
        return "two files are of one shard"
    owned = sorted(r for one in manifest.files for r in one.slots)
    for before, after in itertools.pairwise(owned):
        if after.first <= before.last:
            return f"slots {after} are in two files"
    return None
