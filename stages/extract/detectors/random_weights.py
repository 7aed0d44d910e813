"""Weights drawn at random, for a control that has a detector's architecture and no training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_CALIBRATION_CROPS = 4


def drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return what `build` builds, with the initial weights of its layers drawn from `seed`.

    The process's random state stays as it was.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()


@torch.inference_mode()
def scale_norms(
    model: nn.Module,
    forward: Callable[[Tensor], Any],
    *,
    input_size: tuple[int, int],
    seed: int,
) -> None:
    """Set the weights of batch norms so that their output has a root mean square near 1.

    Untrained batch norms are the identity, and the initial weights of convolutions shrink or blow
    up what passes through many of them: maps would differ from trained ones in their scale first
    of all. (Ours; no paper says how random maps are to be made.) Factors are whole powers of two,
    measured on crops of noise, so that another number of threads, which changes the last bits of
    what is measured, leaves the weights as they are.

    Args:
        model: an untrained network on the CPU; its norms are changed.
        forward: what to call with normalised crops [B, 3, H, W].
        input_size: (H, W) px of the crops.
        seed: of the noise.
    """

    def scale(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rms = float(inputs[0].double().square().mean().sqrt())
        assert isinstance(norm.weight, Tensor)
        if 0.0 < rms < math.inf:
            norm.weight.fill_(2.0 ** -round(math.log2(rms)))

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    hooks = [norm.register_forward_pre_hook(scale) for norm in norms]
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    try:
        forward(torch.randn((_CALIBRATION_CROPS, 3, *input_size), generator=generator))
    finally:
        for hook in hooks:
            hook.remove()
