"""Flipped bits, and files cut, lost or grown, in every file of a store: found, named, repaired.

A commit is its object's presence. Without it the chunk's rows are refused as not extracted yet,
`verify` lists the chunk as missing, and the next extraction writes it again. Its content is never
read, only verified. An object where no chunk is planned commits nothing, and is reported.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheCorrupt, CacheIncomplete, CacheReader, SchemaMismatch, verify
from cache.schema import METADATA
from tests.test_cache.factory import make_chunk, open_writer, store_bytes
from tests.test_reliability.damage import (
    KINDS,
    LAYOUTS,
    Damage,
    Kind,
    chunk_of,
    draw,
    everything,
    faults,
    write,
)
from tests.test_reliability.guards import GUARDS

RAW = LAYOUTS["raw"]
OF_CHUNK_1 = (
    "features/x4/c.1.0.0.0.0",
    "features/x8/c.1.0.0.0.0",
    "keypoints/detector/c.1.0.0.0",
    "keypoints/gt/c.1.0.0.0",
    "crop/affine/c.1.0.0.0",
    "status/c.1",
    "commit/c.1",
)


@pytest.fixture(scope="module")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("stores")

    @cache
    def made(layout: str) -> Path:
        return write(folder / f"{layout}.zarr", layout)

    return made


@pytest.fixture
def raw(store_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(store_of("raw"), tmp_path / "a.zarr")


def check(store: Path, layout: str, seeds: range, kind: Kind | None = None) -> None:
    calm, spec = everything(store), LAYOUTS[layout]
    for seed in seeds:
        for key, content in sorted(store_bytes(store).items()):
            damage = draw(key, content, seed, kind)
            assert faults(store, spec, damage, calm) == [], damage
    assert {name: values.tobytes() for name, values in everything(store).items()} == {
        name: values.tobytes() for name, values in calm.items()
    }


def test_damage_of_any_file_is_found_and_named(store_of: Callable[[str], Path]) -> None:
    check(store_of("raw"), "raw", range(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_of_any_kind_in_any_file_of_any_layout_is_found_and_named(
    store_of: Callable[[str], Path], layout: str, kind: Kind
) -> None:
    check(store_of(layout), layout, range(3 if kind == "flip" else 1), kind)


@pytest.mark.parametrize("layout", ["8 bit", "zstd"])
def test_damage_in_a_chunk_of_another_layout_is_found_and_named(
    store_of: Callable[[str], Path], layout: str
) -> None:
    store = store_of(layout)
    calm = everything(store)
    for seed, key in enumerate((*OF_CHUNK_1, METADATA, "features/x8/zarr.json")):
        damage = draw(key, (store / key).read_bytes(), seed)
        assert faults(store, LAYOUTS[layout], damage, calm) == [], damage


@pytest.mark.parametrize("key", OF_CHUNK_1)
def test_a_damaged_chunk_is_written_again_to_the_same_bytes(raw: Path, key: str) -> None:
    before = store_bytes(raw)
    damaged = draw(key, before[key], 0, "flip").do(before[key])
    assert damaged is not None
    (raw / key).write_bytes(damaged)
    assert verify(raw).damaged_chunks == (1,)
    with open_writer(raw, RAW) as writer:
        writer.discard_chunk(1)
        assert writer.missing_chunks() == [1]
        writer.write_chunk(1, make_chunk(RAW, writer.chunk_rows(1)))
    assert store_bytes(raw) == before
    assert verify(raw).ok


@pytest.mark.slow
def test_quick_verifying_finds_all_but_changed_maps(store_of: Callable[[str], Path]) -> None:
    for layout in ("raw", "zstd"):
        store = store_of(layout)
        for key, content in store_bytes(store).items():
            if chunk_of(key) is None or key.startswith("commit/"):
                continue
            for kind in KINDS:
                # The index of a shard is its end; a flip before it is in a map.
                position = max(0, len(content) - 20) if kind == "flip" else len(content) // 2
                changed = Damage(key, kind, position, 5).do(content)
                (store / key).unlink()
                if changed is not None:
                    (store / key).write_bytes(changed)
                found = verify(store, quick=True).bad
                (store / key).unlink(missing_ok=True)
                (store / key).write_bytes(content)
                assert [(each.chunk, each.array) for each in found] == [
                    (chunk_of(key), key.rpartition("/")[0])
                ], (key, kind)


def test_quick_verifying_leaves_changed_maps_to_the_whole_scan(raw: Path) -> None:
    key = "features/x4/c.1.0.0.0.0"
    changed = Damage(key, "flip", 300, 2).do((raw / key).read_bytes())
    assert changed is not None
    (raw / key).write_bytes(changed)
    assert verify(raw, quick=True).ok
    assert [problem.rows for problem in verify(raw).bad] == [(4, 4)]


def test_without_its_commit_a_chunk_is_not_there(raw: Path) -> None:
    (raw / "commit" / "c.1").unlink()
    report = verify(raw)
    assert (report.missing_chunks, report.bad, report.ok) == ((1,), (), False)
    reader = CacheReader(raw, allow_incomplete=True)
    reader.read([3])
    for read in (reader.read, lambda rows: reader.status(rows=rows)):
        with pytest.raises(CacheIncomplete, match=r"missing 1.*to resume"):
            read([4])
    with pytest.raises(CacheIncomplete):
        CacheReader(raw)


@pytest.mark.parametrize("name", ["c.2", "c.07", "c.-1", "c.x", "c.1.bak"])
def test_a_commit_of_no_planned_chunk_commits_nothing_and_is_reported(raw: Path, name: str) -> None:
    shutil.copy(raw / "commit" / "c.1", raw / "commit" / name)
    (raw / "commit" / "c.1").unlink()
    report = verify(raw)
    assert report.missing_chunks == (1,)
    assert [problem.reason for problem in report.bad] == [f"{name} is no commit of a planned chunk"]
    with pytest.raises(CacheIncomplete):
        CacheReader(raw, allow_incomplete=True).read([6])


def test_a_commit_without_data_is_damage(raw: Path) -> None:
    for key in OF_CHUNK_1[:-1]:
        (raw / key).unlink()
    assert verify(raw).damaged_chunks == (1,)
    with pytest.raises(CacheCorrupt, match=r"chunk 1 of x4 is damaged, rows 4-6: .*No such file"):
        CacheReader(raw).read([5])


def found_without(raw: Path, key: str, damage: Damage) -> list[str]:
    calm = everything(raw)
    try:
        return faults(raw, RAW, damage, calm)
    except Exception as error:  # another error than ours
        return [f"{key}: {error!r}"]


@pytest.mark.parametrize(
    ("guard", "key", "kind", "position"),
    [
        ("map-checksums", "features/x4/c.1.0.0.0.0", "flip", 300),
        ("index-checksums", "features/x4/c.1.0.0.0.0", "flip", -20),
        ("chunk-checksums", "keypoints/detector/c.1.0.0.0", "flip", 9),
        ("chunk-checksums", "status/c.1", "flip", 0),
        ("sealed-metadata", "cameras/zarr.json", "flip", 30),
        ("sealed-metadata", "index/action/zarr.json", "flip", -100),
        ("counted-plan", "labels/joints_3d_mm/c.0.0.0", "lose", 0),
        ("required-commits", "commit/c.1", "lose", 0),
    ],
)
def test_damage_that_no_guard_looks_for_is_told(
    raw: Path, monkeypatch: pytest.MonkeyPatch, guard: str, key: str, kind: Kind, position: int
) -> None:
    damage = Damage(key, kind, position % (raw / key).stat().st_size, 0)
    assert found_without(raw, key, damage) == []
    GUARDS[guard](monkeypatch)
    assert found_without(raw, key, damage) != []


def test_a_root_that_is_believed_gives_other_numbers(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (raw / METADATA).read_bytes()
    (raw / METADATA).write_bytes(content.replace(b'"bb22"', b'"bb32"'))
    with pytest.raises(CacheCorrupt, match=r"zarr\.json fails its checksum"):
        CacheReader(raw)
    GUARDS["sealed-root"](monkeypatch)
    assert CacheReader(raw).content_identity["annotations"] == "bb32"


def test_commits_that_are_not_planned_are_noticed_by_the_reader(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(raw / "commit" / "c.1", raw / "commit" / "c.2")
    CacheReader(raw).read([0])
    GUARDS["planned-commits"](monkeypatch)
    with pytest.raises(IndexError):
        CacheReader(raw)


def test_a_newer_format_version_is_refused_until_it_is_not_asked_for(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (raw / METADATA).read_bytes()
    newer = content.replace(b'"format_version": 1', b'"format_version": 2')
    assert newer != content
    (raw / METADATA).write_bytes(newer)
    actions: tuple[Callable[[], Any], ...] = (
        lambda: CacheReader(raw),
        lambda: verify(raw),
        lambda: open_writer(raw, RAW),
    )
    for action in actions:
        with pytest.raises(SchemaMismatch, match="format version 2, this release reads version 1"):
            action()
    GUARDS["format-version"](monkeypatch)
    with pytest.raises(CacheCorrupt, match="fails its checksum"):  # of the root, asked later
        CacheReader(raw)


def test_other_numbers_are_told_from_the_same(raw: Path) -> None:
    calm = everything(raw)
    changed = {**calm, "status": np.ones_like(calm["status"])}
    damage = Damage("commit/c.0", "flip", 0, 0)  # which no read looks at
    assert faults(raw, RAW, damage, calm) == []
    assert faults(raw, RAW, damage, changed) == ["a read gives other numbers for status"]
