"""A user's own torch module as a feature source, named by a function that builds it.

The function is called with the detector's options and returns a module with three attributes:
`input_size` (H, W) px, `mean` and `std` of RGB on the scale 0 to 1. The module takes normalised
crops `[B, 3, H, W]` and returns a dict from level names to maps `[B, C, h, w]`.

To name a file is to run it, with the rights of whoever runs posecache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.features.factories import load_factory, source_file, split_reference
from stages.extract.detectors.features.network import FeatureNetwork
from stages.extract.detectors.network import Precision

_REQUIRED = ("input_size", "mean", "std")


def build_torch_module(
    reference: str,
    options: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "float32",
) -> FeatureNetwork:
    """Return the feature source that a function builds.

    Weights that the function draws at random are drawn from a fixed seed, so that every process
    has the same ones.

    Args:
        reference: `package.module:function` or `path/to/file.py:function`.
        options: keyword arguments of the function; part of the identity of the store.
        weights: state dict for the module, loaded whole; None where the function loads its own.
        device: torch device.
        threads: torch threads during `detect`; None leaves the process's setting.
        precision: bfloat16 and float16 run the network under autocast.

    Raises:
        DetectorError: there is no such function, it fails, or what it returns is no such module.
    """
    options = dict(options or {})
    source, function = split_reference(reference)
    factory, file = load_factory(reference), source_file(reference)
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            model = factory(**options)
    except Exception as error:
        raise DetectorError(
            f"detector.module {reference}: the function failed with options {options}: "
            f"{type(error).__name__}: {error}"
        ) from error
    missing = [name for name in _REQUIRED if not hasattr(model, name)]
    if not isinstance(model, nn.Module) or missing:
        raise DetectorError(
            f"detector.module {reference}: the function returns {type(model).__name__}; it must "
            "return a torch.nn.Module with the attributes input_size (H, W), mean and std"
            f"{' (missing: ' + ', '.join(missing) + ')' if missing else ''}."
        )
    given: Any = model
    if weights is not None:
        load_weights(model, weights)
    height, width = given.input_size
    return FeatureNetwork(
        model,
        input_size=(int(height), int(width)),
        mean=[float(value) for value in given.mean],
        std=[float(value) for value in given.std],
        description={
            "kind": "torch-module",
            "model": f"{Path(source).name}:{function}",
            "class": type(model).__qualname__,
            "source": None if file is None else hashlib.sha256(file.read_bytes()).hexdigest(),
            "options": options,
        },
        device=device,
        threads=threads,
        precision=precision,
    )
