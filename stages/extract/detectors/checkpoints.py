"""Weights of a detector: read without running anything, every key accounted for."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.extract.detectors.base import DetectorError

_MAX_NAMED_KEYS = 6


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict, every key; raises DetectorError listing the keys that do not fit."""
    if not path.is_file():
        raise DetectorError(
            f"Detector weights {path} do not exist. Train them or give another path."
        )
    state = _read_state(path)
    own = model.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("data_preprocessor.")}
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {list(value.shape)} instead of {list(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = [
        f"{len(keys)} {title}: "
        f"{', '.join(keys[:_MAX_NAMED_KEYS])}{', ...' if len(keys) > _MAX_NAMED_KEYS else ''}"
        for title, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise DetectorError(
            f"{path.name} does not fit the detector's network ({len(own)} tensors): "
            f"{'; '.join(problems)}. "
            "Use the config that belongs to these weights."
        )
    model.load_state_dict({**own, **state})


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DetectorError(
            f"{path} holds more than tensors, so it is not loaded. Convert its state dict to "
            ".safetensors once, in an environment that trusts the file."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise DetectorError(f"{path} cannot be read: {error}. Copy or train it again.") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
