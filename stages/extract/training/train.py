"""Train a narrow HRNet to find joints, from scratch, on any dataset of stage 1.

The loss is the cross-entropy between the softmax over all pixels of a heatmap and a normalised
Gaussian: per-pixel squared errors stay at the all-zero solution for hundreds of steps.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cache.skeletons import get_skeleton
from stages.devices import use_device
from stages.extract.datasets.base import Dataset, DatasetError
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.mmpose.config import load_config
from stages.extract.detectors.mmpose.hrnet import build_hrnet_config
from stages.extract.detectors.mmpose.network import build_pose_estimator
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from stages.extract.loading import Loader
from stages.extract.training.config import NetworkConfig, TrainDetectorConfig
from stages.extract.training.crops import TrainingCrop, TrainingCrops
from stages.extract.training.error import detector_error
from stages.extract.training.heatmaps import (
    decodable_state,
    heatmap_loss,
    initialise,
    normalised,
    rescale_head,
)
from stages.extract.training.log import Progress, TrainingLog
from stages.extract.training.state import Average, TrainingState, save_weights

__all__ = [
    "CONFIG_NAME",
    "METRICS_NAME",
    "WEIGHTS_NAME",
    "NetworkConfig",
    "TrainDetectorConfig",
    "train_detector",
]

WEIGHTS_NAME = "weights.safetensors"
CONFIG_NAME = "detector.json"
METRICS_NAME = "metrics.json"
_NUM_CALIBRATION_CROPS = 64


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
    """Train a detector and return what `metrics.json` holds.

    `out_dir` receives `weights.safetensors`, `detector.json` (an mmpose config), `metrics.json`,
    `log.jsonl` and a resumable state. A killed run goes on from there when called again with the
    same `config` and `out_dir`.

    Args:
        train: dataset to learn from.
        validation: dataset to measure on; None measures nothing.
        config: how to train.
        out_dir: created if needed.
        train_rows: rows of `train`; None takes its split `train`.
        validation_rows: rows of `validation`; None takes its split `validation`.
        progress: called with every log record.

    Raises:
        DeviceError: no such device here.
        DetectorError: `out_dir` holds the state of another configuration, or `init` does not fit.
        DatasetError: no training rows.
    """
    device = use_device(config.device)
    out_dir.mkdir(parents=True, exist_ok=True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rows = rows_of_split(train, "train") if train_rows is None else train_rows
    task = TrainingCrops(train, rows, config.crop, config.augment, config.crops_per_picture)
    if not task.rows:
        raise DatasetError(f"Dataset {train.name} has no usable row among {len(rows)} to train on.")
    model_config = build_hrnet_config(
        get_skeleton(train.plan().skeleton),
        input_size=config.crop.input_size,
        **config.network.model_dump(),
    )
    torch.manual_seed(config.seed)
    model = build_pose_estimator(load_config(model_config))
    initialise(model)
    if config.init is not None:
        load_weights(model, Path(config.init))
        rescale_head(model, *_tensors(_calibration_samples(task)), config.network.sigma)
    model.to(device=device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
    average = Average(model, config.ema)
    state = TrainingState(out_dir / "state.pt", model, optimiser, average, config.decisive())
    if not state.resume():
        (out_dir / CONFIG_NAME).write_text(json.dumps(model_config, indent=1))
    log = TrainingLog(out_dir / "log.jsonl", progress)

    def export(num_rows: int) -> dict[str, Any]:
        calibration = np.stack([sample.crop for sample in _calibration_samples(task)])
        averaged = {name: value.cpu() for name, value in state.average.state.items()}
        weights = decodable_state(model_config, averaged, calibration)
        save_weights(weights, out_dir / WEIGHTS_NAME)
        return _validate(validation, validation_rows, config, out_dir, num_rows)

    processes = train.cpu_bound and config.workers > 0
    with Loader(task, workers=config.workers, processes=processes) as loader:
        batches = _batches(loader, task.rows, config, state.step)
        began = saved = time.monotonic()
        before = state.seconds
        while (done := _share_done(state.step, state.seconds, config)) < 1:
            asked = time.monotonic()
            crops = next(batches)
            waited = time.monotonic() - asked
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _schedule(done, config.warmup)
            loss = _step(model, optimiser, crops, config)
            state.step += 1
            state.average.update(model, state.step)
            state.seconds = before + time.monotonic() - began
            log.count(state.step, state.seconds, loss, waited, len(crops), config.log_every)
            if state.step % config.eval_every == 0:
                log.write({"step": state.step, "validation": export(config.eval_rows)})
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                state.save()
                saved = time.monotonic()
    state.save()
    metrics = {
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_rows": len(task.rows),
        "validation": export(4 * config.eval_rows),
    }
    (out_dir / METRICS_NAME).write_text(json.dumps(metrics, indent=1))
    log.write({"step": state.step, "finished": True, "validation": metrics["validation"]})
    return metrics


def rows_of_split(dataset: Dataset, split: str) -> list[int]:
    """Return the rows of a split, none where the dataset does not have it."""
    column = dataset.plan().index["split"]
    if split not in (column.vocabulary or ()):
        return []
    return [int(row) for row in column.rows_of(split)]


def _validate(
    validation: Dataset | None,
    rows: Sequence[int] | None,
    config: TrainDetectorConfig,
    folder: Path,
    num_rows: int,
) -> dict[str, Any]:
    if validation is None:
        return {}
    rows = rows_of_split(validation, "validation") if rows is None else rows
    if not rows:
        return {}
    detector = MmposeTopdown(
        folder / CONFIG_NAME, folder / WEIGHTS_NAME, threads=config.threads, device=config.device
    )
    errors = detector_error(
        validation,
        detector,
        _spaced(rows, num_rows),
        crop=config.crop,
        workers=config.workers,
    )
    return {name: asdict(error) for name, error in errors.items()}


def _step(
    model: Any,
    optimiser: torch.optim.Optimizer,
    crops: list[TrainingCrop],
    config: TrainDetectorConfig,
) -> float:
    model.train()
    inputs, joints, weights = (tensor.to(config.device) for tensor in _tensors(crops))
    logits = model.head(model.backbone(inputs))
    loss = heatmap_loss(logits, joints, weights, config.network.sigma)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimiser.step()
    return float(loss.detach())


def _tensors(crops: Sequence[TrainingCrop]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs [B, 3, H, W], joints [B, J, 2] in crop px and weights [B, J]."""
    return (
        normalised(np.stack([crop.crop for crop in crops])),
        torch.from_numpy(np.stack([crop.joints_crop_px for crop in crops])),
        torch.from_numpy(np.stack([crop.weights for crop in crops])),
    )


