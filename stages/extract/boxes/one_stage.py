"""mmpose's one-stage estimators (RTMO, YOLOX-Pose) as person detectors; no mmdet is needed.

Their checkpoints find persons and joints at once; only the boxes and scores are used here.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cache.fingerprint import hash_arrays
from stages.devices import use_device
from stages.extract.crops import corner_affine
from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.mmpose.network import build_pose_estimator, import_mmpose


class OneStagePeople:
    """Persons as a one-stage estimator of mmpose finds them, one picture at a time."""

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        weights: str | Path | None,
        *,
        device: str = "cpu",
    ) -> None:
        """Build the network and load its weights.

        Args:
            config: an mmpose config: a file or a mapping.
            weights: .safetensors, or .pth of plain tensors; None keeps the random initialisation
                (tests).
            device: torch device.

        Raises:
            DeviceError: no such device here.
            DetectorError: the config is no one-stage estimator, or weights of another network.
        """
        loaded = _one_stage_config(config)
        resize = _resize_step(loaded)
        width, height = resize["input_size"]
        self._input_size = (int(height), int(width))
        self._padding = tuple(resize.get("pad_val", (0, 0, 0)))
        self._head = str(loaded.model.head.type)
        self._thresholds = {
            name: loaded.model.get("test_cfg", {}).get(name) for name in ("score_thr", "nms_thr")
        }
        with warnings.catch_warnings():
            # The losses, which no picture meets here, look for their metainfo beside mmpose.
            warnings.filterwarnings("ignore", "The metainfo config file", UserWarning)
            self._model = build_pose_estimator(loaded)
        if weights is not None:
            load_weights(self._model, Path(weights))
        self._model.train(False)
        self._model.to(use_device(device))

    @property
    def input_size(self) -> tuple[int, int]:
        """Size (H, W) px that pictures are scaled and padded to."""
        return self._input_size

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return `[P, 5]` x1, y1, x2, y2 px and score of the persons in a picture [H, W, 3] RGB."""
        from mmpose.structures import PoseDataSample

        centre, scale = _fit(picture.shape[:2], self._input_size)
        # mmpose reads pictures as BGR; what the network wants is its own preprocessor's business.
        padded = cv2.warpAffine(
            np.ascontiguousarray(picture[..., ::-1]),
            corner_affine(centre, scale[0], *self._input_size),
            self._input_size[::-1],
            flags=cv2.INTER_LINEAR,
            borderValue=self._padding,
        )
        sample = PoseDataSample(
            metainfo={
                "input_size": self._input_size[::-1],
                "input_center": centre,
                "input_scale": scale,
            }
        )
        inputs = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"torch\.meshgrid", UserWarning)  # mmpose's own call
            batch = self._model.data_preprocessor({"inputs": [inputs], "data_samples": [sample]})
            answer = self._model.predict(batch["inputs"], batch["data_samples"])
        persons = answer[0].pred_instances
        boxes = np.asarray(persons.bboxes, dtype=np.float64).reshape(-1, 4)
        return np.column_stack([boxes, np.asarray(persons.bbox_scores, dtype=np.float64)])

    def identity(self) -> dict[str, Any]:
        """Return what decides the boxes: network, weights, size of the input, thresholds."""
        weights = {
            name: value.detach().cpu().numpy() for name, value in self._model.state_dict().items()
        }
        return {
            "detector": self._head,
            "input_size": list(self._input_size),
            **self._thresholds,
            "weights": hash_arrays(weights),
        }


def _one_stage_config(config: str | Path | Mapping[str, Any]) -> Any:
    import_mmpose()
    from mmengine.config import Config

    if isinstance(config, Config):
        loaded = copy.deepcopy(config)
    elif not isinstance(config, str | Path):
        loaded = Config(copy.deepcopy(dict(config)))
    elif Path(config).is_file():
        loaded = Config.fromfile(str(config))
    else:
        raise DetectorError(
            f"Person detector config {config} does not exist. Give the path of an mmpose config, "
            "or mmpose:<path below its configs>."
        )
    head = loaded.get("model", {}).get("head", {}).get("type")
    if head not in ("RTMOHead", "YOLOXPoseHead"):
        raise DetectorError(
            f"The person detector's head is {head!r}; boxes come from mmpose's one-stage "
            "estimators: configs of body_2d_keypoint/rtmo or body_2d_keypoint/yoloxpose."
        )
    # The whole network's weights come from one place: never from an address inside the config.
    loaded.model.init_cfg = None
    return loaded


def _resize_step(config: Any) -> Any:
    pipeline = config.get("test_dataloader", {}).get("dataset", {}).get("pipeline", [])
    step = next((step for step in pipeline if step.get("type") == "BottomupResize"), None)
    if step is None or step.get("resize_mode", "fit") != "fit" or step.get("use_udp", False):
        raise DetectorError(
            "The person detector's test pipeline has no BottomupResize that fits the picture into "
            "the input (resize_mode fit, use_udp off)."
        )
    return step


def _fit(
    picture: tuple[int, ...], target: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return centre and size (x, y) of the part of the picture's plane that fills the input."""
    height, width = picture
    shown_width = min(target[1], target[0] * (width / height))
    shown_height = min(target[0], target[1] / (width / height))
    scale = [width * target[1] / shown_width, height * target[0] / shown_height]
    centre = np.array([width / 2, height / 2], dtype=np.float32)
    return centre, np.array(scale, dtype=np.float32)
