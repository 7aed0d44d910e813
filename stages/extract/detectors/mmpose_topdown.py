"""mmpose's top-down pose estimators as frozen detectors; the only file that imports mmpose."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cache.fingerprint import fingerprint
from cache.schema import LevelSpec
from cache.skeletons import Skeleton, get_skeleton
from stages.extract.detectors.base import Detection, DetectorError, Tap
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.hrnet import HRNET_TAPS
from stages.extract.detectors.network import Precision, TappedNetwork
from stages.extract.detectors.placeholders import placeholders

_SKELETON_OF_DATASET = {
    "CocoDataset": "COCO17",
    "Human36mDataset": "H36M17",
    "CocoWholeBodyDataset": "WHOLEBODY133",
    "UBody2dDataset": "WHOLEBODY133",
}


class MmposeTopdown:
    """A frozen mmpose top-down estimator: joints by mmpose's own decoder, and tapped maps."""

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        weights: str | Path | None,
        *,
        taps: Sequence[Tap] = HRNET_TAPS,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "float32",
        skeleton: str | None = None,
        channels_last: bool = True,
    ) -> None:
        """Build the network and load its weights.

        Args:
            config: an mmpose config: a file (.py, .json, .yaml) or a mapping.
            weights: .safetensors, or .pth of plain tensors; None keeps the random initialisation
                (tests, benchmarks).
            taps: feature levels to read, finest first.
            device: torch device.
            threads: torch threads during `detect`; None leaves the process's setting.
            precision: bfloat16 and float16 run the network under autocast; features and joints
                are float32 either way.
            skeleton: joint set, where the config does not tell.
            channels_last: memory layout of the network; the faster one by default, the other one
                is mmpose's own and gives its words bit for bit.

        Raises:
            DetectorError: a config without a top-down model, weights of another network, an unknown
                tap.
        """
        self._config = load_config(config)
        self._skeleton = _resolve_skeleton(self._config, skeleton)
        model = build_pose_estimator(self._config)
        if weights is not None:
            load_weights(model, Path(weights))
        codec = model.head.decoder
        if codec is None:
            raise DetectorError(
                f"The head {type(model.head).__name__} has no decoder; give "
                "model.head.decoder in the config."
            )
        self._head: Any = model.head
        width, height = codec.input_size
        preprocessor = model.data_preprocessor
        self._network = TappedNetwork(
            model,
            taps,
            input_size=(int(height), int(width)),
            mean=preprocessor.mean.flatten().tolist(),
            std=preprocessor.std.flatten().tolist(),
            forward=lambda inputs: model.head.forward(model.extract_feat(inputs)),
            device=device,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
        )

    @property
    def input_size(self) -> tuple[int, int]:
        """Size (H, W) px of the crops it takes."""
        return self._network.input_size

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of its joints."""
        return self._skeleton

    @property
    def levels(self) -> tuple[LevelSpec, ...]:
        """The tapped feature levels, finest first."""
        return self._network.levels

    @property
    def model(self) -> nn.Module:
        """The mmpose network, in eval mode."""
        return self._network.model

    @property
    def crop_kind(self) -> Literal["mmpose", "mmpose-udp"]:
        """The crop rule of the config's test pipeline."""
        return "mmpose-udp" if _uses_udp(self._config) else "mmpose"

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        """Return joints and features of crops [B, H, W, 3] RGB; DetectorError for other sizes."""
        raw, features = self._network.run(crops)
        return Detection(self._decode(raw), features)

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers: weights, network, taps, decoder, precision."""
        model = self._config["model"]
        head = model["head"]
        network = {
            "backbone": {k: v for k, v in model["backbone"].items() if k != "init_cfg"},
            "neck": model.get("neck"),
            "head": {k: v for k, v in head.items() if k not in ("loss", "decoder", "init_cfg")},
        }
        return {
            "kind": "mmpose-topdown",
            "network": fingerprint(_plain(network)),
            "decoder": _plain(head["decoder"]),
            "skeleton": self._skeleton.name,
            **self._network.identity(),
        }

    def _decode(self, raw: Any) -> NDArray[np.float32]:
        parts = raw if isinstance(raw, tuple) else (raw,)
        parts = tuple(part.float() for part in parts)
        instances = self._head.decode(parts if isinstance(raw, tuple) else parts[0])
        points = np.stack([np.asarray(instance.keypoints)[0, :, :2] for instance in instances])
        scores = np.stack([np.asarray(instance.keypoint_scores)[0] for instance in instances])
        if _uses_udp(self._config):
            # mmpose's decoders speak of a frame in which the box spans the whole input size; in UDP
            # crops it spans one
            # pixel less.
            height, width = self.input_size
            points = points * [(width - 1) / width, (height - 1) / height]
        return np.concatenate([points, scores[..., None]], axis=-1).astype(np.float32)


def load_config(config: str | Path | Mapping[str, Any]) -> Any:
    """Return an mmengine Config; raises DetectorError where it has no top-down model."""
    import_mmpose()
    from mmengine.config import Config

    if isinstance(config, Mapping):
        loaded = Config(
            json.loads(json.dumps(dict(config))) if not isinstance(config, Config) else config
        )
    else:
        path = Path(config)
        if not path.is_file():
            raise DetectorError(
                f"Detector config {path} does not exist. Give the path of an mmpose config."
            )
        loaded = Config.fromfile(str(path))
    if loaded.get("model") is None or loaded.model.get("type") != "TopdownPoseEstimator":
        kind = None if loaded.get("model") is None else loaded.model.get("type")
        raise DetectorError(
            f"The detector config's model is {kind!r}; it must be a TopdownPoseEstimator."
        )
    return loaded


def build_pose_estimator(config: Any) -> Any:
    """Return the randomly initialised network of an mmengine Config."""
    import_mmpose()
    from mmengine.registry import init_default_scope
    from mmpose.registry import MODELS

    init_default_scope("mmpose")
    model_config = config.model.copy()
    model_config.train_cfg = None
    # Weights come from one place: never from an address inside the config.
    model_config.backbone.init_cfg = None
    return MODELS.build(model_config)


@functools.cache
def import_mmpose() -> None:
    """Import mmpose's models once, with stand-ins for packages that no detector here runs."""
    with placeholders(), warnings.catch_warnings():
        # Deprecations inside mmpose, mmcv and mmengine at these pinned versions; nothing here can
        # act on them.
        warnings.simplefilter("ignore")
        import mmpose.codecs
        import mmpose.models  # noqa: F401


def _resolve_skeleton(config: Any, name: str | None) -> Skeleton:
    if name is None and config.get("posecache") is not None:
        name = config.posecache.skeleton
    if name is None:
        dataset = config.get("test_dataloader", {}).get("dataset", {})
        name = _SKELETON_OF_DATASET.get(dataset.get("type", ""))
    if name is None:
        raise DetectorError(
            "The detector config does not tell its joint set; set detector.skeleton."
        )
    skeleton = get_skeleton(name)
    joints = config.model.head.get("out_channels")
    if (
        joints is not None
        and joints != skeleton.num_joints
        and config.model.head.type == "HeatmapHead"
    ):
        raise DetectorError(
            f"The detector has {joints} joints, but {name} has {skeleton.num_joints}."
        )
    return skeleton


def _uses_udp(config: Any) -> bool:
    pipeline = config.get("test_dataloader", {}).get("dataset", {}).get("pipeline", [])
    return any(
        step.get("type") == "TopdownAffine" and step.get("use_udp", False) for step in pipeline
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
