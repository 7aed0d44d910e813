"""The errors of lifted frames at one strength, as plain containers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.coords import apply_affine
from pipeline.robustness.degradations import CLEAN, Variant
from pipeline.robustness.intervals import clip_intervals
from pipeline.robustness.lifting import Lifted
from pipeline.robustness.study import Study
from stages.lift.scores import score_frames

Entry = dict[str, Any]


def measure(study: Study, variant: Variant, lifted: Lifted, example_row: int) -> Entry:
    """Return the result of one strength.

    Errors are means over frames, mm; intervals are of the choice of clips, 95 %. `error_2d_px` is
    the distance of the 2D joints that were lifted from the true ones, in px of the undegraded crop
    whatever was cut out, so that strengths can be compared. `lost_rows` are those that the means
    lack; undegraded frames also have their rows by clip and, in that order, their errors, so that
    any strength can be compared with them on the frames that it has.
    """
    rows = lifted.rows
    entry: Entry = {
        "degradation": variant.degradation,
        "strength": variant.strength,
        "num_frames": len(rows),
        "lost": lifted.lost,
        "lost_rows": np.setdiff1d(study.rows, rows).tolist(),
        "example": None,
    }
    if not len(rows):
        return {**entry, "error_2d_px": None, "clips": {}, "runs": {}, "differences": {}}
    true_mm = _true_mm(study, rows)
    codes, members, counts = np.unique(
        study.reader.index("clip").codes[rows], return_inverse=True, return_counts=True
    )
    vocabulary = study.reader.index("clip").vocabulary or ()
    entry["clips"] = {vocabulary[c]: int(n) for c, n in zip(codes, counts, strict=True)}
    by_members = np.argsort(members, kind="stable")
    if variant == CLEAN:
        parts = np.split(rows[by_members], np.cumsum(counts)[:-1])
        entry["rows"] = dict(zip(entry["clips"], (part.tolist() for part in parts), strict=True))
    errors_2d = _errors_2d_px(study, lifted)
    entry["error_2d_px"] = {
        "mean": float(errors_2d.mean()),
        "median": float(np.median(errors_2d)),
    }
    split_words = np.array(study.reader.index("split").words())[rows]
    entry["runs"], by_clip = {}, {}
    for name, poses_mm in lifted.poses_mm.items():
        scores = score_frames(
            poses_mm,
            true_mm,
            follows=np.zeros(len(rows), dtype=bool),
            pck_threshold_mm=150.0,
            skeleton=study.reader.label_skeleton.name,
        )
        frame_mm = scores.joint_mm.mean(axis=1)
        by_clip[name] = np.bincount(members, frame_mm) / counts
        entry["runs"][name] = {
            "mpjpe_mm": float(frame_mm.mean()),
            "p_mpjpe_mm": float(scores.p_mpjpe_mm.mean()),
            "per_split_mpjpe_mm": {
                split: float(frame_mm[split_words == split].mean())
                for split in study.splits
                if (split_words == split).any()
            },
            "per_clip_mpjpe_mm": by_clip[name].tolist(),
        }
        if variant == CLEAN:
            entry["runs"][name]["per_frame_mpjpe_mm"] = frame_mm[by_members].tolist()
    _add_intervals(entry, by_clip, counts, study)
    if example_row in rows:
        at = int(np.searchsorted(rows, example_row))
        entry["example"] = {
            "row": example_row,
            "joints_px": lifted.joints_px[at].round(2).tolist(),
            "box_px": lifted.boxes_px[at].round(2).tolist(),
        }
    return entry


def _add_intervals(
    entry: Entry, by_clip: dict[str, NDArray[np.float64]], counts: NDArray[np.intp], study: Study
) -> None:
    """Completes an entry of this module with intervals, and with differences from the baseline."""
    baseline = study.baseline
    others = [name for name in by_clip if baseline is not None and name != baseline.name]
    quantities = list(by_clip.values())
    quantities += [by_clip[name] - by_clip[baseline.name] for name in others if baseline]
    found = clip_intervals(np.stack(quantities), counts, num_draws=study.config.draws).tolist()
    for name, (_, low, high) in zip(by_clip, found, strict=False):
        entry["runs"][name] |= {"low_mm": low, "high_mm": high}
    entry["differences"] = {
        name: {"difference_mm": mean, "low_mm": low, "high_mm": high}
        for name, (mean, low, high) in zip(others, found[len(by_clip) :], strict=True)
    }


def _true_mm(study: Study, rows: NDArray[np.int64]) -> NDArray[np.float64]:  # [n, J, 3]
    joints = study.reader.labels("joints_3d_mm")[rows].astype(np.float64)
    root = study.reader.label_skeleton.root
    relative: NDArray[np.float64] = joints - joints[:, root, None]
    return relative


def _errors_2d_px(study: Study, lifted: Lifted) -> NDArray[np.float64]:  # [n, J]
    rows = lifted.rows
    true_px = study.reader.labels("joints_2d_px")[rows].astype(np.float64)
    affine = study.reader.affine(0, rows=rows)
    apart = apply_affine(affine, lifted.joints_px) - apply_affine(affine, true_px)
    distances: NDArray[np.float64] = np.linalg.norm(apart, axis=-1)
    return distances
