"""The temporal convolutions of VideoPose3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.norms import BatchNorm
from lifter.window_checks import require_frames

CHANNELS_PER_WIDTH = 8  # the default token width of 128 makes the published 1024
FILTER_WIDTH = 3
SINGLE_FRAME = (1, 1, 1)


class VideoPose3D(Lifter):
    """Convolutions over time, each of which makes one frame of three, until one is left.

    Pavllo, Feichtenhofer, Grangier and Auli: "3D human pose estimation in video with temporal
    convolutions and semi-supervised training", CVPR 2019, section 3: a convolution 2J -> 1024
    channels, then per residual block a convolution of width 3 and one of width 1, each with batch
    normalisation, ReLU and dropout 0.25, and a convolution of width 1 -> 3J; 16.95 M parameters
    with 243 frames.

    The published network slides over a sequence with dilated convolutions; for the single output of
    a window, strides do the same with less work (its appendix A.5), and those are what runs here.
    Centred filters see the future; causal ones have their last frame, instead of the middle one,
    as the frame that the residual connection carries on. `ClipWindows` feeds each what it sees.

    As published: the layers. Ours: batch normalisation keeps its momentum of 0.1 (the published
    training lowers it to 0.001); a batch of one is normalised by the statistics learned so far
    (`BatchNorm`); for one frame, all filters are one frame wide, in two blocks.

    Args:
        num_joints: J.
        num_frames: F, a power of three.
        causal: whether the target is the last frame of the window.
        width: an eighth of the channels, so that `lifter.width` scales this lifter too.
        channels: of the hidden layers; `None`: 8 x `width`.
        dropout: probability of zeroing a hidden value in training.

    Raises:
        LifterConfigError: F is no power of three, or there are no channels.
    """

    name: ClassVar[str] = "videopose3d"
    uses_features: ClassVar[bool] = False
    reads_windows: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_joints: int = 17,
        num_frames: int = 1,
        causal: bool = False,
        width: int = 128,
        channels: int | None = None,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        channels = CHANNELS_PER_WIDTH * width if channels is None else channels
        if channels < 1:
            raise LifterConfigError(f"videopose3d needs at least one channel, got {channels}.")
        self.num_frames = num_frames
        first, *others = filter_widths(num_frames)
        self.expand = ConvLayer(2 * num_joints, channels, width=first, dropout=dropout)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, width=each, causal=causal, dropout=dropout) for each in others
        )
        self.position = nn.Conv1d(channels, 3 * num_joints, 1)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:  # [B, J, 3]
        """Returns the target frame's joints in metres, camera frame, relative to the root joint."""
        require_frames(keypoints_2d, self.num_frames, lifter="videopose3d")
        batch, _, joints, _ = keypoints_2d.shape
        hidden = self.expand(keypoints_2d.flatten(2).transpose(1, 2))  # [B, 2 J, F] -> [B, C, F/3]
        for block in self.blocks:
            hidden = block(hidden)
        output: Tensor = self.position(hidden)
        return output.reshape(batch, joints, 3)  # from [B, 3 J, 1]


class ConvLayer(nn.Module):
    """Convolution of neighbouring, not overlapping groups of frames, normalised, ReLU, dropout."""

    def __init__(self, num_inputs: int, num_outputs: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(num_inputs, num_outputs, width, stride=width, bias=False)
        self.norm = BatchNorm(num_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor) -> Tensor:  # [B, C, F] -> [B, D, F / width]
        """Returns one frame per group."""
        output: Tensor = self.dropout(self.norm(self.convolution(frames)).relu())
        return output


class ResidualBlock(nn.Module):
    """A convolution over time and one per frame, added to one frame of each group."""

    def __init__(self, channels: int, *, width: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.kept = slice(width - 1 if causal else width // 2, None, width)
        self.gather = ConvLayer(channels, channels, width=width, dropout=dropout)
        self.mix = ConvLayer(channels, channels, width=1, dropout=dropout)

    def forward(self, frames: Tensor) -> Tensor:  # [B, C, F] -> [B, C, F / width]
        """Returns one frame per group."""
        output: Tensor = frames[..., self.kept] + self.mix(self.gather(frames))
        return output


def filter_widths(num_frames: int) -> tuple[int, ...]:
    """Returns the widths of the filters whose product is `num_frames`, the first one first.

    Raises `LifterConfigError` if it is no power of three.
    """
    if num_frames == 1:
        return SINGLE_FRAME
    widths: tuple[int, ...] = ()
    left = num_frames
    while left > 1:
        left, rest = divmod(left, FILTER_WIDTH)
        if rest:
            raise LifterConfigError(
                f"videopose3d makes one frame of every {FILTER_WIDTH}, so lifter.num_frames must be"
                f" 1, 3, 9, 27, 81 or 243, got {num_frames}."
            )
        widths += (FILTER_WIDTH,)
    return widths
