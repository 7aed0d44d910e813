"""Data without 3D labels, with moving cameras, and with keypoints of several joint sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import CacheError, CacheReader, PlanError, SchemaMismatch, verify
from cache.derived.subset import subset
from cache.imported import ImportedKeypoints
from cache.schema import CacheSpec
from tests.test_cache.factory import array_rows, make_plan, make_spec, write_store

SOURCES: dict[str, Any] = {
    "keypoint_sources": ("gt", "imported:cpn", "imported:body"),
    "imported_skeletons": {"imported:body": "WHOLEBODY133"},
}


def test_plan_without_3d_labels_survives(tmp_path: Path) -> None:
    plan = replace(make_plan(10), joints_3d_mm=None)
    reader = CacheReader(write_store(tmp_path / "a.zarr", make_spec(10), plan=plan))
    assert not reader.has_label("joints_3d_mm")
    assert reader.has_label("joints_2d_px")
    with pytest.raises(CacheError, match="no label 'joints_3d_mm'"):
        reader.labels("joints_3d_mm")
    assert plan.fingerprint() != make_plan(10).fingerprint()
    assert plan.take([3, 4]).joints_3d_mm is None


def test_moving_cameras_lie_with_the_cameras_and_follow_their_rows(tmp_path: Path) -> None:
    extrinsics = np.random.default_rng(0).normal(size=(10, 3, 4))
    plan = replace(make_plan(10), extrinsics=extrinsics)
    path = write_store(tmp_path / "a.zarr", make_spec(10), plan=plan)
    stored: Any = zarr.open_group(path, mode="r")["cameras/extrinsics"]
    np.testing.assert_array_equal(stored[...], extrinsics)
    subset(path, tmp_path / "b.zarr", {"split": ["validation"]})
    np.testing.assert_array_equal(
        CacheReader(tmp_path / "b.zarr").labels("extrinsics"), extrinsics[5:]
    )
    assert plan.fingerprint() != make_plan(10).fingerprint()
    with pytest.raises(PlanError, match="extrinsics must have shape"):
        replace(plan, extrinsics=extrinsics[:, :, :3])


def test_imported_keypoints_keep_their_own_joint_sets(tmp_path: Path) -> None:
    spec = make_spec(10, **SOURCES)
    path = write_store(tmp_path / "a.zarr", spec)
    reader = CacheReader(path)
    assert reader.source_skeleton("imported:body").name == "WHOLEBODY133"
    assert reader.source_skeleton("imported:cpn").name == spec.skeleton
    body = reader.keypoints("imported:body", 1, rows=[3])
    np.testing.assert_array_equal(
        body, array_rows(spec, "keypoints/imported:body", range(3, 4))[:, 1]
    )
    assert body.shape == (1, 133, 3)
    group = zarr.open_group(path, mode="r")
    assert group["keypoints/imported:body"].attrs["skeleton"] == "WHOLEBODY133"
    assert verify(path).ok
    with pytest.raises(CacheError, match="no keypoints 'detector'"):
        reader.source_skeleton("detector")


def test_joint_sets_survive_json_and_older_layouts_stay_as_they_were() -> None:
    spec = make_spec(10, **SOURCES)
    assert CacheSpec.from_json(spec.to_json()) == spec
    assert "imported_skeletons" not in make_spec(10).to_json()


@pytest.mark.parametrize(
    "skeletons", [{"imported:other": "COCO17"}, {"imported:cpn": "NO_SUCH_SET"}]
)
def test_joint_sets_of_unknown_sources_and_unknown_joint_sets_are_refused(
    skeletons: dict[str, str],
) -> None:
    with pytest.raises((ValueError, SchemaMismatch), match=r"imported:other|NO_SUCH_SET"):
        make_spec(10, **{**SOURCES, "imported_skeletons": skeletons})


def test_imported_keypoints_must_be_finite_and_of_their_joint_set() -> None:
    points = np.zeros((4, 17, 3), dtype=np.float32)
    changed = points.copy()
    changed[2, 3, 0] = 1
    first, second = ImportedKeypoints("COCO17", points), ImportedKeypoints("COCO17", changed)
    assert first.identity() != second.identity()
    assert first.identity() != ImportedKeypoints("H36M17", points).identity()
    changed[2, 3, 0] = np.nan
    with pytest.raises(PlanError, match="not finite in row 2"):
        ImportedKeypoints("COCO17", changed)
    with pytest.raises(PlanError, match=r"\(N, 133, 3\)"):
        ImportedKeypoints("WHOLEBODY133", points)
