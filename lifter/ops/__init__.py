"""Fused operations: each has one public function, and a plain PyTorch twin that specifies it."""

from lifter.ops.checks import Backend, Padding
from lifter.ops.deform_sample import (
    choose_backend,
    deform_sample,
    prepare_levels,
)

__all__ = ["Backend", "Padding", "choose_backend", "deform_sample", "prepare_levels"]
