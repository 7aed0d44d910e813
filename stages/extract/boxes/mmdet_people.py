"""Person detectors of mmdet, where it is installed: the only file that speaks to mmdet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.fingerprint import hash_arrays
from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoints import load_weights

PERSON = 0  # of COCO's classes, and of the detectors of persons alone


class MmdetPeople:
    """Persons as a detector of mmdet finds them, through mmdet's own inference."""

    def __init__(self, config: Path, weights: Path, *, device: str = "cpu") -> None:
        """Build the detector and load its weights.

        Args:
            config: an mmdet config file.
            weights: .safetensors, or .pth of plain tensors.
            device: torch device.

        Raises:
            DetectorError: mmdet is not installed, or the weights are of another network.
        """
        try:
            from mmdet.apis import inference_detector, init_detector
        except (ImportError, AssertionError) as error:  # mmdet asserts versions of mmcv
            raise DetectorError(
                f"people.mmdet_config needs mmdet and a full mmcv, which do not come along "
                f"({error}). Install them, or give the detector as ONNX: people.onnx=FILE."
            ) from error
        self._infer = inference_detector
        # Weights are loaded by us, plain tensors only: mmdet would run what a checkpoint holds.
        self._model = init_detector(str(config), None, device=device)
        load_weights(self._model, weights)
        self._config = config

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return `[P, 5]` x1, y1, x2, y2 px and score of the persons in a picture [H, W, 3] RGB."""
        found = self._infer(self._model, np.ascontiguousarray(picture[..., ::-1])).pred_instances
        boxes, scores, labels = (
            values.detach().cpu().numpy() for values in (found.bboxes, found.scores, found.labels)
        )
        table = np.column_stack([boxes.reshape(-1, 4), scores]).astype(np.float64)
        return np.asarray(table[labels == PERSON])

    def identity(self) -> dict[str, Any]:
        """Return what decides the boxes: config file and weights."""
        weights = {
            name: value.detach().cpu().numpy() for name, value in self._model.state_dict().items()
        }
        return {
            "detector": "mmdet",
            "config": self._config.name,
            "config_sha256": hashlib.sha256(self._config.read_bytes()).hexdigest(),
            "weights": hash_arrays(weights),
        }
