from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import tests
from cache import CacheError, CacheIncomplete, CacheMismatch, CacheReader, FrameStatus, verify
from cache.derived.merge import merge
from cache.derived.recode import recode
from cache.derived.subset import subset
from cache.schema import CacheSpec
from stages.lift import LiftError
from stages.lift.points import sample_points
from tests.test_lift import killed_sampling
from tests.test_lift.point_stores import EXCHANGED, expected_points
from tests.test_lift.stores import IMAGE_SIZE, LEVELS, build_plan, write_store

BAD_ROW = 5
Sampled = Callable[..., CacheReader]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """Joints are spread out: some lie outside their crop."""
    path = tmp_path_factory.mktemp("full") / "full.zarr"
    plan = build_plan({"train": 16, "test": 8})
    centre = np.array(IMAGE_SIZE[::-1]) / 2
    joints_px = (centre + 6 * (plan.joints_2d_px - centre)).astype(np.float32)
    plan = replace(plan, joints_2d_px=joints_px)
    return write_store(path, plan=plan, status={BAD_ROW: FrameStatus.NO_PERSON})


@pytest.fixture
def sampled(full: CacheReader, tmp_path: Path) -> Sampled:
    def sample(reader: CacheReader = full, **options: Any) -> CacheReader:
        target = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        sample_points(reader.locations[0], target, workers=1, **options)
        return CacheReader(target)

    return sample


def stored(reader: CacheReader, level: str, row: int, view: int) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = reader.read([row], levels=[level], view=view)[level][0, 0]
    return values


def usable(reader: CacheReader) -> list[tuple[str, int, int]]:
    rows = [row for row in range(len(reader)) if row != BAD_ROW]
    return [(name, row, view) for name in reader.levels for row in rows for view in (0, 1)]


