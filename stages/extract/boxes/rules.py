"""Whether a dataset has what a box rule needs, and what must be said about the rule."""

from __future__ import annotations

from stages.extract.crops import BoxSource
from stages.extract.datasets.base import Dataset, DatasetError

_GT3D_WARNING = (
    "crop.box_source gt3d cuts every person out by a box of fixed size around the true 3D root. "
    "Published results do so, but the crop then tells a lifter how far away the person is, which "
    "no picture of your own can. Compare with gt2d or detector."
)


def box_warning(source: BoxSource) -> str | None:
    """Return what the reader of a result must know about a box rule, None for honest ones."""
    return _GT3D_WARNING if source == "gt3d" else None


def refuse_unfit_boxes(dataset: Dataset, source: BoxSource) -> None:
    """Raise DatasetError if no row of a dataset can have a box by this rule.

    `detector` also needs a dataset that knows that a detector found its boxes (`box_origin`).
    """
    plan = dataset.plan()
    lacking = {
        "gt3d": None if plan.joints_3d_mm is not None else "3D labels",
        "gt2d": None if plan.valid.any() else "2D labels",
        "imported": None if plan.boxes_px is not None else "boxes",
        "detector": None if plan.boxes_px is not None else "boxes",
    }.get(source)
    if lacking is not None:
        raise DatasetError(
            f"{dataset.name} has no {lacking}, which crop.box_source={source} needs. Choose "
            "another rule: full takes whole pictures, imported and detector the boxes of a box "
            "file (dataset folder: dataset.options.boxes=FILE)."
        )
    if source == "detector" and dataset.box_origin != "detector":
        raise DatasetError(
            f"Nothing says that a person detector found the boxes of {dataset.name}; set "
            "crop.box_source=imported. Box files of 'posecache find-people' say so in their first "
            "line."
        )
