"""What an exported file says of itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from cache import convert_keypoints, get_skeleton
from stages.lift.config import Context
from stages.lift.export.signature import KEYPOINTS, OUTPUT, REFERENCES, Signature
from stages.lift.feed.windows import windowing_of
from stages.lift.runs.checkpoints import LoadedRun
from stages.lift.runs.identity import TrainedOn

METADATA_KEY = "posecache"
"""Key of the metadata of an ONNX file under which `describe_export` stands as JSON."""

_UNIT = {
    "published": "x = 2 u / W - 1, y = 2 v / H - 1 for crop px (u, v) of a crop of W x H px",
    "geometric": "x = 2 u / W - 1, y = 2 v / H - 1 for crop px (u, v) of a crop of W x H px; the "
    "lifter itself moves them per level, to cell = crop px / stride",
}


_GIVEN: dict[Context, str] = {
    "own": "those of the frame",
    "shuffled": "trained on those of other frames: a control, not a lifter to use",
    "none": "all are zero, as in training",
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
            **_joints_of(told.trained_on),
        },
        "windows": windowing
        and {
            "num_frames": windowing.shape.num_frames,
            "frame_step": windowing.shape.step,
            "causal": windowing.shape.causal,
            "predicts": "every frame" if windowing.predicts_all else "the target frame",
            "target": windowing.shape.target,
            "ends": "windows stay in their clip: beyond its ends its first and last frame are "
            "repeated; a frame that is missing is the nearest one there, of two the later",
        },
        "maps": _maps(run.config.data.context) if told.trained_on.levels else None,
        "levels": [level.model_dump() for level in told.trained_on.levels],
        "feature_identity": told.trained_on.feature_identity,
        "notes": list(told.notes),
        "run": run.run_dir.resolve().name,
        "weights": {"which": run.weights, "epoch": run.epoch, "parameters": told.num_parameters},
        "versions": {"posecache": version("posecache"), "torch": torch.__version__},
    }


def _maps(context: Context) -> dict[str, str]:
    return {
        "context": context,
        "given": _GIVEN[context],
        "values": "as the detector has them; 8-bit codes of a store times the scales of channels",
    }


def _joints_of(trained_on: TrainedOn) -> dict[str, Any]:
    """Returns the detector's joints, and of which each of the lifter's is the weighted mean."""
    found, wanted = get_skeleton(trained_on.detector_skeleton), get_skeleton(trained_on.skeleton)
    if found == wanted:
        return {"joints": list(found.joints), "made_of": None}
    weights = convert_keypoints(np.eye(found.num_joints), found, wanted)
    return {
        "joints": list(found.joints),
        "made_of": {
            joint: {found.joints[i]: float(row[i]) for i in np.flatnonzero(row)}
            for joint, row in zip(wanted.joints, weights, strict=True)
        },
    }
