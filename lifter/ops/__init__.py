"""Fused operations: each has one public function, and a plain PyTorch twin that specifies it."""

from lifter.ops.deform_sample import (
    Backend,
    Padding,
    choose_backend,
    deform_sample,
    prepare_levels,
)

__all__ = ["Backend", "Padding", "choose_backend", "deform_sample", "prepare_levels"]
