"""Train a narrow HRNet to find joints, from scratch, on any data set of stage 1.

The loss is the cross-entropy between the softmax over all pixels of a heatmap and a normalised Gaussian: per-pixel squared
errors stay at the all-zero solution for hundreds of steps. A softmax does not see a constant added to its map nor, for the
place of its peak, a positive factor: the exported head is shifted and scaled so that its maps are positive with peaks near
1, which is what mmpose's decoders and scores expect.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from cache.skeletons import get_skeleton
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset, DatasetError
from stages.extract.detector_error import detector_error
from stages.extract.detectors.hrnet import (
    HEATMAP_STRIDE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    build_hrnet_config,
)
from stages.extract.detectors.mmpose_topdown import (
    MmposeTopdown,
    build_pose_estimator,
    load_config,
    load_weights,
)
from stages.extract.loading import Loader
from stages.extract.training_crops import AugmentConfig, TrainingCrop, TrainingCrops
from stages.extract.training_state import Average, TrainingState, save_weights

Progress = Callable[[dict[str, Any]], None]
WEIGHTS_NAME = "weights.safetensors"
CONFIG_NAME = "detector.json"
METRICS_NAME = "metrics.json"
_NUM_CALIBRATION_CROPS = 64


class NetworkConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Size of the narrow HRNet."""

    base_channels: PositiveInt = 16
    """Channels of the finest branch; 32, 64 and 128 follow."""
    stem_channels: PositiveInt = 32
    """Channels after the first convolution; 64 is mmpose's own HRNet."""
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
    """Ends the schedule after this time if that comes first; the learning rate falls accordingly."""
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
    """Weights to start from (.safetensors or .pth)."""
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


_SCHEDULE_KEYS = {
    "steps", "max_minutes", "workers", "threads", "log_every", "eval_every", "eval_rows", "checkpoint_minutes",
}  # fmt: skip


