"""Lifting models: tensors in, tensors out; no files and no datasets.

Letters of tensor shapes, the same in the whole package:

    B  samples             J  joints
    L  pyramid levels      C H W  channels, height and width of a level
    M  heads               K  sampling points per head
    D  token width         T  tokens per joint (1 + L)

Points are (x, y), sizes are (H, W). Maps are channels last, [B, H, W, C]. In the unit frame the
crop spans [-1, 1] in x and in y. Predictions are metres in the camera frame, relative to the root
joint.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifter.config import LifterConfig
    from lifter.models.base import Lifter
    from lifter.parameters import param_groups
    from lifter.published import load_published_capf
    from lifter.registry import LIFTERS, build_lifter

__all__ = [
    "LIFTERS",
    "Lifter",
    "LifterConfig",
    "build_lifter",
    "load_published_capf",
    "param_groups",
]

_HOME = {
    "LIFTERS": "lifter.registry",
    "Lifter": "lifter.models.base",
    "LifterConfig": "lifter.config",
    "build_lifter": "lifter.registry",
    "load_published_capf": "lifter.published",
    "param_groups": "lifter.parameters",
}


def __getattr__(name: str) -> Any:
    # Names are imported on first use: `lifter.config` then needs no torch, and a command that only
    # reads a configuration does not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module 'lifter' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
