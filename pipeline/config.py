"""The whole configuration of a run: files and `--set`, validated before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, model_validator

from lifter.config import LifterConfig
from pipeline import settings
from pipeline.layers import config_layers, merged, origins
from pipeline.predict.config import PredictConfig
from pipeline.robustness.config import RobustnessConfig
from stages.extract.boxes.people import PeopleConfig
from stages.extract.chunks import ExtractConfig
from stages.extract.crops import CropConfig
from stages.extract.training.config import TrainDetectorConfig
from stages.lift.config import EvaluateConfig, TrainConfig


class KeypointsConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """2D keypoints that another detector found in a dataset earlier: of a file, or of a store."""

    file: Path | None = None
    """.npz with `items` and `keypoints`, .npy with a row per row of the dataset, or COCO .json."""
    skeleton: str | None = None
    """Joint set of the file, e.g. `H36M17`; a store says its own."""
    store: str | None = None
    """Instead of `file`: folder or URL of a finished store of the same rows, whose keypoints are
    taken in both views; in a row of a comparison also `row:NAME`, the store of that row."""
    source: str = "detector"
    """Which keypoints of `store`."""
    missing: Literal["refuse", "invalid"] = "refuse"
    """Rows that the file lacks: an error, or rows without these keypoints, which stage 2 leaves
    out, and counts, where it uses them."""

    @model_validator(mode="after")
    def _of_one_place(self) -> Self:
        if (self.file is None) == (self.store is None):
            raise ValueError("name either a file or a store")
        if (self.skeleton is None) != (self.file is None):
            raise ValueError("a file needs its skeleton named, and a store says its own")
        return self


class DatasetConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Where the frames come from."""

    name: str
    """Adapter of `stages.extract.datasets`; docs/datasets.md lists them: `human36m`, `folder`..."""
    label: str | None = None
    """What the store is called after; `None`: the adapter's name."""
    root: Path | None = None
    """Folder of a dataset on disk; `None` for computed ones."""
    options: dict[str, Any] = {}
    """Further arguments of the adapter, e.g. `fps`, `stride`, `subjects`."""
    keypoints: dict[str, KeypointsConfig] = {}
    """2D keypoints from files, by name: `imported:<name>` of the store."""

    def arguments(self) -> dict[str, Any]:
        """Return what the adapter is built with."""
        root = {} if self.root is None else {"root": self.root}
        return {**root, **self.options}


class TapConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A place in the detector from which a feature level is read."""

    name: str
    """Name of the level in the store."""
    module: str
    """Dotted path of the module."""
    stride: PositiveInt
    """Crop px per cell."""
    index: NonNegativeInt | None = None
    """Which of the module's outputs, where it returns several."""
    channels: PositiveInt | None = None
    """Channels the level must have; `None`: as many as it has."""


