from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cache import CacheMismatch, CacheReader, FrameStatus, verify
from cache.coords import apply_affine
from stages.extract.chunks import ExtractConfig, ExtractProgress, extract, plan_chunks
from stages.extract.crops import CropConfig
from stages.extract.datasets import FrameError
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.detectors.base import DetectorError
from tests.test_extract.studio import DotDetector

CONFIG = ExtractConfig(batch_size=4, shard_rows=4)
CROP = CropConfig()


def digests(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def test_store_holds_what_the_detector_said(dataset: Human36m, tmp_path: Path) -> None:
    seen: list[ExtractProgress] = []
    detector = DotDetector()
    summary = extract(dataset, detector, CROP, tmp_path / "a.zarr", CONFIG, progress=seen.append)
    assert (summary.rows, summary.chunks_done, summary.chunks_skipped) == (9, 3, 0)
    assert summary.invalid_by_reason == {}
    assert [progress.rows_done for progress in seen] == list(range(9))
    assert set(detector.batches) == {4}
    reader = CacheReader(tmp_path / "a.zarr")
    plan = dataset.plan()
    assert np.abs(reader.keypoints("detector")[..., :2] - plan.joints_2d_px).max() < 1.0
    np.testing.assert_array_equal(reader.keypoints("gt")[..., :2], plan.joints_2d_px)
    np.testing.assert_array_equal(reader.labels("joints_3d_mm"), plan.joints_3d_mm)
    maps = reader.read([3, 0])
    assert {name: value.shape for name, value in maps.items()} == {
        "x16": (2, 16, 12, 3),
        "x32": (2, 8, 6, 4),
    }
    assert verify(tmp_path / "a.zarr").ok


def test_flipped_view_is_the_mirrored_crop_with_sides_exchanged(
    dataset: Human36m, tmp_path: Path
) -> None:
    extract(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    reader = CacheReader(tmp_path / "a.zarr")
    plain, flipped = reader.keypoints("detector", view=0), reader.keypoints("detector", view=1)
    np.testing.assert_allclose(flipped, plain, atol=1e-3)
    points = plain[..., :2]
    mirrored = apply_affine(reader.affine(view=1), points)
    expected = apply_affine(reader.affine(view=0), points)
    np.testing.assert_allclose(mirrored[..., 0], 191 - expected[..., 0], atol=1e-6)
    np.testing.assert_allclose(mirrored[..., 1], expected[..., 1], atol=1e-6)
    maps, other = reader.read([0], view=0), reader.read([0], view=1)
    np.testing.assert_array_equal(other["x16"], maps["x16"][:, :, ::-1])


def test_bad_frames_are_recorded_and_counted(
    dataset: Human36m, layout: Path, tmp_path: Path
) -> None:
    names = dataset.plan().index["item"].words()
    (layout / "images" / names[2]).unlink()
    cut = layout / "images" / names[7]
    cut.write_bytes(cut.read_bytes()[:-30])
    damaged = Human36m(layout)
    summary = extract(damaged, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    assert summary.invalid_by_reason == {"missing": 1, "truncated": 1}
    reader = CacheReader(tmp_path / "a.zarr")
    status = reader.status()
    assert status[2] == FrameStatus.MISSING
    assert status[7] == FrameStatus.TRUNCATED
    assert (np.delete(status, [2, 7]) == FrameStatus.OK).all()
    assert not reader.keypoints("detector")[[2, 7]].any()
    assert not any(maps.any() for maps in reader.read([2, 7]).values())
    again = extract(damaged, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    assert again.chunks_skipped == 3
    assert again.invalid_by_reason == summary.invalid_by_reason


def test_strict_stops_at_the_first_bad_frame(
    dataset: Human36m, layout: Path, tmp_path: Path
) -> None:
    (layout / "images" / dataset.plan().index["item"].words()[5]).unlink()
    strict = CONFIG.model_copy(update={"strict": True})
    with pytest.raises(FrameError, match=r"Row 5 .*missing"):
        extract(Human36m(layout), DotDetector(), CROP, tmp_path / "a.zarr", strict)
    assert plan_chunks(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG).missing == (1, 2)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e6])
def test_values_that_the_store_cannot_hold_are_marked_not_finite(
    dataset: Human36m, tmp_path: Path, poison: float
) -> None:
    summary = extract(dataset, DotDetector(poison), CROP, tmp_path / "a.zarr", CONFIG)
    assert summary.invalid_by_reason == {"not_finite": 9}
    assert verify(tmp_path / "a.zarr").ok


def test_rows_without_joints_or_boxes_say_why(dataset: Human36m, tmp_path: Path) -> None:
    class Without(Human36m):
        def plan(self):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            plan = super().plan()
            valid = plan.valid.copy()
            valid[4] = False
            points = plan.joints_2d_px.copy()
            points[6] = 3.0
            return replace(plan, valid=valid, joints_2d_px=points)

    summary = extract(Without(dataset._root), DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    assert summary.invalid_by_reason == {"no_person": 1, "bad_box": 1}


def test_workers_and_resume_do_not_change_a_byte(dataset: Human36m, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(progress: ExtractProgress) -> None:
        if progress.rows_done == 6:
            raise Killed

    extract(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    threaded = CONFIG.model_copy(update={"loader_workers": 3})
    with pytest.raises(Killed):
        extract(dataset, DotDetector(), CROP, tmp_path / "b.zarr", threaded, progress=die)
    assert (
        0 < len(plan_chunks(dataset, DotDetector(), CROP, tmp_path / "b.zarr", CONFIG).missing) < 3
    )
    inline = CONFIG.model_copy(update={"loader_workers": 0})
    summary = extract(dataset, DotDetector(), CROP, tmp_path / "b.zarr", inline)
    assert summary.chunks_skipped > 0
    assert digests(tmp_path / "a.zarr") == digests(tmp_path / "b.zarr")


def test_computed_pictures_come_from_processes_with_the_same_bytes(
    dataset: Human36m, layout: Path, tmp_path: Path
) -> None:
    computed = Human36m(layout)
    computed.cpu_bound = True  # type: ignore[misc]
    extract(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    extract(computed, DotDetector(), CROP, tmp_path / "b.zarr", CONFIG)
    assert digests(tmp_path / "a.zarr") == digests(tmp_path / "b.zarr")


def test_stores_of_another_crop_are_refused(dataset: Human36m, tmp_path: Path) -> None:
    extract(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    with pytest.raises(CacheMismatch, match=r"crop\.padding"):
        extract(dataset, DotDetector(), CropConfig(padding=1.0), tmp_path / "a.zarr", CONFIG)
    with pytest.raises(DetectorError, match="input_size"):
        extract(dataset, DotDetector(), CropConfig(input_size=(64, 64)), tmp_path / "b.zarr")


def test_a_plan_of_chunks_writes_nothing(dataset: Human36m, tmp_path: Path) -> None:
    planned = plan_chunks(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    assert (planned.num_chunks, planned.missing) == (3, (0, 1, 2))
    assert planned.row_bytes == 2 * 2 * (16 * 12 * 3 + 8 * 6 * 4)
    assert not (tmp_path / "a.zarr").exists()