def train_detector(
    train: Dataset,
    validation: Dataset | None,
    config: TrainDetectorConfig,
    out_dir: Path,
    *,
    train_rows: Sequence[int] | None = None,
    validation_rows: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and write `weights.safetensors`, `detector.json` (an mmpose config), `metrics.json` and `log.jsonl`.

    A killed run continues from its last state when called again with the same `config` and `out_dir`.

    Args:
        train: data set to learn from.
        validation: data set to measure on; None measures nothing.
        config: how to train.
        out_dir: created if needed.
        train_rows: rows of `train`; None takes its split `train`.
        validation_rows: rows of `validation`; None takes its split `validation`.
        progress: called with every log record.

    Returns:
        What `metrics.json` holds.

    Raises:
        DetectorError: `out_dir` holds the state of another configuration, or `init` does not fit.
        DatasetError: no training rows.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    skeleton = get_skeleton(train.plan().skeleton)
    network = config.network.model_dump()
    model_config = build_hrnet_config(skeleton, input_size=config.crop.input_size, **network)
    torch.manual_seed(config.seed)
    model = build_pose_estimator(load_config(model_config))
    initialise(model)
    if config.init is not None:
        load_weights(model, Path(config.init))
    model.to(memory_format=torch.channels_last)
    rows = _rows_of(train, "train") if train_rows is None else list(train_rows)
    task = TrainingCrops(train, rows, config.crop, config.augment, config.crops_per_picture)
    if not task.rows:
        raise DatasetError(
            f"Data set {train.name} has no usable training rows (of {len(rows)} asked for)."
        )
    if validation is not None:
        split_rows = (
            _rows_of(validation, "validation") if validation_rows is None else list(validation_rows)
        )
    else:
        split_rows = []
    report = _Reporter(out_dir / "log.jsonl", progress)
    optimiser = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
    frozen = {k: v for k, v in config.model_dump(mode="json").items() if k not in _SCHEDULE_KEYS}
    state = TrainingState(
        out_dir / "state.pt", model, optimiser, Average(model, config.ema), frozen
    )
    if not state.resume():
        (out_dir / CONFIG_NAME).write_text(json.dumps(model_config, indent=1))

    def export(num_rows: int) -> dict[str, Any]:
        save_weights(_exported(model_config, state.average, task), out_dir / WEIGHTS_NAME)
        if validation is None or not split_rows:
            return {}
        detector = MmposeTopdown(
            out_dir / CONFIG_NAME, out_dir / WEIGHTS_NAME, threads=config.threads
        )
        chosen = _spaced(split_rows, num_rows)
        errors = detector_error(
            validation, detector, chosen, crop=config.crop, workers=config.workers
        )
        return {name: asdict(error) for name, error in errors.items()}

    began = time.monotonic() - state.seconds
    last_saved = time.monotonic()
    with Loader(
        task, workers=config.workers, processes=train.cpu_bound and config.workers > 0
    ) as loader:
        batches = _batches(loader, task.rows, config, state.step)
        while True:
            done = _progress(state.step, time.monotonic() - began, config)
            if done >= 1:
                break
            waited = time.monotonic()
            crops = next(batches)
            waited = time.monotonic() - waited
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _schedule(done, config.warmup)
            loss = _step(model, optimiser, crops, config)
            state.step += 1
            state.average.update(model, state.step)
            state.seconds = time.monotonic() - began
            report.step(state, loss, waited, len(crops), config.log_every)
            if state.step % config.eval_every == 0:
                report.write({"step": state.step, "validation": export(config.eval_rows)})
            if time.monotonic() - last_saved > 60 * config.checkpoint_minutes:
                state.save()
                last_saved = time.monotonic()
    state.seconds = time.monotonic() - began
    state.save()
    metrics = {
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "train_rows": len(task.rows),
        "validation": export(4 * config.eval_rows),
    }
    (out_dir / METRICS_NAME).write_text(json.dumps(metrics, indent=1))
    report.write({"step": state.step, "finished": True, "validation": metrics["validation"]})
    return metrics


def heatmap_loss(logits: Tensor, joints_crop_px: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Return the weighted mean cross-entropy between spatial softmax and a normalised Gaussian.

    Args:
        logits: [B, J, H, W].
        joints_crop_px: [B, J, 2].
        weights: [B, J].
        sigma: in cells of the map.
    """
    height, width = logits.shape[-2:]
    centres = joints_crop_px / HEATMAP_STRIDE
    across = torch.arange(width, dtype=logits.dtype, device=logits.device)
    down = torch.arange(height, dtype=logits.dtype, device=logits.device)
    # softmax of the exponent: a Gaussian that sums to 1 however much of it lies outside
    along_x = torch.softmax(
        -((across - centres[..., :1]) ** 2) / (2 * sigma**2), dim=-1
    )  # [B, J, W]
    along_y = torch.softmax(-((down - centres[..., 1:]) ** 2) / (2 * sigma**2), dim=-1)  # [B, J, H]
    expected = torch.einsum("bjhw,bjh,bjw->bj", logits, along_y, along_x)
    loss = torch.logsumexp(logits.flatten(2), dim=-1) - expected
    return (loss * weights).sum() / weights.sum().clamp(min=1.0)


def initialise(model: nn.Module) -> None:
    """Start convolutions from Kaiming-normal weights (mmpose leaves a randomly built HRNet at torch's defaults)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.head.final_layer.weight, std=0.01)  # type: ignore[union-attr, arg-type]


def _step(
    model: Any,
    optimiser: torch.optim.Optimizer,
    crops: list[TrainingCrop],
    config: TrainDetectorConfig,
) -> float:
    model.train()
    inputs = _normalised(np.stack([crop.crop for crop in crops]))
    joints = torch.from_numpy(np.stack([crop.joints_crop_px for crop in crops]))
    weights = torch.from_numpy(np.stack([crop.weights for crop in crops]))
    logits = model.head(model.backbone(inputs))
    loss = heatmap_loss(logits, joints, weights, config.network.sigma)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimiser.step()
    return float(loss.detach())


def _normalised(crops: NDArray[np.uint8]) -> Tensor:
    pixels = torch.from_numpy(crops).float()
    return ((pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)).permute(0, 3, 1, 2)


def _batches(
    loader: Loader[tuple[int, int], list[TrainingCrop]],
    rows: Sequence[int],
    config: TrainDetectorConfig,
    start_step: int,
) -> Iterator[list[TrainingCrop]]:
    pictures = -(-config.batch_size // config.crops_per_picture)
    items = _order(rows, config.seed, start_step * pictures)
    batch: list[TrainingCrop] = []
    for crops in loader.map(items):
        batch.extend(crops)
        if len(batch) >= config.batch_size:
            yield batch[: config.batch_size]
            batch = batch[config.batch_size :]


def _order(rows: Sequence[int], seed: int, skip: int) -> Iterator[tuple[int, int]]:
    for epoch in itertools.count(skip // len(rows)):
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        begin = skip % len(rows) if epoch == skip // len(rows) else 0
        yield from ((rows[i], epoch) for i in order[begin:])


def _progress(step: int, seconds: float, config: TrainDetectorConfig) -> float:
    by_time = 0.0 if config.max_minutes is None else seconds / (60 * config.max_minutes)
    return max(step / config.steps, by_time)


def _schedule(done: float, warmup: float) -> float:
    if done < warmup:
        return 0.05 + 0.95 * done / warmup
    return 0.001 + 0.999 * 0.5 * (1 + float(np.cos(np.pi * (done - warmup) / (1 - warmup))))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


@torch.inference_mode()
def _exported(
    model_config: dict[str, Any], average: Average, task: TrainingCrops
) -> dict[str, Tensor]:
    model = build_pose_estimator(load_config(model_config))
    model.load_state_dict(average.state)
    model.eval()
    rows = _spaced(task.rows, _NUM_CALIBRATION_CROPS)
    samples = [sample for row in rows for sample in task((row, 0))[:1]]
    maps = model.head(model.backbone(_normalised(np.stack([sample.crop for sample in samples]))))
    head = model.head.final_layer
    flat = maps.transpose(0, 1).flatten(1)
    floor = flat.min(dim=1).values
    peak = maps.flatten(2).max(dim=2).values.median(dim=0).values
    # Twice the range below the floor, so that no picture makes a map negative; log is nearly linear up there.
    span = 3 * (peak - floor)
    head.weight.mul_(1 / span[:, None, None, None])
    head.bias.copy_((head.bias - peak) / span + 1)
    return {name: value.clone().contiguous() for name, value in model.state_dict().items()}


class _Reporter:
    """Writes log records to a file and to the caller."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._path = path
        self._progress = progress
        self._losses: list[float] = []
        self._waited = 0.0
        self._since = time.monotonic()
        self._crops = 0

    def step(
        self, state: TrainingState, loss: float, waited: float, num_crops: int, every: int
    ) -> None:
        self._losses.append(loss)
        self._waited += waited
        self._crops += num_crops
        if state.step % every:
            return
        seconds = time.monotonic() - self._since
        self.write(
            {
                "step": state.step,
                "seconds": round(state.seconds, 1),
                "loss": round(float(np.mean(self._losses)), 4),
                "crops_per_s": round(self._crops / seconds, 1),
                "waiting": round(self._waited / seconds, 3),
            }
        )
        self._losses, self._waited, self._crops = [], 0.0, 0
        self._since = time.monotonic()

    def write(self, record: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._progress is not None:
            self._progress(record)


def _rows_of(dataset: Dataset, split: str) -> list[int]:
    column = dataset.plan().index["split"]
    vocabulary = column.vocabulary or ()
    if split not in vocabulary:
        return []
    return [int(row) for row in np.flatnonzero(column.codes == vocabulary.index(split))]


def _spaced(rows: Sequence[int], count: int) -> list[int]:
    positions = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    return [rows[i] for i in positions]
