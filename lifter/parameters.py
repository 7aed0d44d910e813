"""The parameters of a lifter in named groups, for learning rates of their own."""

from __future__ import annotations

from torch import nn

OFFSETS = "sampling_offsets"


def param_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Returns the parameters by group; every parameter that learns is in exactly one.

    `sampling_offsets`: the linear maps that move the sampling points (absent without any);
    `main`: all others. Groups are never empty: a learning rate that reaches nothing is an error
    that no loss curve shows.
    """
    groups: dict[str, list[nn.Parameter]] = {"main": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = OFFSETS if OFFSETS in name.split(".") else "main"
            groups.setdefault(group, []).append(parameter)
    assert all(groups.values()), f"empty parameter group in {sorted(groups)}"
    assert sum(map(len, groups.values())) == sum(p.requires_grad for p in model.parameters())
    return groups
