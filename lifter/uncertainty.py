"""How far off each joint may be: a head for any lifter, and its likelihood.

The error e of a joint [3] is taken to be isotropic Laplace with the scale b > 0, in metres:

    p(e) = exp(-|e| / b) / (8 pi b^3),     -log p(e) = |e| / b + 3 log b + log(8 pi)

|e| then has a Gamma distribution of shape 3 and scale b: its mean is 3 b. A scale learned by its
likelihood beside what it is the scale of: Nix and Weigend, ICNN 1994; Kendall and Gal, NeurIPS
2017, section 2.2, whose Laplace likelihood this is in three dimensions.

Ours: the likelihood teaches the scale alone. Features and errors enter it detached, because the
likelihood of both would weigh joints by 1 / b and leave those that are hard to themselves (Seitzer
et al., ICLR 2022, who weigh them back). The pose is then, to the bit, what it is without the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lifter.config import LifterConfig
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter, Outputs

MEAN_ERROR_PER_SCALE = 3.0
"""|e| has the mean 3 b."""
LOG_NORMALISER = math.log(8 * math.pi)
_MIDDLE_LOG_M, _REACH = math.log(10**-1.5), math.log(10**2.5)
"""Scales lie between 0.1 mm and 10 m, as tanh bounds them: the likelihood of a joint without any
error, which the root may be, has no maximum. They start at 32 mm."""
_HIDDEN = 64


class ScaleHead(nn.Module):
    """Two layers from the features before a lifter's last layer to log b per joint, float32.

    Args:
        num_features: of what the lifter's last layer reads.
        num_outputs: 1 where that reads a joint, otherwise the number of joints; the mean is then
            taken over what else it reads, such as anchors.
    """

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.norm = nn.LayerNorm(num_features)
        self.hidden, self.log_scale = (
            nn.Linear(num_features, _HIDDEN),
            nn.Linear(_HIDDEN, num_outputs),
        )
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)

    def forward(self, features: Tensor) -> Tensor:  # [B, (F,) J, D], or [B, (A,) D]
        """Returns log b [B, (F,) J] of metres."""
        with torch.autocast(features.device.type, enabled=False):
            hidden = nn.functional.gelu(self.hidden(self.norm(features.float())))
            raw: Tensor = self.log_scale(hidden)
            if self.num_outputs == 1:
                raw = raw.squeeze(-1)
            elif raw.ndim > 2:
                raw = raw.flatten(1, -2).mean(dim=1)  # [B, A, J] -> [B, J]
            return _MIDDLE_LOG_M + _REACH * torch.tanh(raw / _REACH)


class ScaledLifter(Lifter):
    """What `with_scale` adds to a lifter.

    In training, log b comes last among the outputs, and `loss` teaches it. In evaluation `forward`
    returns the poses alone, as every lifter does, unless `with_scale` is set.
    """

    scale_head: ScaleHead
    _features: Tensor | None = None

    @classmethod
    def from_config(
        cls, config: LifterConfig, *, level_channels: Sequence[int], num_joints: int
    ) -> Self:
        """Returns the lifter with the weights that it has without the head, and the head.

        Raises `LifterConfigError` for a lifter whose `last_layer` cannot be read, and as `Lifter`.
        """
        model = super().from_config(config, level_channels=level_channels, num_joints=num_joints)
        try:
            last = model.get_submodule(cls.last_layer)
        except AttributeError:
            last = nn.Identity()
        if isinstance(last, nn.Conv1d) and last.kernel_size == (1,):
            num_features, num_outputs = last.in_channels, last.out_channels
        elif isinstance(last, nn.Linear):
            num_features, num_outputs = last.in_features, last.out_features
        else:
            raise LifterConfigError(
                f"{cls.name} has no linear layer {cls.last_layer!r}, before which"
                f" lifter.uncertainty=true would read its features. Name one in"
                f" {cls.__mro__[2].__name__}.last_layer, or leave lifter.uncertainty out."
            )
        with torch.random.fork_rng(devices=[]):  # what is drawn after this is drawn without it, too
            model.scale_head = ScaleHead(num_features, 1 if num_outputs == 3 else num_joints)
        last.register_forward_pre_hook(model._keep_features)
        return model

    def _keep_features(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        features: Tensor = inputs[0].detach()
        # A convolution has its channels second: [B, D, F] -> [B, F, D].
        self._features = features.transpose(1, 2) if isinstance(layer, nn.Conv1d) else features

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2], or [B, F, J, 2] of windows; screen-normalised, float32
        reference_points: Tensor | None = None,  # [R, J, 2] unit frame, float32
        levels: Sequence[Tensor] | None = None,  # L maps [R, H, W, C], any dtype of deform_sample
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # [B, F] int64 in 0..R-1
        with_scale: bool = False,
    ) -> Outputs:  # [B, (F,) J, 3]; in training, or `with_scale`, log b [B, (F,) J] comes last
        """Returns the joints in metres, camera frame, relative to the root joint."""
        more: dict[str, Any] = {"scales": scales, "window_rows": window_rows}
        given = {name: value for name, value in more.items() if value is not None}
        outputs = super().forward(  # type: ignore[safe-super]  # a lifter's own comes next
            keypoints_2d, reference_points, levels, **given
        )
        features, self._features = self._features, None
        assert features is not None, f"{self.last_layer} was not called"
        if not (self.training or with_scale):
            return outputs
        poses = (outputs,) if isinstance(outputs, Tensor) else outputs
        return *poses, self.scale_head(features)

    def loss(
        self,
        outputs: Outputs,
        target_m: Tensor,  # [B, J, 3], or [B, F, J, 3] where windows are predicted
        valid: Tensor | None = None,  # [B, J] or [B, F, J] bool; None: all
    ) -> Tensor:
        """Returns the lifter's own loss, with the gradient of the likelihood for the head.

        The value is that of the lifter alone, in metres, so that it can be compared: what the
        likelihood adds is subtracted without its gradient.
        """
        if isinstance(outputs, Tensor):
            return super().loss(outputs, target_m, valid)
        *own, log_scale = outputs
        pose_loss = super().loss(own[0] if len(own) == 1 else tuple(own), target_m, valid)
        likelihood = laplace_nll(own[0].detach().float(), log_scale, target_m, valid)
        return pose_loss + (likelihood - likelihood.detach())


def with_scale(kind: type[Lifter]) -> type[Lifter]:
    """Returns this kind of lifter with a head that says how far off each joint may be."""
    return type(f"Scaled{kind.__name__}", (ScaledLifter, kind), {"__doc__": kind.__doc__})


def scale_m(outputs: Outputs) -> Tensor:
    """Returns the scales b [B, (F,) J] in metres among what a `ScaledLifter` returned."""
    if isinstance(outputs, Tensor):
        raise TypeError(
            "These outputs are poses alone. Call a lifter built with lifter.uncertainty=true, in"
            " evaluation mode with with_scale=True."
        )
    return outputs[-1].exp()


def laplace_nll(
    predicted_m: Tensor,  # [..., J, 3]
    log_scale: Tensor,  # [..., J] of metres
    target_m: Tensor,  # [..., J, 3]
    valid: Tensor | None = None,  # [..., J] bool; None: all joints count
) -> Tensor:  # scalar
    """Returns the mean over joints of |e| / b + 3 log b + log(8 pi); 0 without a valid joint."""
    distances = torch.linalg.vector_norm(predicted_m - target_m, dim=-1)
    each: Tensor = distances * (-log_scale).exp() + 3.0 * log_scale + LOG_NORMALISER
    if valid is None:
        return each.mean()
    total: Tensor = (each * valid).sum()
    return total / valid.sum().clamp(min=1)
