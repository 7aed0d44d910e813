"""What every lifter is."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lifter.config import LifterConfig
from lifter.errors import LifterConfigError
from lifter.losses import mpjpe
from lifter.words import suggestion

Outputs = Tensor | tuple[Tensor, ...]

FROM_DATA = ("level_channels", "num_joints")
_OF_MAPS = ("reference_rule", "context_dropout")
"""Settings of how maps are read: none may be without effect on a lifter that reads maps."""


class Lifter(nn.Module):
    """A network from 2D joints, and possibly feature maps, to 3D joints.

    The constructor takes plain keyword arguments. Those with the names of fields of `LifterConfig`
    come from it, `level_channels` and `num_joints` from the data, and all others are the lifter's
    own options, from `LifterConfig.options`.
    """

    name: ClassVar[str]
    """What `LifterConfig.name` calls it. A class with a name in a file of `lifter/models` is a
    lifter of `LIFTERS`."""
    uses_features: ClassVar[bool]
    """Whether `forward` reads `reference_points` and `levels`."""
    reads_windows: ClassVar[bool] = False
    """Whether `forward` reads F frames for every sample, with an axis for them after the first."""
    predicts_windows: ClassVar[bool] = False
    """Whether `forward` returns a pose for every frame of the window, instead of its target's."""
    last_layer: ClassVar[str] = "position"
    """Path of the linear layer, or convolution of width 1, whose input `lifter.uncertainty` reads:
    it has three outputs where it reads a joint, and otherwise several per joint."""

    @classmethod
    def reads_points(cls, config: LifterConfig) -> bool:  # noqa: ARG003 (for those that do)
        """Returns whether, so configured, it needs of the maps only what they show at the joints.

        It then takes `levels` of [R, J, C], which a point cache holds, in place of maps.
        """
        return False

    @classmethod
    def from_config(
        cls, config: LifterConfig, *, level_channels: Sequence[int], num_joints: int
    ) -> Self:
        """Returns a lifter with random weights.

        Raises `LifterConfigError` for an option that it does not have, a window for a lifter of
        one frame, a way of reading maps that it does not know, or values that its constructor
        refuses.
        """
        if config.num_frames > 1 and not cls.reads_windows:
            raise LifterConfigError(
                f"{config.name} lifts single frames, but lifter.num_frames is {config.num_frames}."
                " Leave num_frames at 1, or take a lifter of windows."
            )
        accepted = inspect.signature(cls).parameters
        for name in _OF_MAPS if cls.uses_features else ():
            value, default = getattr(config, name), LifterConfig.model_fields[name].default
            if name not in accepted and value != default:
                raise LifterConfigError(
                    f"{config.name} does not know lifter.{name}={value}: it always reads maps as"
                    f" with {default}. Leave the setting out, or take a lifter that has it."
                )
        own = [name for name in accepted if name not in {*LifterConfig.model_fields, *FROM_DATA}]
        for name in config.options:
            if name not in own:
                raise LifterConfigError(
                    f"{config.name} has no option {name!r}{suggestion(name, own)}. Its options:"
                    f" {', '.join(own) or 'none'}."
                )
        given: dict[str, Any] = {"level_channels": level_channels, "num_joints": num_joints}
        fields = {name: getattr(config, name) for name in LifterConfig.model_fields} | given
        arguments = {name: value for name, value in fields.items() if name in accepted}
        try:
            return cls(**arguments, **config.options)
        except (TypeError, ValueError) as error:
            if isinstance(error, LifterConfigError):
                raise
            raise LifterConfigError(f"{config.name} cannot be built: {error}") from error

    @abstractmethod
    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2], or [B, F, J, 2] of windows; screen-normalised, float32
        reference_points: Tensor | None = None,  # [R, J, 2] unit frame, float32
        levels: Sequence[Tensor] | None = None,  # L maps [R, H, W, C], any dtype of deform_sample
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # [B, F] int64 in 0..R-1
    ) -> Outputs:  # [B, J, 3], or [B, F, J, 3] where windows are predicted
        """Returns the joints in metres, camera frame, relative to the root joint.

        Without windows R is B, and `window_rows` is None; single-frame lifters need not take it.
        With windows, frames that several windows share are there once, and `window_rows` says
        which of the R belongs to each frame of each window. A lifter without features gets neither
        `levels` nor `window_rows`, and may ignore `reference_points`.

        In training mode a lifter may return a tuple, of which the first is the above and the
        others are for its `loss`.
        """

    def loss(
        self,
        outputs: Outputs,
        target_m: Tensor,  # [B, J, 3], or [B, F, J, 3] where windows are predicted
        valid: Tensor | None = None,  # [B, J] or [B, F, J] bool; None: all
    ) -> Tensor:
        """Returns what training minimises, float32: the MPJPE in metres, unless overridden."""
        predicted_m = outputs if isinstance(outputs, Tensor) else outputs[0]
        return mpjpe(predicted_m.float(), target_m, valid)


def prediction(outputs: Outputs) -> Tensor:
    """Returns the poses among what a lifter returned."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]
