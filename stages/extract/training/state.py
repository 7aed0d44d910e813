"""What a detector's training keeps: averaged weights, resumable state, the log."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.extract.detectors.base import DetectorError


class Average:
    """Exponential moving average of a module's weights and normalisation statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the module's present state."""
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the module; young averages move faster and soon forget the start."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


class TrainingState:
    """Everything needed to go on after a kill; saved atomically."""

    def __init__(
        self,
        path: Path,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        average: Average,
        config: dict[str, Any],
    ) -> None:
        """Refer to the objects; nothing is read yet."""
        self._path = path
        self._model = model
        self._optimiser = optimiser
        self._config = config
        self.average = average
        self.step = 0
        self.seconds = 0.0

    def resume(self) -> bool:
        """Load the saved state, True if there was one; DetectorError if its config is another."""
        if not self._path.is_file():
            return False
        try:
            saved = torch.load(self._path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise DetectorError(
                f"{self._path} cannot be read ({error}). Delete it to start again."
            ) from error
        changed = sorted(
            key
            for key in {*saved["config"], *self._config}
            if saved["config"].get(key) != self._config.get(key)
        )
        if changed:
            raise DetectorError(
                f"{self._path} is the state of another configuration (different: "
                f"{', '.join(changed)}). Choose another "
                "output folder, or delete it to start again."
            )
        self._model.load_state_dict(saved["model"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self.average.state = saved["average"]
        self.step, self.seconds = saved["step"], saved["seconds"]
        return True

    def save(self) -> None:
        """Write the state beside its place and rename it there."""
        temporary = self._path.with_suffix(".partial")
        torch.save(
            {
                "model": self._model.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "average": self.average.state,
                "step": self.step,
                "seconds": self.seconds,
                "config": self._config,
            },
            temporary,
        )
        os.replace(temporary, self._path)


def save_weights(state: dict[str, Tensor], path: Path) -> None:
    """Write a state dict as safetensors, atomically."""
    temporary = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in state.items()}, temporary)
    os.replace(temporary, path)
