"""The single-frame baseline of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.norms import BatchNorm

HIDDEN_PER_WIDTH = 8  # the default token width of 128 makes the published 1024


class SimpleBaseline(Lifter):
    """All joints at once through two residual blocks of two fully connected layers.

    Martinez, Hossain, Romero and Little: "A simple yet effective baseline for 3d human pose
    estimation", ICCV 2017, Figure 2: a linear layer 2J -> 1024, the blocks (each layer with batch
    normalisation, ReLU and dropout 0.5), and a linear layer -> 3J; 4.29 M parameters.

    As published: the layers. Ours: the joints are those of the store, root included, in metres,
    with the 2D input screen-normalised (the paper standardises both, and leaves out the root); the
    norms of the weights are not limited to 1; weights start as PyTorch's do; a batch of one is
    normalised by the statistics learned so far (`BatchNorm`).

    Args:
        num_joints: J.
        width: an eighth of the hidden layers' width, so that `lifter.width` scales this lifter too.
        depth: fully connected layers between the first and the last; two per block, rounded down,
            at least one block. The default 4 makes the published two blocks.
        hidden: width of the hidden layers; `None`: 8 x `width`.
        num_blocks: residual blocks; `None`: `depth` / 2.
        dropout: probability of zeroing a hidden value in training.

    Raises:
        LifterConfigError: fewer than one hidden value or block, or a dropout outside 0..1.
    """

    name: ClassVar[str] = "simple_baseline"
    uses_features: ClassVar[bool] = False

    def __init__(
        self,
        *,
        num_joints: int = 17,
        width: int = 128,
        depth: int = 4,
        hidden: int | None = None,
        num_blocks: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = HIDDEN_PER_WIDTH * width if hidden is None else hidden
        num_blocks = max(depth // 2, 1) if num_blocks is None else num_blocks
        if hidden < 1 or num_blocks < 1:
            raise LifterConfigError(
                "simple_baseline needs at least one hidden value and one block, got"
                f" hidden={hidden} and num_blocks={num_blocks}. Leave both out for the published"
                " sizes."
            )
        self.expand = DenseLayer(2 * num_joints, hidden, dropout=dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(DenseLayer(hidden, hidden, dropout=dropout) for _ in range(2)))
            for _ in range(num_blocks)
        )
        self.position = nn.Linear(hidden, 3 * num_joints)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
        batch, joints, _ = keypoints_2d.shape
        hidden = self.expand(keypoints_2d.flatten(1))  # [B, J, 2] -> [B, D]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        output: Tensor = self.position(hidden)
        return output.view(batch, joints, 3)  # from [B, 3 J]


class DenseLayer(nn.Module):
    """Linear, batch normalisation, ReLU, dropout."""

    def __init__(self, num_inputs: int, num_outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs)
        self.norm = BatchNorm(num_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:  # [B, C] -> [B, D]
        """Returns the hidden values."""
        output: Tensor = self.dropout(self.norm(self.linear(values)).relu())
        return output
