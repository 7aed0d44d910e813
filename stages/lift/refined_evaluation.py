"""Refinement of the predictions of a split, and what must be said of its results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import CacheReader, convert_keypoints
from stages.lift.config import EvaluateConfig
from stages.lift.feed.samples import Samples
from stages.lift.intrinsics import Intrinsics
from stages.lift.refinement import Refined, median_lengths_mm, refine

Floats = NDArray[np.float64]


def refine_split(
    predicted_mm: Floats,  # [n, J, 3]
    scale_mm: Floats | None,  # [n, J]
    reader: CacheReader,
    samples: Samples,
    config: EvaluateConfig,
    *,
    keypoint_source: str,
) -> Refined:
    """Returns the refined poses of the samples.

    Intrinsics are those of the store's cameras. Bones are to have the length that they have in the
    median of the predictions of their clip. Raises `LiftError` for a store without cameras.
    """
    rows, skeleton = samples.rows, reader.label_skeleton
    scores = _scores(reader, rows, keypoint_source)
    true_root_mm = None
    if config.refine == "oracle_root":
        true_root_mm = reader.labels("joints_3d_mm")[rows, skeleton.root].astype(np.float64)
    return refine(
        predicted_mm,
        np.concatenate([samples.keypoints_px.astype(np.float64), scores[..., None]], axis=-1),
        Intrinsics.of_cameras(reader.cameras(), reader.index("camera").codes[rows]),
        parents=skeleton.parents,
        lengths_mm=median_lengths_mm(predicted_mm, samples.clips, skeleton.parents),
        scale_mm=scale_mm,
        root_mm=true_root_mm,
        config=config.refinement,
    )


def refinement_metrics(refined: Refined, true_root_mm: Floats) -> dict[str, Any]:
    """Returns how the refinement went: plain containers; true roots [n, 3].

    Residuals are means over frames of the distance between keypoints and projected joints;
    `root_error_mm` is that of the place in front of the camera. None where nothing was found.
    """
    off_mm = np.linalg.norm(refined.root_mm - true_root_mm, axis=-1)
    placed = np.isfinite(off_mm)

    def mean(values: Floats) -> float | None:
        return float(values[placed].mean()) if placed.any() else None

    return {
        "placed": float(placed.mean()),
        "converged": float(refined.converged.mean()),
        "residual_before_px": mean(refined.residual_before_px),
        "residual_px": mean(refined.residual_px),
        "root_error_mm": mean(off_mm),
    }


def refinement_notes(config: EvaluateConfig) -> list[str]:
    """Returns a sentence if results are of refined poses."""
    if config.refine == "none":
        return []
    known = "the calibrated intrinsics of the cameras"
    if config.refine == "oracle_root":
        return [
            f"ORACLE ROOT: the poses are refined with {known} and the true place of the root,"
            " which no one has outside of a labelled dataset: the errors are no results of the"
            " lifter, and not to be compared with any; those before it are in metrics.json."
        ]
    return [
        f"REFINED: the poses are moved to fit the keypoints, with {known} and a predicted root;"
        " results that know no camera are those before it, which are in metrics.json."
    ]


def _scores(reader: CacheReader, rows: NDArray[np.int64], source: str) -> Floats:  # [n, J]
    points = reader.keypoints(source, 0, rows=rows).astype(np.float64)
    if source != "gt":
        points = convert_keypoints(points, reader.source_skeleton(source), reader.label_skeleton)
    scores: Floats = points[..., 2]
    return scores
