"""Any torch network as a source of feature maps: crops in, named maps out, no joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.schema import LevelSpec
from stages.extract.detectors.base import Detection, DetectorError, Tap
from stages.extract.detectors.network import Precision, TappedNetwork

_PIXEL_SCALE = 255.0
_REPEAT_TOLERANCE = 1e-3
"""Largest relative difference between two answers to one crop. Kernels of a GPU may round
differently; a dropout or another crop of the batch changes far more."""


class FeatureNetwork:
    """A frozen detector without joints, around a module that returns its maps by name.

    The module takes normalised crops `[B, 3, H, W]` and returns a mapping from level names to maps
    `[B, C, h, w]`, with H / h and W / w one whole number per level: its stride.
    """

    skeleton: None = None

    def __init__(
        self,
        model: nn.Module,
        *,
        input_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        description: Mapping[str, Any],
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "float32",
        channels_last: bool = True,
    ) -> None:
        """Take over a module; its weights are not changed.

        Args:
            model: the network.
            input_size: (H, W) px of the crops.
            mean: of RGB on the scale 0 to 1; crops are divided by 255, then this is subtracted.
            std: of RGB on the same scale; then it is divided by this.
            description: what besides weights and normalisation decides the maps; JSON values.
            device: torch device.
            threads: torch threads during `detect`; None leaves the process's setting.
            precision: bfloat16 and float16 run the network under autocast.
            channels_last: memory layout of the network.

        Raises:
            DetectorError: what the module returns is not as above, or depends on chance or on the
                other crops of a batch.
        """
        _check_normalisation(mean, std)
        model.eval()
        strides = _measure_strides(model, input_size)
        names = tuple(sorted(strides, key=lambda name: strides[name]))
        self._network = TappedNetwork(
            _InOrder(model, names),
            [Tap(name, "", strides[name], index) for index, name in enumerate(names)],
            input_size=input_size,
            mean=[_PIXEL_SCALE * value for value in mean],
            std=[_PIXEL_SCALE * value for value in std],
            device=device,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
        )
        self._description = dict(description)
        self._refuse_unsteady()

    @property
    def input_size(self) -> tuple[int, int]:
        """Size (H, W) px of the crops it takes."""
        return self._network.input_size

    @property
    def levels(self) -> tuple[LevelSpec, ...]:
        """The levels that the module returns, finest first."""
        return self._network.levels

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        """Return the maps of crops [B, H, W, 3] RGB; DetectorError for crops of another size."""
        return Detection(None, self._network.run(crops)[1])

    def identity(self) -> dict[str, Any]:
        """Return what decides the maps: description, weights, levels, normalisation, precision."""
        return {
            **self._description,
            "input_size": list(self.input_size),
            **self._network.identity(),
        }

    def _refuse_unsteady(self) -> None:
        """Compare the maps of one crop beside two different others: they must be the same."""
        size = (*self.input_size, 3)
        crop, *others = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
        first, second = (self.detect(np.stack([crop, other])).features for other in others)
        for name, maps in first.items():
            expected, found = maps[0], second[name][0]
            if not np.isfinite(expected).all():
                raise DetectorError(
                    f"Level {name!r} of the network is not finite on a crop of noise. Check its "
                    "weights and detector.precision."
                )
            limit = _REPEAT_TOLERANCE * max(float(np.abs(expected).max()), 1e-6)
            if float(np.abs(expected - found).max()) > limit:
                raise DetectorError(
                    f"Level {name!r} of the network is not the same twice for one crop: it draws "
                    "random numbers, or looks at the other crops of the batch. A stored map must "
                    "depend on its own crop only: switch dropout and batch statistics off in eval "
                    "mode."
                )


class _InOrder(nn.Module):
    """Gives a network's maps by position, so that they can be tapped."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(names)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        found = self.network(crops)
        return tuple(found[name] for name in self._names)


def _check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    is_scaled = len(mean) == len(std) == 3 and all(0.0 <= value <= 1.0 for value in mean)
    if not is_scaled or not all(0.0 < value <= 1.0 for value in std):
        raise DetectorError(
            f"mean {list(mean)} and std {list(std)} must be three numbers each, of RGB on the scale"
            " 0 to 1 (ImageNet: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225)."
        )


@torch.inference_mode()
def _measure_strides(model: nn.Module, input_size: tuple[int, int]) -> dict[str, int]:
    """Return crop px per cell of each level; raises DetectorError."""
    parameter = next(model.parameters(), torch.zeros(()))
    answer = model(torch.zeros(1, 3, *input_size, device=parameter.device))
    if not isinstance(answer, Mapping) or not answer:
        raise DetectorError(
            f"The network returns {type(answer).__name__}; it must return a dict from level names "
            "to maps [B, C, h, w], e.g. {'x16': maps}."
        )
    strides = {}
    for name, maps in answer.items():
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != 1:
            shape = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise DetectorError(
                f"Level {name!r} of the network is {shape} for one crop; it must be a tensor "
                "[1, C, h, w]. Tokens of a transformer are put in rows: "
                "tokens.transpose(1, 2).unflatten(2, (h, w))."
            )
        height, width = input_size
        stride = height // maps.shape[2]
        if (maps.shape[2] * stride, maps.shape[3] * stride) != input_size:
            raise DetectorError(
                f"Level {name!r} of the network has {maps.shape[2]}x{maps.shape[3]} cells for crops"
                f" of {height}x{width}: not one whole number of px per cell. Choose an input size "
                "that its strides divide."
            )
        strides[str(name)] = stride
    return strides
