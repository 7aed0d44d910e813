"""How far a detector's joints are from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.conversions import convert_keypoints
from cache.coords import apply_affine, invert_affine
from stages.extract.crops import CropConfig, box_for_row, crop_affine, warp
from stages.extract.datasets.base import Dataset, FrameError
from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.loading import Loader

PCK_SHARE = 0.05
"""PCK counts joints within this share of the crop's height."""


@dataclass(frozen=True)
class DetectorError2d:
    """Joint errors of one group of rows."""

    num_rows: int
    num_skipped: int
    """Rows whose picture or box could not be used."""
    mean_px: float
    """Mean distance in picture px."""
    median_px: float
    """Median distance in picture px."""
    mean_crop_px: float
    """Mean distance in crop px."""
    median_crop_px: float
    """Median distance in crop px."""
    pck: float
    """Share of joints within `PCK_SHARE` of the crop's height."""


class PlainCrops:
    """Task for a `Loader`: row -> (crop, affine), None for an unusable frame. Picklable."""

    def __init__(self, dataset: Dataset, rows: Sequence[int], crop: CropConfig) -> None:
        """Compute the affines of `rows`."""
        plan = dataset.plan()
        self._dataset = dataset
        self._size = crop.input_size
        self._affine: dict[int, NDArray[np.float64]] = {}
        for row in rows:
            try:
                self._affine[row] = crop_affine(box_for_row(plan, row, crop.box_source), crop)
            except FrameError:
                continue

    def __call__(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]] | None:
        """Return the crop of `row` and its affine."""
        cv2.setNumThreads(1)
        affine = self._affine.get(row)
        if affine is None:
            return None
        try:
            image = self._dataset.load_image(row)
        except FrameError:
            return None
        return warp(image, affine, self._size), affine


def detector_error(
    dataset: Dataset,
    detector: FrozenDetector,
    rows: Sequence[int],
    *,
    crop: CropConfig | None = None,
    batch_size: int = 16,
    workers: int = 1,
) -> dict[str, DetectorError2d]:
    """Return the errors of `detector` over `rows`, by split and for `all`.

    The detector's joints are converted to the labels' joint set (SkeletonMismatch where that is
    undefined).
    """
    if detector.skeleton is None:
        raise DetectorError("The network finds no joints whose error could be measured.")
    skeleton = detector.skeleton
    crop = crop or CropConfig(input_size=detector.input_size)
    plan = dataset.plan()
    task = PlainCrops(dataset, rows, crop)
    in_px, in_crop_px, used = [], [], []
    with Loader(task, workers=workers, processes=dataset.cpu_bound and workers > 0) as loader:
        batch: list[tuple[int, NDArray[np.uint8], NDArray[np.float64]]] = []

        def flush() -> None:
            if not batch:
                return
            crops = np.stack([item[1] for item in batch])
            detected = detector.detect(crops).keypoints_crop_px
            assert detected is not None, "a detector with a skeleton finds joints"
            found = convert_keypoints(detected, skeleton, plan.skeleton)[..., :2]
            for points, (row, _, affine) in zip(found, batch, strict=True):
                truth = plan.joints_2d_px[row].astype(np.float64)
                crop_error = np.linalg.norm(points - apply_affine(affine, truth), axis=-1)
                error = np.linalg.norm(apply_affine(invert_affine(affine), points) - truth, axis=-1)
                in_px.append(np.where(plan.valid[row], error, np.nan))
                in_crop_px.append(np.where(plan.valid[row], crop_error, np.nan))
                used.append(row)
            batch.clear()

        for row, result in zip(rows, loader.map(rows), strict=True):
            if result is not None:
                batch.append((row, *result))
            if len(batch) == batch_size:
                flush()
        flush()
    return _grouped(
        plan.index["split"].codes,
        plan.index["split"].vocabulary or (),
        rows,
        used,
        in_px,
        in_crop_px,
        crop,
    )


def _grouped(
    codes: NDArray[np.int32],
    names: Sequence[str],
    rows: Sequence[int],
    used: Sequence[int],
    in_px: Sequence[NDArray[np.float64]],
    in_crop_px: Sequence[NDArray[np.float64]],
    crop: CropConfig,
) -> dict[str, DetectorError2d]:
    asked = codes[np.asarray(rows, dtype=int)]
    have = codes[np.asarray(used, dtype=int)]
    errors, crop_errors = np.array(in_px), np.array(in_crop_px)
    groups: dict[str, tuple[NDArray[np.bool_], int]] = {
        "all": (np.ones(len(have), dtype=bool), len(asked))
    }
    groups |= {
        name: (have == code, int((asked == code).sum()))
        for code, name in enumerate(names)
        if (asked == code).any()
    }
    limit = PCK_SHARE * crop.input_size[0]
    report = {}
    for name, (members, num_asked) in groups.items():
        if not members.any():
            continue
        px, crop_px = errors[members], crop_errors[members]
        report[name] = DetectorError2d(
            num_rows=int(members.sum()),
            num_skipped=num_asked - int(members.sum()),
            mean_px=float(np.nanmean(px)),
            median_px=float(np.nanmedian(px)),
            mean_crop_px=float(np.nanmean(crop_px)),
            median_crop_px=float(np.nanmedian(crop_px)),
            pck=float(np.mean(crop_px[np.isfinite(crop_px)] <= limit)),
        )
    return report
