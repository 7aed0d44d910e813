"""AdamW with one named group per learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lifter import param_groups
from stages.lift.config import TrainConfig
from stages.lift.errors import LiftError


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    name: str
    num_parameters: int
    lr: float  # at its peak


def group_parameters(model: nn.Module, config: TrainConfig) -> list[ParameterGroup]:
    """Returns the groups of a lifter with their learning rates; none is empty.

    Raises as `build_optimizer`.
    """
    return [
        ParameterGroup(
            name=group["name"],
            num_parameters=sum(parameter.numel() for parameter in group["params"]),
            lr=config.lr * group["lr_scale"],
        )
        for group in build_optimizer(model, config).param_groups
    ]


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
