"""What an mmpose config says about a detector: its model, its joints and its crops."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cache.skeletons import Skeleton, get_skeleton
from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.mmpose.config_changes import apply_changes
from stages.extract.detectors.mmpose.network import class_of, import_mmpose

_SKELETON_OF_DATASET = {
    "CocoDataset": "COCO17",
    "Human36mDataset": "H36M17",
    "CocoWholeBodyDataset": "WHOLEBODY133",
    "UBody2dDataset": "WHOLEBODY133",
}
_SKELETON_OF_METAINFO = {
    "coco": "COCO17",
    "coco_wholebody": "WHOLEBODY133",
    "h36m": "H36M17",
    "halpe26": "HALPE26",
    "ubody2d": "WHOLEBODY133",
}
"""By the name of the file that a config's `metainfo` names: it overrules the dataset's class."""
_DEFAULT_PADDING = 1.25  # mmpose's, of GetBBoxCenterScale


@dataclass(frozen=True)
class CropRule:
    """How the config's test pipeline cuts persons out."""

    kind: Literal["mmpose", "mmpose-udp"]
    padding: float


def load_config(
    config: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> Any:
    """Return an mmengine Config, with dotted paths changed.

    Raises:
        DetectorError: there is no such file, it has no top-down model of RGB pictures, or a path
            of `changes` is not in it.
    """
    import_mmpose()
    from mmengine.config import Config

    if isinstance(config, Mapping):
        loaded = Config(json.loads(json.dumps(dict(config))))
    else:
        path = Path(config)
        if not path.is_file():
            raise DetectorError(
                f"Detector config {path} does not exist. Give the path of an mmpose config."
            )
        loaded = Config.fromfile(str(path))
    if changes:
        loaded = Config(apply_changes(loaded.to_dict(), changes, class_of))
    model = loaded.get("model")
    kind = None if model is None else model.get("type")
    if kind != "TopdownPoseEstimator":
        raise DetectorError(
            f"The detector config's model is {kind!r}; it must be a TopdownPoseEstimator."
        )
    if not model.get("data_preprocessor", {}).get("bgr_to_rgb", False):
        raise DetectorError(
            "The detector config's data_preprocessor does not turn BGR pictures into RGB, so its "
            "network takes BGR; only networks of RGB pictures are fed here."
        )
    return loaded


def joints_of(config: Any, name: str | None) -> Skeleton:
    """Return the joint set `name`, or the one that the config tells.

    Raises:
        DetectorError: it tells none, or another one, or the head has another number of joints.
    """
    told = _told_skeleton(config)
    if name is not None and told is not None and name != told:
        raise DetectorError(
            f"detector.skeleton is {name}, but the detector config's joint set is {told}. "
            "Leave detector.skeleton out, or correct the config."
        )
    name = name or told
    if name is None:
        raise DetectorError(
            "The detector config does not tell its joint set; set detector.skeleton."
        )
    skeleton = get_skeleton(name)
    num_joints = _num_joints(config.model.head)
    if num_joints is not None and num_joints != skeleton.num_joints:
        raise DetectorError(
            f"The detector has {num_joints} joints, but {name} has {skeleton.num_joints}. "
            "Set detector.skeleton to the joint set it was trained on."
        )
    return skeleton


def _told_skeleton(config: Any) -> str | None:
    if config.get("posecache") is not None:
        return str(config.posecache.skeleton)
    data = _test_data(config)
    metainfo = data.get("metainfo")
    if metainfo:  # joints of the user's own, unless it is a file that mmpose ships
        return _SKELETON_OF_METAINFO.get(Path(str(metainfo.get("from_file", ""))).stem)
    return _SKELETON_OF_DATASET.get(data.get("type", ""))


def crop_rule_of(config: Any) -> CropRule:
    """Return the crop rule of the config's test pipeline."""
    steps = {step.get("type"): step for step in _test_data(config).get("pipeline", [])}
    udp = steps.get("TopdownAffine", {}).get("use_udp", False)
    padding = steps.get("GetBBoxCenterScale", {}).get("padding", _DEFAULT_PADDING)
    return CropRule("mmpose-udp" if udp else "mmpose", float(padding))


def _test_data(config: Any) -> Any:
    return config.get("test_dataloader", {}).get("dataset", {})


def _num_joints(head: Any) -> int | None:
    joints = head.get("out_channels")
    if not isinstance(joints, int):
        return None
    # A combined UDP head has a map and two offset maps per joint.
    return joints // 3 if head.get("decoder", {}).get("heatmap_type") == "combined" else joints