def _calibration_samples(task: TrainingCrops) -> list[TrainingCrop]:
    samples = [task((row, 0)) for row in _spaced(task.rows, _NUM_CALIBRATION_CROPS)]
    return [crops[0] for crops in samples if crops]


def _batches(
    loader: Loader[tuple[int, int], list[TrainingCrop]],
    rows: Sequence[int],
    config: TrainDetectorConfig,
    start_step: int,
) -> Iterator[list[TrainingCrop]]:
    pictures = -(-config.batch_size // config.crops_per_picture)
    batch: list[TrainingCrop] = []
    empty = 0
    for crops in loader.map(_order(rows, config.seed, start_step * pictures)):
        empty = 0 if crops else empty + 1
        if empty > len(rows):
            raise DatasetError("No picture of the training rows can be read.")
        batch.extend(crops)
        if len(batch) >= config.batch_size:
            yield batch[: config.batch_size]
            batch = batch[config.batch_size :]


def _order(rows: Sequence[int], seed: int, skip: int) -> Iterator[tuple[int, int]]:
    for epoch in itertools.count(skip // len(rows)):
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        begin = skip % len(rows) if epoch == skip // len(rows) else 0
        yield from ((rows[i], epoch) for i in order[begin:])


def _share_done(step: int, seconds: float, config: TrainDetectorConfig) -> float:
    by_time = 0.0 if config.max_minutes is None else seconds / (60 * config.max_minutes)
    return max(step / config.steps, by_time)


def _schedule(done: float, warmup: float) -> float:
    if done < warmup:
        return 0.05 + 0.95 * done / warmup
    return 0.001 + 0.999 * 0.5 * (1 + float(np.cos(np.pi * (done - warmup) / (1 - warmup))))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def _spaced(rows: Sequence[int], count: int) -> list[int]:
    positions = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return [rows[i] for i in np.unique(positions)]
