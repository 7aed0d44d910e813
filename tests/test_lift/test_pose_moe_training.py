"""The experts and their control from a store to metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache import CacheReader
from lifter.config import LifterConfig
from stages.lift import EvaluateConfig, TrainConfig, evaluate_run, load_run, train
from stages.lift.runs.rundir import read_log
from tests.test_lift.stores import write_store

SMALL = LifterConfig(
    name="pose_moe", width=16, depth=1, num_heads=2, deform_heads=2, num_frames=3, drop_path=0.0
)
SHORT = TrainConfig(epochs=3, batch_size=8, lr=2e-3, seed=1)
KINDS = ("pose_moe", "pose_moe_entangled", "pose_moe_context")


def named(name: str) -> LifterConfig:
    return SMALL.model_copy(update={"name": name})


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_from_a_store_to_metrics(name: str, store: CacheReader, tmp_path: Path) -> None:
    summary = train(SHORT, named(name), store, tmp_path / "run")
    losses = [entry["loss_mm"] for entry in read_log(tmp_path / "run")]
    assert losses[-1] < 0.9 * losses[0]
    assert summary.best_mpjpe_mm is not None
    found = evaluate_run(tmp_path / "run", store, EvaluateConfig(flip_average=False))
    validation = found["validation"].metrics["frame_wise"]
    assert validation["mpjpe_mm"] == pytest.approx(summary.best_mpjpe_mm, rel=1e-6)
    assert bool(load_run(tmp_path / "run").level_names) == (name == "pose_moe_context")


@pytest.mark.slow
def test_noise_of_equal_seeds_gives_equal_weights(store: CacheReader, tmp_path: Path) -> None:
    config = SHORT.model_copy(update={"epochs": 1})
    for folder in ("a", "b"):
        train(config, SMALL, store, tmp_path / folder)
    other = config.model_copy(update={"seed": 2})
    train(other, SMALL, store, tmp_path / "c")
    weights = [(tmp_path / folder / "last.safetensors").read_bytes() for folder in "abc"]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pose_moe", "pose_moe_entangled"])
def test_a_few_windows_are_learned_by_heart(name: str, tmp_path: Path) -> None:
    reader = write_store(tmp_path / "few.zarr", {"train": 8})
    config = TrainConfig.model_validate(
        {
            "epochs": 150,
            "batch_size": 8,
            "lr": 4e-3,
            "schedule": "cosine",
            "weight_decay": 0.0,
            "select": "last",
            "save_every": 150,
            "flip": False,
            "data": {"keypoint_source": "gt"},
        }
    )
    lifter = named(name).model_copy(update={"width": 32})
    train(config, lifter, reader, tmp_path / "run")
    losses = [entry["loss_mm"] for entry in read_log(tmp_path / "run")]
    assert losses[-1] < 0.3 * losses[0]
