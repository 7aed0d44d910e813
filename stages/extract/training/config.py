"""How a detector is trained; no torch here, so that reading a configuration stays quick."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from stages.extract.crops import CropConfig
from stages.extract.training.crops import AugmentConfig

_SCHEDULE_KEYS = {
    "steps",
    "max_minutes",
    "workers",
    "threads",
    "log_every",
    "eval_every",
    "eval_rows",
    "checkpoint_minutes",
    "device",
}


class NetworkConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Size of the narrow HRNet."""

    base_channels: PositiveInt = 16
    """Channels of the finest branch; 32, 64 and 128 follow."""
    bottleneck_channels: PositiveInt = 16
    """Width inside stage 1."""
    num_bottlenecks: PositiveInt = 1
    """Bottlenecks of stage 1."""
    num_modules: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    """Modules of stages 2, 3 and 4."""
    num_blocks: PositiveInt = 2
    """Basic blocks per branch and module."""
    sigma: PositiveFloat = 1.5
    """Width of the target in heatmap cells."""


class TrainDetectorConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How a detector is trained."""

    network: NetworkConfig = NetworkConfig()
    """Size of the network."""
    crop: CropConfig = CropConfig()
    """How people are cut out; extraction must use the same rule."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation of the crops."""
    batch_size: PositiveInt = 32
    """Crops per step."""
    crops_per_picture: PositiveInt = 1
    """Crops drawn from each loaded picture; more than one where pictures are expensive."""
    steps: PositiveInt = 6000
    """Steps of the schedule."""
    max_minutes: PositiveFloat | None = None
    """Ends the schedule after this time if that comes first; the learning rate falls
    accordingly."""
    learning_rate: PositiveFloat = 3e-3
    """Peak learning rate of AdamW."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the schedule during which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay."""
    grad_clip: PositiveFloat = 5.0
    """Largest gradient norm."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are the ones exported."""
    seed: int = 0
    """Seed of initialisation, order and augmentation."""
    init: str | None = None
    """Weights of a detector trained here to start from (.safetensors)."""
    workers: int = Field(default=1, ge=0)
    """Background workers that load and augment."""
    threads: PositiveInt | None = None
    """Torch threads; None leaves the process's setting."""
    log_every: PositiveInt = 50
    """Steps between log lines."""
    eval_every: PositiveInt = 1000
    """Steps between validations."""
    eval_rows: PositiveInt = 256
    """Evenly spaced validation rows of these; the last validation takes four times as many."""
    checkpoint_minutes: PositiveFloat = 3.0
    """Time between resumable states."""
    device: str = "cpu"
    """Torch device."""

    def decisive(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with the interrupted one."""
        return self.model_dump(mode="json", exclude=_SCHEDULE_KEYS)
