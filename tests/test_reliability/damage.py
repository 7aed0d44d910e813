"""Damages files of a store, one at a time, and tells whether that was found and named.

What counts as found: reading everything raises a `CacheError`, or gives the numbers that were
written; never other ones. `verify` reports it in any case, with the chunk and the rows of what is
damaged inside a chunk.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache import CacheError, CacheReader, LevelSpec, verify
from cache.maps.shards import shard_index_bytes
from cache.plan import INDEX_COLUMNS
from cache.schema import CRC_BYTES, METADATA, CacheSpec, feature_path, map_bytes
from tests.test_cache.factory import LEVELS, make_spec, write_store

CODES = (LevelSpec("x4", 4, 6, 5, 4, "uint8"), LevelSpec("x8", 8, 3, 2, 8, "int8"))
LAYOUTS: Mapping[str, CacheSpec] = {
    "raw": make_spec(7),
    "float32": make_spec(7, dtype="float32"),
    "8 bit": make_spec(7, levels=CODES),
    "zstd": make_spec(7, codec="zstd", inner_rows=2),
    "blosc": make_spec(7, codec="blosc", inner_rows=4),
}
"""Two chunks each, the second one shorter."""
_LABELS = ("joints_2d_px", "joints_3d_mm", "valid")

Kind = Literal["flip", "cut", "lose", "grow"]
KINDS: tuple[Kind, ...] = ("flip", "cut", "lose", "grow")


def write(path: Path, layout: str) -> Path:
    """A whole store of a layout."""
    spec = LAYOUTS[layout]
    scales = {
        level.name: np.linspace(0.1, 2, level.channels, dtype=np.float32)
        for level in spec.levels
        if level.dtype is not None
    }
    return write_store(path, spec, scales=scales)


def everything(path: Path) -> dict[str, NDArray[Any]]:
    """All that a reader can be asked for."""
    reader = CacheReader(path)
    found: dict[str, Any] = {
        "spec": repr(reader.spec.to_json()),
        "identities": repr([reader.feature_identity, reader.content_identity]),
        "skeletons": repr([reader.skeleton.name, reader.label_skeleton.name, reader.views]),
        "status": reader.status(),
        "image_size": reader.image_size(),
        "cameras": repr(reader.cameras()),
    }
    found |= {f"labels {name}": reader.labels(name) for name in _LABELS}
    found |= {f"scales {name}": reader.scales(name) for name in reader.levels}
    for name in INDEX_COLUMNS:
        column = reader.index(name)
        found |= {f"index {name}": column.codes, f"words {name}": repr(column.vocabulary)}
    for view, word in enumerate(reader.views):
        maps = reader.read(np.arange(len(reader)), view=view)
        found |= {f"{word} {name}": values for name, values in maps.items()}
        found[f"{word} affine"] = reader.affine(view)
        for source in reader.spec.keypoint_sources:
            found[f"{word} {source}"] = reader.keypoints(source, view)
    return {name: np.asarray(values) for name, values in found.items()}


@dataclass(frozen=True)
class Damage:
    """One damaged file.

    Args:
        key: name of the file inside the store.
        kind: a flipped bit, the end cut off, the file lost, a byte too many.
        position: of the flipped byte, or what is kept.
        bit: that is flipped.
    """

    key: str
    kind: Kind
    position: int
    bit: int

    def do(self, content: bytes) -> bytes | None:
        """The damaged content; None for a lost file."""
        if self.kind == "lose":
            return None
        if self.kind == "cut":
            return content[: self.position]
        if self.kind == "grow":
            return content[: self.position] + b"\0" + content[self.position :]
        changed = bytearray(content)
        changed[self.position] ^= 1 << self.bit
        return bytes(changed)


def draw(key: str, content: bytes, seed: int, kind: Kind | None = None) -> Damage:
    """A damage that follows from the seed."""
    dice = random.Random(f"{seed} {key}")
    kind = kind or dice.choices(KINDS, weights=(6, 2, 1, 1))[0]
    return Damage(key, kind, dice.randrange(len(content)), dice.randrange(8))


def chunk_of(key: str) -> int | None:
    """Chunk whose file this is; None for the plan's and for metadata."""
    array, _, name = key.rpartition("/")
    if name == METADATA or array.startswith(("labels/", "index/", "cameras/", "image_size")):
        return None
    return int(name.split(".")[1])


