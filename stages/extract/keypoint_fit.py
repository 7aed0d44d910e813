"""Whether a lifter will be able to use a detector's joints with the labels."""

from __future__ import annotations

from cache.conversions import conversion_note
from cache.errors import SkeletonMismatch
from cache.plan import RowPlan
from stages.extract.detectors.base import FrozenDetector


def keypoint_warning(detector: FrozenDetector, plan: RowPlan) -> str | None:
    """Return what to know where a detector's joints cannot be turned into those of the labels."""
    if detector.skeleton is None or plan.joints_3d_mm is None:
        return None
    try:
        conversion_note(detector.skeleton, plan.skeleton)
    except SkeletonMismatch:
        return (
            f"the detector finds {detector.skeleton.name} joints, which nothing turns into the "
            f"labels' {plan.skeleton}: a lifter will only be able to use the maps, with "
            "train.data.keypoint_source=gt or an imported source. Some datasets have "
            "dataset.options.skeleton for labels that fit."
        )
    return None
