from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import CacheCorrupt, CacheIncomplete, CacheMismatch, CacheMissing, LevelSpec
from cache.derived.recode import recode
from cache.difference import compare_stores, compare_values
from tests.test_cache.factory import (
    CONTENT_IDENTITY,
    FEATURE_IDENTITY,
    LEVELS,
    make_plan,
    make_spec,
    write_store,
)

NUM_ROWS = 11
SPEC = make_spec(NUM_ROWS)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "a.zarr", SPEC)


def test_a_store_differs_in_nothing_from_itself_written_again(tmp_path: Path, store: Path) -> None:
    other = write_store(tmp_path / "b.zarr", SPEC)
    found = compare_stores(store, other)
    assert found.equal
    assert found.joinable
    assert compare_values(store, other) == {}


CHANGES: dict[str, tuple[dict[str, Any], tuple[str, str, str, str], bool]] = {
    "detector": (
        {"feature_identity": {**FEATURE_IDENTITY, "detector": {"weights": "cc", "taps": ["x4"]}}},
        ("feature_identity", "detector.weights", '"aa11"', '"cc"'),
        False,
    ),
    "annotations": (
        {"content_identity": {**CONTENT_IDENTITY, "annotations": "cc33"}},
        ("content_identity", "annotations", '"bb22"', '"cc33"'),
        True,
    ),
    "shard_rows": ({"spec": replace(SPEC, shard_rows=2)}, ("spec", "shard_rows", "4", "2"), True),
    "level": (
        {"spec": replace(SPEC, levels=(replace(LEVELS[0], stride=5), LEVELS[1]))},
        ("spec", "levels.x4.stride", "4", "5"),
        False,
    ),
    "order": (
        {"spec": replace(SPEC, levels=LEVELS[::-1])},
        ("spec", "levels.x4.position", "0", "1"),
        False,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_differing_key_is_named_with_both_values(tmp_path: Path, store: Path, name: str) -> None:
    changes, expected, joinable = CHANGES[name]
    other = write_store(tmp_path / "b.zarr", **{"spec": SPEC, **changes})
    found = compare_stores(store, other)
    keys = [(key.section, key.key, key.first, key.second) for key in found.keys]
    assert expected in keys
    assert not found.equal
    assert found.joinable == joinable


def test_another_plan_is_named_and_its_numbers_are_not_compared(
    tmp_path: Path, store: Path
) -> None:
    other = write_store(tmp_path / "b.zarr", SPEC, plan=make_plan(NUM_ROWS, seed=1))
    assert [key.section for key in compare_stores(store, other).keys] == ["plan_hash"]
    with pytest.raises(CacheMismatch, match="different plans"):
        compare_values(store, other)


def test_scales_are_compared_by_level(tmp_path: Path, store: Path) -> None:
    recode(store, tmp_path / "b.zarr", dtype="uint8")
    found = compare_stores(store, tmp_path / "b.zarr")
    keys = {(key.section, key.key) for key in found.keys}
    assert {("scales", "x4"), ("spec", "levels.x4.dtype"), ("feature_identity", "recoded")} <= keys


def plant(store: Path, array: str, place: tuple[int, ...], value: float) -> float:
    """Put a number into a store, checksums and all; return what was there."""
    numbers: Any = zarr.open_group(store)[array]
    before = float(numbers[place])
    numbers[place] = value
    return before


@pytest.mark.parametrize(
    ("array", "place"),
    [
        ("features/x4", (5, 1, 2, 3, 1)),
        ("features/x8", (10, 0, 0, 0, 0)),
        ("keypoints/gt", (7, 0, 3, 1)),
        ("crop/affine", (0, 1, 0, 2)),
        ("status", (3,)),
    ],
)
def test_one_number_that_differs_is_found(
    tmp_path: Path, store: Path, array: str, place: tuple[int, ...]
) -> None:
    other = write_store(tmp_path / "b.zarr", SPEC)
    before = plant(other, array, place, 4.0)
    found = compare_values(store, other)
    assert list(found) == [array]
    assert found[array].num_rows == 1
    assert found[array].max_abs == abs(4.0 - before)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_not_finite_differs(tmp_path: Path, store: Path, number: float) -> None:
    other = write_store(tmp_path / "b.zarr", SPEC)
    plant(other, "keypoints/gt", (7, 0, 3, 1), number)
    found = compare_values(store, other)["keypoints/gt"]
    assert (found.max_abs, found.num_rows) == (np.inf, 1)


def test_chunking_codecs_and_codes_do_not_matter_but_what_they_stand_for(
    tmp_path: Path, store: Path
) -> None:
    told: list[tuple[int, int]] = []
    recode(store, tmp_path / "b.zarr", codec="zstd", shard_rows=8, inner_rows=2)
    assert compare_values(store, tmp_path / "b.zarr", lambda *each: told.append(each)) == {}
    assert told == [(1, 2), (2, 2)]
    report = recode(store, tmp_path / "c.zarr", dtype="uint8")
    found = compare_values(store, tmp_path / "c.zarr")
    assert set(found) == {"features/x4", "features/x8"}
    for level, error in report.errors.items():
        assert found[f"features/{level}"].max_abs == pytest.approx(error.max_abs, rel=1e-5)
        assert found[f"features/{level}"].num_rows == NUM_ROWS


def test_levels_that_only_one_store_has_are_left_out(tmp_path: Path, store: Path) -> None:
    levels = (LEVELS[0], LevelSpec("x32", 2, 1, 1, 32))
    other = write_store(tmp_path / "b.zarr", replace(SPEC, levels=levels))
    assert compare_values(store, other) == {}


def test_maps_of_other_shapes_are_not_compared(tmp_path: Path, store: Path) -> None:
    levels = (replace(LEVELS[0], width=6), LEVELS[1])
    other = write_store(tmp_path / "b.zarr", replace(SPEC, levels=levels))
    with pytest.raises(CacheMismatch, match="features/x4 has rows of shape"):
        compare_values(store, other)


def test_what_cannot_be_read_is_not_called_equal(tmp_path: Path, store: Path) -> None:
    with pytest.raises(CacheMissing):
        compare_stores(store, tmp_path / "none.zarr")
    other = write_store(tmp_path / "b.zarr", SPEC, chunks=[0, 2])
    assert compare_stores(store, other).equal
    with pytest.raises(CacheIncomplete):
        compare_values(store, other)
    damaged = write_store(tmp_path / "c.zarr", SPEC)
    path = damaged / "features/x4/c.1.0.0.0.0"
    content = bytearray(path.read_bytes())
    content[3] ^= 4
    path.write_bytes(content)
    with pytest.raises(CacheCorrupt, match=r"c\.zarr"):
        compare_values(store, damaged)
