"""Where the deformable blocks of a lifter look, recorded while it lifts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lifter.blocks import DeformableBlock


@dataclass(frozen=True)
class BlockSampling:
    """Where one block read its levels, and how much each sample counted."""

    points: Tensor  # [B, L, J, M, K, 2] unit frame, as `deform_sample` reads them
    weights: Tensor  # [B, L, J, M, K] sum to 1 over the K points of a head


def samples_around_joints(model: nn.Module) -> bool:
    """Returns whether any block of the lifter learns where to look."""
    return any(isinstance(module, DeformableBlock) for module in model.modules())


@contextmanager
def recorded_sampling(model: nn.Module) -> Iterator[list[BlockSampling]]:
    """Yields a list that gets an entry per deformable block and forward pass, in their order.

    The points are what the block asks for, before `deform_sample` clamps them to the map.
    """
    found: list[BlockSampling] = []

    def record(block: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        assert isinstance(block, DeformableBlock)
        context, pose, reference_points = inputs[:3]
        offsets, weights = block.sampling(block.query_norm(context + pose))
        if options.get("shifts") is not None:
            offsets = offsets + options["shifts"]
        # [B, J, 2] -> [B, 1, J, 1, 1, 2]
        points = reference_points[:, None, :, None, None] + offsets
        found.append(BlockSampling(points.detach(), weights.detach()))

    blocks = [module for module in model.modules() if isinstance(module, DeformableBlock)]
    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in blocks]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