@pytest.mark.parametrize("rule", ["published", "geometric"])
@pytest.mark.parametrize("source", ["detector", "gt"])
def test_a_column_is_what_grid_sample_finds_at_the_joint(
    full: CacheReader, sampled: Sampled, source: str, rule: str
) -> None:
    points = sampled(keypoint_source=source, reference_rule=rule, dtype="float32")
    outside = 0
    for level, row, view in usable(full):
        found = stored(points, level, row, view)
        expected = expected_points(
            full, level, row, view, source=source, geometric=rule == "geometric"
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        outside += int((expected == 0).all(axis=1).sum())
    assert outside > 0, "no joint lies outside its crop, where zeros are read"


def test_a_wrong_joint_order_or_rule_would_be_seen(full: CacheReader, sampled: Sampled) -> None:
    points = sampled(dtype="float32")
    flipped, plain = stored(points, "x8", 0, 1), stored(points, "x8", 0, 0)
    assert not np.allclose(flipped[EXCHANGED], expected_points(full, "x8", 0, 1), atol=1e-2)
    assert not np.allclose(plain, expected_points(full, "x8", 0, 0, geometric=True), atol=1e-2)
    assert not np.allclose(plain, expected_points(full, "x8", 0, 0, source="gt"), atol=1e-2)


def test_float16_points_are_the_rounded_ones(full: CacheReader, sampled: Sampled) -> None:
    half, single = sampled(), sampled(dtype="float32")
    for level, row, view in usable(full):
        rounded = stored(single, level, row, view).astype(np.float16)
        assert np.array_equal(stored(half, level, row, view), rounded)


def test_codes_become_the_values_they_stand_for(
    codes: CacheReader, values_of_codes: CacheReader, sampled: Sampled
) -> None:
    from_codes, from_values = (sampled(each, dtype="float32") for each in (codes, values_of_codes))
    assert from_codes.scales("x8") is None
    for level in from_codes.levels:
        for view in (0, 1):
            one, other = (
                each.read(np.arange(len(codes)), levels=[level], view=view)[level]
                for each in (from_codes, from_values)
            )
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert from_codes.feature_identity["points"]["dtype"] == "float32"


def test_what_is_not_the_maps_stays(full: CacheReader, sampled: Sampled) -> None:
    points = sampled()
    assert points.status()[BAD_ROW] == FrameStatus.NO_PERSON
    for level in points.levels:
        assert not stored(points, level, BAD_ROW, 0).any()
    assert np.array_equal(points.status(), full.status())
    for view in (0, 1):
        assert np.array_equal(points.affine(view), full.affine(view))
        for source in ("detector", "gt"):
            assert np.array_equal(points.keypoints(source, view), full.keypoints(source, view))
    assert np.array_equal(points.labels("joints_3d_mm"), full.labels("joints_3d_mm"))
    assert points.index("clip").words() == full.index("clip").words()
    assert points.content_identity == full.content_identity
    marker = points.feature_identity["points"]
    assert marker["keypoint_source"] == "detector"
    assert {**full.feature_identity, "points": marker} == points.feature_identity


def test_a_point_cache_is_an_ordinary_store(sampled: Sampled, tmp_path: Path) -> None:
    points = sampled()
    path = Path(points.locations[0])
    assert verify(path).ok
    array = zarr.open_group(path, mode="r")["features/x8"]
    assert isinstance(array, zarr.Array)
    assert array.shape == (len(points), 2, 1, 17, LEVELS[0].channels)
    assert np.array_equal(np.asarray(array[3, 1, 0]), stored(points, "x8", 3, 1))

    recode(path, tmp_path / "recoded.zarr", dtype="uint8")
    recode(path, tmp_path / "packed.zarr", codec="zstd", inner_rows=4)
    merge([path], tmp_path / "merged.zarr")
    subset(path, tmp_path / "part.zarr", {"split": ["test"]})
    for name in ("recoded", "packed", "merged", "part"):
        derived = CacheReader(tmp_path / f"{name}.zarr")
        assert verify(derived.locations[0]).ok
        assert derived.spec.points == points.spec.points
    assert np.array_equal(
        CacheReader(tmp_path / "part.zarr").read([0])["x8"], points.read([16])["x8"]
    )
    assert np.array_equal(
        CacheReader(tmp_path / "packed.zarr").read([2])["x8"], points.read([2])["x8"]
    )


def test_a_flipped_bit_of_a_point_is_found(sampled: Sampled) -> None:
    path = Path(sampled().locations[0])
    shard = path / "features/x16/c.0.0.0.0.0"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    assert not verify(path).ok


@pytest.mark.slow
def test_sampling_killed_in_the_middle_goes_on_with_the_rest(tmp_path: Path) -> None:
    store = write_store(tmp_path / "full.zarr", {"train": 160, "test": 40})
    killed, undisturbed = tmp_path / "killed.zarr", tmp_path / "undisturbed.zarr"
    root = Path(tests.__file__).parent.parent
    result = subprocess.run(
        [sys.executable, killed_sampling.__file__, store.locations[0], str(killed), "2"],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    done = int(CacheReader(killed, allow_incomplete=True).committed().sum()) // 64
    assert 2 <= done <= 4
    report = sample_points(store.locations[0], killed)
    assert report.num_chunks == 4
    assert report.chunks_written == 4 - done
    assert sample_points(store.locations[0], killed).chunks_written == 0
    sample_points(store.locations[0], undisturbed, workers=1)
    for level in store.levels:
        for view in (0, 1):
            one, other = (
                CacheReader(path).read(np.arange(200), levels=[level], view=view)[level]
                for path in (killed, undisturbed)
            )
            assert np.array_equal(one, other)


def test_a_store_without_the_flipped_view_is_sampled_in_the_plain_one(
    sampled: Sampled, tmp_path: Path
) -> None:
    plain = write_store(tmp_path / "plain.zarr", {"train": 4}, views=("plain",))
    points = sampled(plain, dtype="float32")
    np.testing.assert_allclose(
        stored(points, "x8", 1, 0), expected_points(plain, "x8", 1, 0), rtol=1e-4, atol=1e-4
    )


def test_what_cannot_be_sampled_is_refused(
    full: CacheReader, sampled: Sampled, tmp_path: Path
) -> None:
    store, points = full.locations[0], sampled()
    with pytest.raises(CacheError, match="is a point cache itself"):
        sample_points(points.locations[0], tmp_path / "again.zarr")
    with pytest.raises(CacheError, match="cannot replace their own store"):
        sample_points(store, f"{store}/")
    with pytest.raises(LiftError, match="no keypoints 'imported:cpn'"):
        sample_points(store, tmp_path / "imported.zarr", keypoint_source="imported:cpn")
    with pytest.raises(CacheMismatch, match="keypoint_source"):
        sample_points(store, points.locations[0], keypoint_source="gt")
    with pytest.raises(CacheMismatch, match="dtype"):
        sample_points(store, points.locations[0], dtype="float32")
    assert not list(tmp_path.glob("again*")) + list(tmp_path.glob("imported*"))


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "full.zarr", {"train": 20})
    (tmp_path / "full.zarr/commit/c.1").unlink()
    with pytest.raises(CacheIncomplete):
        sample_points(tmp_path / "full.zarr", tmp_path / "points.zarr")


def test_a_value_beyond_float16_asks_for_float32(tmp_path: Path) -> None:
    write_store(
        tmp_path / "full.zarr",
        {"train": 4},
        layout={"dtype": "float32"},
        encode=lambda _, values: values.astype(np.float32) * 1e6,
    )
    with pytest.raises(CacheError, match="float32"):
        sample_points(tmp_path / "full.zarr", tmp_path / "points.zarr", workers=1)
    sample_points(tmp_path / "full.zarr", tmp_path / "wide.zarr", dtype="float32", workers=1)


def test_points_of_other_joints_are_not_joined(sampled: Sampled) -> None:
    paths = [sampled().locations[0], sampled(keypoint_source="gt").locations[0]]
    with pytest.raises(CacheMismatch, match="points"):
        CacheReader(paths)


def test_the_layout_of_a_full_store_says_nothing_of_points(
    full: CacheReader, sampled: Sampled
) -> None:
    assert "points" not in full.spec.to_json()
    assert CacheSpec.from_json(full.spec.to_json()) == full.spec
    points = sampled().spec
    assert CacheSpec.from_json(points.to_json()) == points
    tree = points.to_json()
    tree["levels"][1]["width"] = 16
    with pytest.raises(CacheError, match="points of H36M17 are 1 x 17"):
        CacheSpec.from_json(tree)
