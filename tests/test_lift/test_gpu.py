"""Training on a CUDA device: nothing in a step makes the host wait."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import CacheReader
from lifter.config import LifterConfig
from stages.lift import TrainConfig, train
from stages.lift.feed.batches import LiftData
from stages.lift.feed.transfer import on_device
from stages.lift.fit.averages import WeightAverage
from stages.lift.fit.optimizer import build_optimizer
from stages.lift.fit.step import SEND_EVERY_STEPS, TrainStep
from stages.lift.runs.checkpoints import build_model
from stages.lift.runs.identity import describe
from stages.lift.runs.rundir import read_log
from stages.lift.runs.state import TrainState

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CAPF = LifterConfig(
    name="capf",
    width=16,
    depth=1,
    num_heads=2,
    deform_heads=2,
    num_points=2,
    context_dropout=0.1,
    reference_rule="geometric",
)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_no_step_waits_for_the_device(store: CacheReader, precision: str) -> None:
    device = torch.device("cuda")
    config = TrainConfig.model_validate(
        {"batch_size": 8, "grad_clip": 1.0, "ema": 0.99, "precision": precision}
    )
    names = tuple(store.levels)
    data = LiftData(
        store, "train", config=config.data, level_names=names, flipped=True, device=device
    )
    data.hold_maps(device, report=lambda _: None)
    model = build_model(CAPF, describe(store, config.data, names)).to(device).train()
    state = TrainState(model, build_optimizer(model, config), WeightAverage(model, decay=0.99))
    step = TrainStep(state, config, device, all_valid=False)
    batches = data.training_batches(batch_size=8, rng=np.random.default_rng(0))
    for number in range(3):  # compiles kernels, allocates the optimiser's state
        step(batches[number].to(device), step=number, lr=1e-3)
    prepared = [batches[number % len(batches)] for number in range(2 * SEND_EVERY_STEPS)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, batch in enumerate(on_device(prepared, device), start=3):
            step(batch, step=number, lr=1e-3)
            step.seen()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.finished().failed_step is None
    time.sleep(0.1)
    assert step.seen().num_samples > 0


@pytest.mark.parametrize("residency", ["disk", "host", "device"])
def test_a_run_on_a_gpu_follows_one_on_the_cpu(
    store: CacheReader, tmp_path: Path, residency: str
) -> None:
    plain = CAPF.model_copy(update={"context_dropout": 0.0, "drop_path": 0.0})
    losses: dict[str, list[Any]] = {}
    for device in ("cpu", "cuda"):
        config = TrainConfig.model_validate(
            {"epochs": 3, "batch_size": 8, "device": device, "residency": residency}
        )
        train(config, plain, store, tmp_path / device)
        losses[device] = [entry["loss_mm"] for entry in read_log(tmp_path / device)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)