class PublishedWeights(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Where a detector's checkpoint is to be had; nothing is downloaded."""

    file: str
    """Its file name as published."""
    page: str
    """The page of mmpose's documentation that lists it."""


class DetectorConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The frozen 2D detector."""

    name: str
    """What the store is called after."""
    folder: str | None = None
    """Folder written by `posecache train-detector`; `shipped:<name>` is one that comes along."""
    config: str | None = None
    """Instead of `folder`: an mmpose config file; `mmpose:<path>` is one that mmpose ships."""
    config_changes: dict[str, Any] = {}
    """Dotted paths of that config and their new values, e.g. `model.backbone.out_indices`."""
    timm: str | None = None
    """Instead: an image backbone of timm, which finds no joints, e.g. `resnet50`."""
    module: str | None = None
    """Instead: `file.py:function` or `package.module:function` that builds any torch module with
    feature maps; naming a file runs it."""
    options: dict[str, Any] = {}
    """Arguments of `timm` or `module`."""
    weights: Path | None = None
    """Checkpoint of `config`, `timm` or `module`, .safetensors or .pth."""
    published: PublishedWeights | None = None
    """What to get for `weights`."""
    random_seed: NonNegativeInt | None = None
    """Instead of the weights of `folder` or `weights`: draw them from this seed. A control with the
    same architecture and no training, whose joints are no joints."""
    taps: tuple[TapConfig, ...] | None = None
    """Feature levels, finest first; `None`: those of HRNet that the published lifter reads."""
    skeleton: str | None = None
    """Joint set, where the mmpose config does not tell."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the network; recorded in the store. float16 is for GPUs."""
    fold_norms: bool = False
    """Multiply frozen batch norms into convolutions: faster, other last bits; recorded in the
    store."""
    device: str = "cpu"
    """Torch device of the forward pass."""


Metric = Literal["mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm"]


class ComparisonConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Which lifters are trained side by side, with equal settings."""

    ladder: str | None = None
    """Which of the shipped ladders this is: decides which numbers of papers stand beside it."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Seeds of every row."""
    rows: dict[str, dict[str, Any]] = {}
    """Row name -> the settings in which it differs, e.g. `{lifter.name: capf}`. A row with another
    dataset, detector or crop reads a store of its own; `detector_file` is such a setting, too."""
    without_each_level: str | None = None
    """A row that is repeated without each level of its store in turn, and compared with these."""
    num_frames: PositiveInt | None = None
    """`lifter.num_frames` of the rows whose lifter reads windows, unless they set it."""
    differences: tuple[tuple[str, str], ...] = ()
    """Pairs of rows (a, b); the per-clip difference a - b is bootstrapped."""
    lrs: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    """Learning rates that every row is trained with, with the first seed; the best of them on
    validation is that of all its seeds. Empty: `train.lr` for all."""
    columns: tuple[Metric, ...] = Field(default=("mpjpe_mm", "p_mpjpe_mm"), min_length=1)
    """Errors that the table and the plot show; the files have all."""
    mean_over: Literal["actions", "frames"] = "actions"
    """Means that the table and the plot show: of actions, as in papers, or of frames; the files
    have both."""
    pictures_of: str | None = None
    """Row whose first seed gets pictures of its best, median and worst test frames."""
    workers: PositiveInt | None = None
    """Runs trained at a time; `None`: one per core."""


class RunConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Everything that decides a run."""

    data_root: str = "data"
    """Folder of the stores `*.zarr`, or URL of one, e.g. `s3://bucket/folder`."""
    store: str | None = None
    """Folder or URL of a finished store to train and evaluate from, e.g. a recoded one; `None`:
    that of the dataset and the detector, below `data_root`."""
    runs_root: Path = Path("runs")
    """Folder of the run directories."""
    dataset: DatasetConfig
    """The frames."""
    detector: DetectorConfig
    """The frozen 2D detector."""
    detector_training: TrainDetectorConfig = TrainDetectorConfig()
    """How `posecache train-detector` trains."""
    people: PeopleConfig = PeopleConfig()
    """How `posecache find-people` finds and tracks persons."""
    crop: CropConfig = CropConfig()
    """Box and crop that the detector sees."""
    extract: ExtractConfig = ExtractConfig()
    """How stage 1 runs."""
    lifter: LifterConfig = LifterConfig()
    """The 3D model."""
    train: TrainConfig = TrainConfig()
    """How stage 2 trains."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How stage 2 evaluates."""
    predict: PredictConfig = PredictConfig()
    """How `posecache predict` treats pictures of one's own."""
    robustness: RobustnessConfig = RobustnessConfig()
    """What `posecache robustness` degrades, and how far."""
    comparison: ComparisonConfig = ComparisonConfig()
    """What `posecache ablate` and `posecache demo` compare."""

    def dump(self) -> dict[str, Any]:
        """Return the tree as plain JSON values."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration and where each of its values comes from."""

    config: RunConfig
    origins: Mapping[str, str]
    """Dotted key of `config.dump()` to its origin, e.g. `preset paper`, `--set` or `default`."""


def load_config(
    preset: str = "default",
    *,
    dataset: str | None = None,
    detector: str | None = None,
    lifter: str | None = None,
    ladder: str | None = None,
    device: str | None = None,
    sets: Sequence[str] = (),
) -> RunConfig:
    """Return the configuration of preset, dataset file, detector file, options and `--set` texts.

    Args:
        preset: name of a file in `configs/presets`, or the path of a YAML file.
        dataset: name of a file in `configs/datasets`; the preset's own choice if `None`.
        detector: name of a file in `configs/detectors`; else the dataset's default detector.
        lifter: sets `lifter.name`.
        ladder: name of a file in `configs/ladders`, whose comparison replaces the preset's, but
            for seeds and workers.
        device: sets the device of detector, training and evaluation.
        sets: `key=value` texts; the last word on any key.

    Raises:
        ConfigError: naming every wrong key at once.
    """
    return resolve_config(
        preset,
        dataset=dataset,
        detector=detector,
        lifter=lifter,
        ladder=ladder,
        device=device,
        sets=sets,
    ).config


def resolve_config(preset: str = "default", **options: Any) -> ResolvedConfig:
    """Return the configuration of `load_config`, whose arguments it takes, with its origins."""
    layers = config_layers(preset, **options)
    config = settings.validate(RunConfig, merged(layers))
    return ResolvedConfig(config, origins(config.dump(), layers))


def with_settings(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return `config` with dotted keys changed, validated again."""
    tree = config.dump()
    for key, value in changes.items():
        tree = settings.assign(tree, key, value)
    return settings.validate(RunConfig, tree)
