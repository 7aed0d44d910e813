"""mmpose's top-down pose estimators as frozen detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.fingerprint import fingerprint
from cache.schema import LevelSpec
from cache.skeletons import Skeleton
from stages.extract.detectors.base import Detection, DetectorError, Tap
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.mmpose.config import CropRule, crop_rule_of, joints_of, load_config
from stages.extract.detectors.mmpose.decoding import decode
from stages.extract.detectors.mmpose.hrnet import HRNET_TAPS
from stages.extract.detectors.mmpose.network import build_pose_estimator
from stages.extract.detectors.network import Precision, TappedNetwork
from stages.extract.detectors.random_weights import drawn, scale_norms
from stages.extract.detectors.rounding import float32_modules_of


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
        fold_norms: bool = False,
        config_changes: Mapping[str, Any] | None = None,
        random_seed: int | None = None,
    ) -> None:
        """Build the network and load its weights.

        Args:
            config: an mmpose config: a file (.py, .json, .yaml) or a mapping.
            weights: .safetensors, or mmpose's .pth; None keeps the random initialisation
                (tests, benchmarks).
            taps: feature levels to read, finest first.
            device: torch device.
            threads: torch threads during `detect`; None leaves the process's setting.
            precision: bfloat16 and float16 run the network under autocast, but for the last layers;
                features and joints are float32 either way.
            skeleton: joint set, where the config does not tell.
            channels_last: memory layout of the network; the faster one by default, the other one
                is mmpose's own and gives its words bit for bit.
            fold_norms: multiply frozen batch norms into the convolutions before them: faster, and
                equal up to rounding.
            config_changes: dotted paths of the config and their new values, applied before the
                network is built.
            random_seed: with weights None, draw them from this seed, batch norms scaled as trained
                ones would be: a control without training.

        Raises:
            DetectorError: a config without a top-down model, weights of another network, an unknown
                tap or path of the config.
        """
        self._config = load_config(config, config_changes)
        self._skeleton = joints_of(self._config, skeleton)
        self._crop_rule = crop_rule_of(self._config)
        self._random_seed = random_seed
        if random_seed is None:
            model = build_pose_estimator(self._config)
        else:
            model = drawn(lambda: build_pose_estimator(self._config), random_seed)
        if weights is not None:
            load_weights(model, Path(weights))
        codec = model.head.decoder
        if not hasattr(codec, "input_size"):
            raise DetectorError(
                f"The head {type(model.head).__name__} has no single decoder of crop px; give "
                "model.head.decoder in the config."
            )
        self._head: Any = model.head
        width, height = codec.input_size
        preprocessor = model.data_preprocessor

        def forward(inputs: Tensor) -> Any:
            return model.head.forward(model.extract_feat(inputs))

        if random_seed is not None and weights is None:
            scale_norms(model, forward, input_size=(int(height), int(width)), seed=random_seed)
        self._network = TappedNetwork(
            model,
            taps,
            input_size=(int(height), int(width)),
            mean=preprocessor.mean.flatten().tolist(),
            std=preprocessor.std.flatten().tolist(),
            forward=forward,
            device=device,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
            fold_norms=fold_norms,
            float32_modules=float32_modules_of(model),
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
    def crop_rule(self) -> CropRule:
        """How the config's test pipeline cuts crops."""
        return self._crop_rule

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        """Return joints and features of crops [B, H, W, 3] RGB; DetectorError for other sizes."""
        raw, features = self._network.run(crops)
        udp = self._crop_rule.kind == "mmpose-udp"
        joints = decode(self._head, raw, input_size=self.input_size, udp=udp)
        return Detection(joints, features)

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
            # Left out where weights were loaded, as in stores from before there was the choice.
            **({} if self._random_seed is None else {"random_seed": self._random_seed}),
            **self._network.identity(),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
