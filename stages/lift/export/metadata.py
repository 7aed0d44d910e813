"""What an exported file says of itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch

from cache import get_skeleton
from stages.lift.export.signature import KEYPOINTS, OUTPUT, REFERENCES, Signature
from stages.lift.feed.windows import windowing_of
from stages.lift.runs.checkpoints import LoadedRun

METADATA_KEY = "posecache"
"""Key of the metadata of an ONNX file under which `describe_export` stands as JSON."""

_UNIT = {
    "published": "x = 2 u / W - 1, y = 2 v / H - 1 for crop px (u, v) of a crop of W x H px",
    "geometric": "x = 2 u / W - 1, y = 2 v / H - 1 for crop px (u, v) of a crop of W x H px; the "
    "lifter itself moves them per level, to cell = crop px / stride",
}


def describe_export(run: LoadedRun, signature: Signature) -> dict[str, Any]:
    """Returns units, frames, joints, formulas and provenance of an exported run, JSON values.

    Nothing in it depends on the machine or the time.
    """
    told, lifter = run.description, run.description.lifter
    skeleton = get_skeleton(told.trained_on.skeleton)
    windowing = windowing_of(lifter, run.config.data)
    return {
        "format": 1,
        "lifter": lifter.name,
        "inputs": [port.describe() for port in signature.inputs],
        "output": signature.output.describe(),
        "skeleton": {
            "name": skeleton.name,
            "joints": list(skeleton.joints),
            "parents": list(skeleton.parents),
            "root": skeleton.joints[skeleton.root],
        },
        "frames": {
            OUTPUT: "metres, camera axes (x right, y down, z forward), relative to the root joint",
            KEYPOINTS: "x = 2 u / w - 1, y = 2 v / w - h / w for picture px (u, v) of a picture of "
            "w x h px, pixel centres at whole numbers",
            **({REFERENCES: _UNIT[lifter.reference_rule]} if told.trained_on.levels else {}),
        },
        "crop_size_hw": list(told.trained_on.crop_size_hw),
        "keypoints": {
            "source": told.trained_on.keypoint_source,
            "skeleton": told.trained_on.detector_skeleton,
            "note": told.trained_on.keypoint_note,
        },
        "windows": windowing
        and {
            "num_frames": windowing.shape.num_frames,
            "frame_step": windowing.shape.step,
            "causal": windowing.shape.causal,
            "predicts": "every frame" if windowing.predicts_all else "the target frame",
        },
        "levels": [level.model_dump() for level in told.trained_on.levels],
        "feature_identity": told.trained_on.feature_identity,
        "notes": list(told.notes),
        "run": run.run_dir.resolve().name,
        "weights": {"which": run.weights, "epoch": run.epoch, "parameters": told.num_parameters},
        "versions": {"posecache": version("posecache"), "torch": torch.__version__},
    }
