"""Exponential moving average of a module's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of the parameters and buffers of `module`, by name.

    The first steps use the smaller decay `(1 + t) / (10 + t)`, so that the random start is soon
    forgotten. Integer buffers are copied.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights = {name: t.detach().clone() for name, t in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average one step towards the weights of `module`."""
        decay = min(self.decay, (1.0 + self.num_updates) / (10.0 + self.num_updates))
        self.num_updates += 1
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                averaged.append(self.weights[name])
                current.append(tensor)
            else:
                self.weights[name].copy_(tensor)
        torch._foreach_lerp_(averaged, current, 1.0 - decay)

    @contextmanager
    def put_into(self, module: nn.Module) -> Iterator[None]:
        """Gives the average to `module`, and its own weights back afterwards."""
        own = {name: t.detach().clone() for name, t in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def load(self, weights: dict[str, Tensor], *, num_updates: int) -> None:
        """Takes the state of a stopped run."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])
        self.num_updates = num_updates
