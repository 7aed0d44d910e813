"""What can be chosen about a lifter."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Fusion = Literal["concat", "fusion", "full"]
ReferenceRule = Literal["published", "geometric"]


class LifterConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A lifter and its sizes. The defaults are those of the published model."""

    name: str = "capf"
    """Name in `lifter.LIFTERS`; docs/lifters.md lists them."""
    num_frames: PositiveInt = 1
    """Frames that a lifter of windows reads for a pose: odd, unless `causal`."""
    causal: bool = False
    """Windows end at their target, for use while a video runs, instead of having it in the
    middle."""
    width: PositiveInt = 128
    """Width of a token; a joint of `capf` has one token for itself and one per level."""
    depth: PositiveInt = 4
    """Blocks per module (context, fusion, joints)."""
    num_heads: PositiveInt = 8
    """Heads of self-attention; divides `width`."""
    mlp_ratio: Annotated[float, Field(gt=0.0)] = 2.0
    """Width of the hidden layer of a feed-forward part, in token widths."""
    drop_path: Fraction = 0.2
    """Probability of skipping a block in training: rises linearly from 0 to this over the depth."""
    token_width: PositiveInt | None = None
    """`pose_only`: width of a joint's token; `None`: 5 x `width`, what a joint of `capf` has with
    four levels, so that both have the same joint blocks and the same head. `capf_temporal`: width
    of each of a joint's tokens; `None`: 32."""
    levels: tuple[str, ...] | None = None
    """`capf`: names of the maps to read; `None`: all that the store has."""
    deform_heads: PositiveInt = 4
    """`capf`: heads of deformable sampling; divides `width`."""
    num_points: PositiveInt = 4
    """`capf`: sampling points per head, joint and level."""
    fusion: Fusion = "full"
    """`capf`, for ablations: `concat` reads the maps at the joints only; `fusion` adds attention
    between the tokens of a joint; `full` adds deformable sampling around the joints."""
    context_dropout: Fraction = 0.0
    """`capf`: probability of hiding, in training, the maps from one token (a level at a joint)."""
    reference_rule: ReferenceRule = "published"
    """`capf`: `published` uses the reference points as they come; `geometric` takes them as
    crop px / (crop size / 2) - 1 and moves them, per level, to cell = px / stride."""
    uncertainty: bool = False
    """Learn beside every joint how far off it may be; the pose stays what it is without. The head
    is described in docs/uncertainty.md."""

    options: dict[str, Any] = {}
    """Arguments of the lifter's own constructor that have no name here; docs/lifters.md lists
    them."""

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> Self:
        if self.width % self.num_heads or self.width % self.deform_heads:
            raise ValueError(
                f"width={self.width} must be a multiple of num_heads={self.num_heads} and of "
                f"deform_heads={self.deform_heads}"
            )
        if self.token_width is not None and self.token_width % self.num_heads:
            raise ValueError(
                f"token_width={self.token_width} must be a multiple of num_heads={self.num_heads}"
            )
        if self.num_frames % 2 == 0 and not self.causal:
            raise ValueError(
                f"num_frames={self.num_frames} has no middle frame: take an odd number, or"
                " causal=true"
            )
        if self.levels is not None and len(set(self.levels)) != max(len(self.levels), 1):
            raise ValueError(f"levels={self.levels} must name each map once, and at least one")
        return self
