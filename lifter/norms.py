"""Batch normalisation that also takes the last, tiny batch of an epoch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`, except where training shows it one value per channel.

    One value has no variance: PyTorch refuses it. Here the statistics learned so far normalise it,
    as in evaluation, and stay as they are (ours). Of several processes, each normalises by its own
    part of a batch.
    """

    def forward(self, input: Tensor) -> Tensor:  # [B, C] or [B, C, T] -> the same
        """Returns the normalised values."""
        if not self.training or input.numel() > self.num_features:
            return super().forward(input)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=self.eps,
        )
