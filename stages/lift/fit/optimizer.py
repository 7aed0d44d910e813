"""AdamW with one named group per learning rate."""

from __future__ import annotations

import torch
from torch import nn

from lifter import param_groups
from stages.lift.config import TrainConfig
from stages.lift.errors import LiftError


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Returns AdamW over the lifter's parameter groups, with `lr_scale` and `name` in each.

    Raises `LiftError` if `config.lr_scales` names a group that the lifter does not have: a factor
    that reaches no parameter would go unnoticed.
    """
    named = param_groups(model)
    unknown = sorted(set(config.lr_scales) - set(named))
    if unknown:
        raise LiftError(
            f"train.lr_scales names the groups {', '.join(unknown)}, but this lifter has"
            f" {', '.join(named)}."
        )
    groups = [
        {"params": list(parameters), "name": name, "lr_scale": config.lr_scales.get(name, 1.0)}
        for name, parameters in named.items()
    ]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets every group to `lr` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