def rows_of(spec: CacheSpec, damage: Damage, num_bytes: int) -> tuple[int, int] | None:
    """First and last row that must be named; None where no chunk is."""
    chunk = chunk_of(damage.key)
    if chunk is None:
        return None
    rows = spec.chunk_rows(chunk)
    levels = {feature_path(level.name): level for level in spec.levels}
    level = levels.get(damage.key.rpartition("/")[0])
    tail = shard_index_bytes(spec.shard_rows // spec.inner_rows, spec.num_views)
    in_map = level is not None and damage.kind == "flip" and damage.position < num_bytes - tail
    if level is None or not in_map or not spec.is_mappable:
        return rows.start, rows.stop - 1
    row = damage.position // (map_bytes(level, spec.dtype) + CRC_BYTES) // spec.num_views
    return rows.start + row, rows.start + row


def faults(
    store: Path, spec: CacheSpec, damage: Damage, calm: Mapping[str, NDArray[Any]]
) -> list[str]:
    """What is wrong with how the damage was taken: empty if it was found and named.

    Args:
        store: is damaged and mended again.
        spec: its layout.
        damage: to do to it.
        calm: `everything` of it before.
    """
    file = store / damage.key
    content = file.read_bytes()
    changed = damage.do(content)
    file.unlink()  # a reader of the intact file keeps it
    if changed is not None:
        file.write_bytes(changed)
    try:
        wanted = rows_of(spec, damage, len(content))
        return [
            *_read_faults(store, damage, calm, wanted),
            *_verify_faults(store, damage, wanted, content),
        ]
    finally:
        file.unlink(missing_ok=True)
        file.write_bytes(content)


def _read_faults(
    store: Path,
    damage: Damage,
    calm: Mapping[str, NDArray[Any]],
    wanted: tuple[int, int] | None,
) -> list[str]:
    try:
        found = everything(store)
    except CacheError as error:
        if wanted is None or damage.key.startswith("commit/"):
            return []
        place = f"chunk {chunk_of(damage.key)} of "
        first, last = (int(word) for word in str(error).split("rows ")[1].split(":")[0].split("-"))
        named = place in str(error) and wanted[0] <= first <= last <= wanted[1]
        return [] if named else [f"a read names another place: {error}"]
    other = [name for name, values in calm.items() if values.tobytes() != found[name].tobytes()]
    if other:
        return [f"a read gives other numbers for {', '.join(other)}"]
    # Reads are right without a commit's content, and without what the root says as well.
    is_commit = damage.key.startswith("commit/")
    is_read = "/c." in damage.key and (not is_commit or damage.kind == "lose")
    return ["a read does not find it"] if is_read else []


def _says_the_same(file: Path, intact: bytes) -> bool:
    """Whether JSON reads the same: `E` for `e`, or a digit that float64 does not have."""
    try:
        return bool(json.loads(file.read_bytes()) == json.loads(intact))
    except (OSError, ValueError):
        return False


def _verify_faults(
    store: Path, damage: Damage, wanted: tuple[int, int] | None, intact: bytes
) -> list[str]:
    if damage.key == METADATA and _says_the_same(store / METADATA, intact):
        return []
    try:
        report = verify(store)
    except CacheError:
        return [] if wanted is None else ["verify cannot open the store"]
    chunk, array = chunk_of(damage.key), damage.key.rpartition("/")[0]
    if damage.key.startswith("commit/c.") and damage.kind == "lose":
        return [] if report.missing_chunks == (chunk,) else ["the chunk is not missing"]
    if wanted is None:
        named = bool(report.bad) and report.damaged_chunks == ()
    else:
        found = {(problem.chunk, problem.array) for problem in report.bad}
        spans = [problem.rows for problem in report.bad]
        named = found == {(chunk, array)} and (
            (min(first for first, _ in spans), max(last for _, last in spans)) == wanted
            if array not in {feature_path(level.name) for level in LEVELS}
            else all(wanted[0] <= first <= last <= wanted[1] for first, last in spans)
        )
    return [] if named else [f"verify reports {report.bad}"]
