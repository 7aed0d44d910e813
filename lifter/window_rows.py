"""From the frames that windows share to the windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rows_of_windows(
    tokens: Tensor,  # [R, J, D]
    window_rows: Tensor,  # [B, F] int64 in 0..R-1
) -> Tensor:  # [B, F, J, D]
    """Returns `tokens[window_rows]`, whose gradient is the same on any number of threads.

    That of an index is summed in the order in which the threads of a CPU come by.
    """
    found = F.embedding(window_rows, tokens.flatten(1))
    return torch.unflatten(found, -1, tokens.shape[1:])
