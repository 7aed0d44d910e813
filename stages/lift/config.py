"""What can be chosen about stage 2: the samples, the training and the evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Context = Literal["own", "shuffled", "none"]
Difference = Literal["skeleton", "features", "keypoints"]
Positive = Annotated[float, Field(gt=0.0)]
Precision = Literal["float32", "tf32", "bfloat16"]
Refine = Literal["none", "predicted_root", "oracle_root"]
Residency = Literal["disk", "host", "device", "auto"]
Velocity = Literal["clips", "concatenated"]


class DataConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Which samples a lifter sees."""

    keypoint_source: str = "detector"
    """Name of the 2D joints in the store: `detector`, `gt` or `imported:<name>`."""
    context: Context = "own"
    """`own`: the maps of the frame itself; `shuffled`: the maps of a frame of another clip of the
    same split (same network, no information); `none`: maps of zeros."""
    context_seed: NonNegativeInt = 0
    """Seed of the fixed pairing that `shuffled` uses in evaluation."""
    frame_step: PositiveInt = 1
    """Frames of a clip from one frame of a window to the next, for lifters of windows."""
    train_split: str = "train"
    """Split that the weights are fitted on."""
    validation_split: str = "validation"
    """Split that the best epoch is chosen on; a test split only with `allow_test_selection`."""
    shuffle_window_blocks: PositiveInt = 64
    """Blocks of rows that are mixed with each other in the order of an epoch, on a store whose rows
    are read in blocks (compressed, or remote); any other store is shuffled as a whole. A window
    should be many batches long, and small enough that the reader keeps its blocks decoded."""


class FeedConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How batches reach the lifter: it decides the speed, and no value."""

    residency: Residency = "auto"
    """Where the maps are while they are used: `disk` reads every batch from the store, `host` holds
    the maps of the split in memory, `device` on the torch device (on the CPU: in memory); `auto`
    takes what fits and pays, and says which."""
    loader_threads: PositiveInt = 2
    """Threads that make batches, each a whole one."""
    prefetch_batches: PositiveInt = 4
    """Batches made, or being made, ahead of the lifter."""


class TrainConfig(FeedConfig, frozen=True):
    """How a lifter is trained. The defaults are those of the published model on Human3.6M."""

    data: DataConfig = DataConfig()
    """The samples."""
    epochs: PositiveInt = 50
    """Passes over the training rows; ignored where `steps` is set."""
    steps: PositiveInt | None = None
    """Optimiser steps instead of epochs, rounded up to whole epochs."""
    batch_size: PositiveInt = 512
    """Rows per optimiser step."""
    lr: Annotated[float, Field(gt=0.0)] = 6.4e-4
    """Peak learning rate."""
    lr_scales: dict[str, NonNegativeFloat] = {}
    """Factor on `lr` per parameter group of the lifter (`lifter.param_groups`), by name."""
    weight_decay: NonNegativeFloat = 0.1
    """AdamW weight decay, on every parameter."""
    schedule: Literal["exponential", "cosine", "onecycle", "constant"] = "exponential"
    """Course of the learning rate over the run."""
    lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.99
    """Factor per epoch of the exponential schedule."""
    warmup_steps: NonNegativeInt = 0
    """Steps of linear warm-up from zero, under any schedule."""
    flip: bool = True
    """Mirror each training row with probability 1/2, by reading its flipped view."""
    grad_clip: Annotated[float, Field(gt=0.0)] | None = None
    """Largest L2 norm of the gradient; `None`: not clipped."""
    ema: Fraction | None = None
    """Decay per step of an exponential moving average of the weights, which is then what is
    evaluated and kept; `None`: the plain weights."""
    precision: Precision = "float32"
    """Arithmetic of the lifter in training: with `tf32` a GPU may round the factors of products;
    `bfloat16` is automatic mixed precision. Weights, sampling points, losses and all metrics are
    float32 in each; evaluation is float32."""
    compile: bool = False
    """Compile the lifter with `torch.compile`: pays on a GPU, in long runs; the first step takes up
    to minutes."""
    select: Literal["best", "last"] = "best"
    """`best`: lowest validation MPJPE; `last`: the last epoch, where there is no validation."""
    allow_test_selection: bool = False
    """Let `data.validation_split` be a test split, as results of the field often do: errors on it
    are then too low, which every result of the run says."""
    eval_every: PositiveInt = 1
    """Epochs between two validations; the last epoch is always validated."""
    validation_flip: bool = False
    """Average over the flipped view in validation, too (twice the time)."""
    save_every: PositiveInt = 1
    """Epochs between two writings of the resumable state."""
    seed: NonNegativeInt = 0
    """Seed of the weights, the order of rows, the flips and the drop path."""
    threads: PositiveInt | None = None
    """CPU threads of torch; `None`: as it is. Another number changes float words."""
    device: str = "cpu"
    """Torch device, e.g. `cpu` or `cuda`."""

    def decisive(self, *, changed_only: bool = False) -> dict[str, Any]:
        """Returns the settings that the weights depend on; `changed_only`: none at its default."""
        return self.model_dump(
            mode="json",
            exclude={*FeedConfig.model_fields, "save_every"},
            exclude_defaults=changed_only,
        )


class RefinementConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How far each term of the refinement may be off; see `stages.lift.refinement`."""

    keypoint_sigma: Positive = 0.03
    """Of keypoints, in diagonals of the box around the person's keypoints."""
    bone_sigma_mm: Positive = 20.0
    """Of the lengths of bones."""
    prior_sigma_mm: Positive = 40.0
    """Of predicted joints along each axis, where the lifter does not say it itself."""
    max_steps: PositiveInt = 100
    """Steps of Levenberg and Marquardt's method."""


class EvaluateConfig(FeedConfig, frozen=True):
    """How a lifter is evaluated."""

    splits: tuple[str, ...] | None = None
    """Splits to evaluate; `None`: validation and every split whose name starts with `test`."""
    keypoint_source: str | None = None
    """2D joints to lift; `None`: those of the training. Others must be allowed below."""
    allow: tuple[Difference, ...] = ()
    """Differences between the store and that of the training to let through: `skeleton`,
    `features` (detector, crop, precision) or `keypoints` (their source). They are recorded."""
    flip_average: bool = True
    """Mean of the plain and the un-flipped flipped prediction."""
    batch_size: PositiveInt = 256
    """Rows per forward pass."""
    zero_root: bool = False
    """Set the predicted root to zero before the error, as the MPI-INF-3DHP protocol does."""
    pck_threshold_mm: Annotated[float, Field(gt=0.0)] = 150.0
    """Distance under which a joint counts as correct."""
    velocity: Velocity = "clips"
    """Steps that MPJVE compares: `clips`: between frames that follow each other in a clip;
    `concatenated`: between all neighbours in the list of a table's frames, also where one clip
    ends and the next begins, as published results do."""
    refine: Refine = "none"
    """Move the predicted joints to where the keypoints are seen through the store's calibrated
    cameras, keeping bones and prediction as well as possible: `predicted_root` finds where the
    person is, `oracle_root` is told. Every result then says so, and gives the errors before it."""
    refinement: RefinementConfig = RefinementConfig()
    """The terms of that."""
    weights: Literal["best", "last"] = "best"
    """Which weights of the run."""
    also_last: bool = True
    """Evaluate the last epoch, too, and give its means beside those of the best."""
    device: str = "cpu"
    """Torch device."""
    threads: PositiveInt | None = None
    """CPU threads of torch; `None`: as it is."""
