"""What predictions say of themselves: units, frames of coordinates, joints, origin."""

from __future__ import annotations

from typing import Any

from cache import get_skeleton
from pipeline.predict.setup import Setup
from pipeline.runs.directories import provenance
from stages.extract.datasets.base import Dataset

FORMAT = 1

_UNITS = {
    "joints_3d_mm": "mm, camera frame (x right, y down, z away from the camera), relative to the"
    " root joint",
    "root_mm": "mm, camera frame: where the root is, from the intrinsics; joints_3d_mm plus it are"
    " places in front of the camera",
    "keypoints_px": "x, y in px of the picture (centre of the first pixel is 0, 0), score; the"
    " joints of joints_3d_mm",
    "detected_px": "x, y in px of the picture, score; the joints of the 2D detector",
    "boxes_px": "x1, y1, x2, y2 in px of the picture",
    "spread_mm": "mm, expected distance of a joint from the truth, as the lifter says",
    "time_s": "s since the first frame of the file",
    "image_size": "height, width in px",
    "status": "0: a pose; else why there is none, see status_names",
}


def describe(setup: Setup, dataset: Dataset) -> dict[str, Any]:
    """Return plain containers that go into every file of the predictions."""
    run, config = setup.run, setup.config
    trained_on = run.description.trained_on
    joints = get_skeleton(trained_on.skeleton)
    detector = trained_on.feature_identity.get("detector", {})
    return {
        "format": FORMAT,
        "skeleton": {
            "name": joints.name,
            "joints": list(joints.joints),
            "parents": list(joints.parents),
            "left": list(joints.left),
            "right": list(joints.right),
            "root": joints.joints[joints.root],
        },
        "detector_joints": list(setup.detector_skeleton.joints),
        "units": dict(_UNITS),
        "notes": list(setup.notes),
        "run": {
            "name": run.run_dir.name,
            "lifter": run.description.lifter.name,
            "weights": run.weights,
            "epoch": run.epoch,
            "trained_on": config.dataset.name,
            "keypoint_source": trained_on.keypoint_source,
            "levels": list(run.level_names),
        },
        "detector": {
            "name": config.detector.name,
            "model": detector.get("model"),
            "weights_sha": str(detector.get("weights", "")) or None,
        },
        "box_source": setup.crop.box_source,
        "crop": setup.crop.model_dump(mode="json"),
        "flip_average": config.evaluate.flip_average,
        "predict": config.predict.model_dump(mode="json"),
        "input": dataset.content_identity(),
        "provenance": provenance(),
    }
