"""A frozen torch network: uint8 crops in, its answer and the tapped feature maps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.fingerprint import hash_arrays
from cache.schema import LevelSpec
from stages.devices import DeviceError, use_device
from stages.extract.detectors.base import DetectorError, Tap
from stages.extract.detectors.folding import fold_norms as fold_norms_of
from stages.extract.detectors.rounding import run_in_float32

Precision = Literal["float32", "bfloat16", "float16"]
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TappedNetwork:
    """Runs a module in eval mode without gradients, and reads its levels by forward hooks."""

    def __init__(
        self,
        model: nn.Module,
        taps: Sequence[Tap],
        *,
        input_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        forward: Callable[[Tensor], Any] | None = None,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "float32",
        channels_last: bool = True,
        fold_norms: bool = False,
        float32_modules: Sequence[str] = (),
    ) -> None:
        """Take over a module, which is nobody else's from then on.

        Args:
            model: the network.
            taps: feature levels to read, finest first.
            input_size: (H, W) px of the crops.
            mean: of RGB, on the scale 0 to 255.
            std: of RGB, on the same scale.
            forward: what is called with the normalised crops [B, 3, H, W]; None for the module.
            device: torch device.
            threads: torch threads during `run`; None leaves the process's setting.
            precision: bfloat16 and float16 run the network under autocast; what comes out is
                float32 either way.
            channels_last: memory layout of the network, the faster one.
            float32_modules: modules that run in float32 whatever the precision.
            fold_norms: multiply frozen batch norms into the convolutions before them: faster, and
                equal up to rounding, so that it is part of the identity.

        Raises:
            DeviceError: no such device here, or float16 on a CPU.
            DetectorError: an unknown tap, or one whose maps do not have its stride; folding that
                changes more than rounding.
        """
        self.input_size = input_size
        self._device = use_device(device)
        if precision == "float16" and self._device.type == "cpu":
            raise DeviceError(
                "detector.precision float16 is for GPUs; on a CPU use bfloat16 or float32."
            )
        self._taps = tuple(taps)
        self._threads = threads
        self._precision = precision
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        # mmpose's HRNet.eval() returns None, so calls are not chained.
        model.eval()
        model.requires_grad_(False)
        self._weights_hash = _hash_weights(model)
        self._fold_norms = fold_norms
        if fold_norms:
            self._fold(model, forward or model)
        self._float32_modules = tuple(float32_modules) if precision in _AUTOCAST else ()
        for name in self._float32_modules:
            run_in_float32(model.get_submodule(name), self._device.type)
        placed: Any = model.to(device=self._device)
        self.model: nn.Module = placed.to(memory_format=self._layout)
        self._forward = forward or self.model
        self._mean = torch.tensor(list(mean), dtype=torch.float32, device=self._device)
        self._std = torch.tensor(list(std), dtype=torch.float32, device=self._device)
        self._captured: dict[str, Tensor] = {}
        for tap in self._taps:
            self._hook(tap)
        self.levels = self._measure_levels()

    @torch.inference_mode()
    def run(self, crops: NDArray[np.uint8]) -> tuple[Any, dict[str, NDArray[np.float32]]]:
        """Return the network's answer to crops [B, H, W, 3] RGB, and its levels, [B, H, W, C] each.

        Raises:
            DetectorError: crops of another size or type.
        """
        if crops.shape[1:] != (*self.input_size, 3) or crops.dtype != np.uint8:
            raise DetectorError(
                f"Crops must be uint8 [B, {self.input_size[0]}, {self.input_size[1]}, 3], got "
                f"{crops.dtype} "
                f"{list(crops.shape)}; set crop.input_size to the detector's input."
            )
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        self._captured.clear()
        inputs = self._normalise(torch.from_numpy(np.ascontiguousarray(crops)).to(self._device))
        with torch.autocast(
            self._device.type, _AUTOCAST.get(self._precision), enabled=self._precision in _AUTOCAST
        ):
            answer = self._forward(inputs)
        features = {
            tap.name: self._captured[tap.name].permute(0, 2, 3, 1).float().cpu().numpy()
            for tap in self._taps
        }
        self._captured.clear()
        return answer, features

    def identity(self) -> dict[str, Any]:
        """Return what decides the levels' numbers: weights, taps, normalisation, precision."""
        # Left out where it is off, as in stores from before there was the choice.
        folded = {"fold_norms": True} if self._fold_norms else {}
        exact = {"float32_modules": [*self._float32_modules]} if self._float32_modules else {}
        return {
            "weights": self._weights_hash,
            "taps": [[tap.name, tap.module, tap.index, tap.stride] for tap in self._taps],
            "normalisation": {
                "mean": self._mean.tolist(),
                "std": self._std.tolist(),
                "order": "rgb",
            },
            "precision": self._precision,
            "channels_last": self._layout is torch.channels_last,
            "device": self._device.type,
            **folded,
            **exact,
        }

    def _fold(self, model: nn.Module, forward: Callable[[Tensor], Any]) -> None:
        weight = next(model.parameters())
        noise = torch.Generator().manual_seed(0)
        example = torch.randn(1, 3, *self.input_size, generator=noise).to(weight.device)
        tapped = [tap.module for tap in self._taps]
        for tap in self._taps:
            self._module(model, tap)
        fold_norms_of(model, forward, example, keep=tapped)

    def _normalise(self, crops: Tensor) -> Tensor:  # uint8 [B, H, W, 3] -> float32 [B, 3, H, W]
        pixels: Tensor = (crops.float() - self._mean) / self._std
        return pixels.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)

    def _module(self, model: nn.Module, tap: Tap) -> nn.Module:
        try:
            return model.get_submodule(tap.module)
        except AttributeError as error:
            raise DetectorError(
                f"Tap {tap.name!r}: the network has no module {tap.module!r} ({error}). Name one "
                "of its modules."
            ) from error

    def _hook(self, tap: Tap) -> None:
        def capture(_module: nn.Module, _inputs: Any, output: Any) -> None:
            value = output if tap.index is None else output[tap.index]
            # A copy, since the network may go on in place.
            self._captured[tap.name] = value.detach().clone()

        self._module(self.model, tap).register_forward_hook(capture)

    def _measure_levels(self) -> tuple[LevelSpec, ...]:
        _, found = self.run(np.zeros((1, *self.input_size, 3), dtype=np.uint8))
        levels = []
        for tap in self._taps:
            _, height, width, channels = found[tap.name].shape
            expected = tuple(size // tap.stride for size in self.input_size)
            if (height, width) != expected:
                raise DetectorError(
                    f"Tap {tap.name!r} ({tap.module}) gives maps of {height}x{width}, but stride "
                    f"{tap.stride} on crops "
                    f"of {self.input_size[0]}x{self.input_size[1]} means "
                    f"{expected[0]}x{expected[1]}."
                )
            levels.append(LevelSpec(tap.name, channels, height, width, tap.stride))
        return tuple(levels)


def _hash_weights(model: nn.Module) -> str:
    """Return the hash of a network's weights as they came, before they are folded."""
    return hash_arrays(
        {
            name: value.float().cpu().numpy()
            for name, value in model.state_dict().items()
            if not name.endswith("num_batches_tracked")  # a counter that some files leave out
        }
    )
