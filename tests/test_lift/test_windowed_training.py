"""Lifters of windows, and those of keypoints only, from a store to metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tests
from cache import CacheReader
from lifter import LIFTERS, Lifter
from lifter.config import LifterConfig
from stages.lift import (
    EvaluateConfig,
    TrainConfig,
    TrainProgress,
    evaluate_run,
    load_run,
    train,
)
from stages.lift.feed.batches import LiftData
from stages.lift.feed.levels import level_names
from stages.lift.feed.windows import windowing_of
from stages.lift.runs.checkpoints import build_model
from stages.lift.runs.identity import describe
from stages.lift.runs.rundir import STATE_FILE, read_log
from tests.test_lift import killed_run
from tests.test_lift.killed_run import CONFIG, WINDOWED
from tests.test_lift.windows_by_hand import write_gappy

KEYPOINTS_ONLY = ("simple_baseline", "videopose3d", "poseformer", "mixste")
SHORT = TrainConfig(epochs=4, batch_size=23, lr=2e-3, weight_decay=0.01, seed=1)
FILES = ("best.safetensors", "last.safetensors", "run.json")


def small(name: str, **changes: Any) -> LifterConfig:
    kind = LIFTERS[name]
    sizes: dict[str, Any] = {
        "width": 16,
        "depth": 2,
        "num_heads": 2,
        "deform_heads": 2,
        "token_width": 8 if name in {"capf_temporal", "poseformer", "mixste"} else None,
        "num_frames": 3 if kind.reads_windows else 1,
        "drop_path": 0.1,
    }
    return LifterConfig(name=name, **{**sizes, **changes})


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_gappy(tmp_path_factory.mktemp("stores") / "gappy.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYPOINTS_ONLY)
def test_from_a_store_to_metrics(name: str, store: CacheReader, tmp_path: Path) -> None:
    # 24 rows: the second batch of every epoch has one.
    summary = train(SHORT, small(name), store, tmp_path / "run")
    losses = [entry["loss_mm"] for entry in read_log(tmp_path / "run")]
    assert losses[-1] < losses[0]
    assert summary.best_mpjpe_mm is not None
    found = evaluate_run(tmp_path / "run", store, EvaluateConfig(flip_average=False))
    validation = found["validation"].metrics["frame_wise"]
    assert validation["mpjpe_mm"] == pytest.approx(summary.best_mpjpe_mm, rel=1e-6)
    assert found["test"].metrics["num_frames"] == 8
    assert load_run(tmp_path / "run").level_names == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KEYPOINTS_ONLY, "capf_temporal"])
def test_stores_with_gaps_train_and_every_complete_frame_is_evaluated(
    name: str, gappy: CacheReader, tmp_path: Path
) -> None:
    kind = LIFTERS[name]
    config = small(name, num_frames=9 if kind.reads_windows else 1)
    train(SHORT.model_copy(update={"epochs": 1}), config, gappy, tmp_path / "run")
    found = evaluate_run(tmp_path / "run", gappy)["test"]
    assert found.rows.tolist() == [35, 36, 37, 39, 41, 42, 43, 44, 45, 46, 47]


@pytest.mark.slow
def test_where_the_maps_are_does_not_change_the_weights_of_windows(
    gappy: CacheReader, tmp_path: Path
) -> None:
    weights = []
    for residency, threads in (("disk", 1), ("host", 3)):
        changes = {"residency": residency, "loader_threads": threads, "epochs": 2}
        config = SHORT.model_copy(update=changes)
        train(config, small("capf_temporal", depth=1), gappy, tmp_path / residency)
        weights.append((tmp_path / residency / "last.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_compressed_store_trains_windows_and_answers_as_the_other(
    store: CacheReader, compressed: CacheReader, tmp_path: Path
) -> None:
    config = SHORT.model_copy(update={"epochs": 1})
    train(config, small("capf_temporal"), compressed, tmp_path / "run")
    only = EvaluateConfig(splits=("test",))
    found, expected = (
        evaluate_run(tmp_path / "run", reader, only)["test"] for reader in (compressed, store)
    )
    np.testing.assert_array_equal(found.predicted_mm, expected.predicted_mm)


@pytest.mark.parametrize("name", [*KEYPOINTS_ONLY, "capf_temporal"])
def test_a_process_without_a_sample_adds_nothing(name: str, store: CacheReader) -> None:
    config = small(name)
    data = LiftData(
        store,
        "train",
        config=CONFIG.data,
        level_names=level_names(config, store),
        flipped=True,
        windowing=windowing_of(config, CONFIG.data),
    )
    model = build_model(config, describe(store, CONFIG.data, data.level_names))
    assert isinstance(model, Lifter)
    batch = data.maker.blank_batch()
    loss = model.loss(batch.lifted_by(model), batch.target_m, batch.valid)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


class Stopped(Exception):
    pass


def stop_in_epoch_3(progress: TrainProgress) -> None:
    if progress.epoch == 3:
        raise Stopped


@pytest.mark.parametrize(
    "name", ["videopose3d", pytest.param("capf_temporal", marks=pytest.mark.slow)]
)
def test_a_stopped_run_of_windows_ends_bit_identical(
    name: str, store: CacheReader, tmp_path: Path
) -> None:
    # With an average of weights, which averages the statistics of batch norms, too.
    train(CONFIG, WINDOWED[name], store, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(CONFIG, WINDOWED[name], store, tmp_path / "stopped", progress=stop_in_epoch_3)
    assert train(CONFIG, WINDOWED[name], store, tmp_path / "stopped").resumed_from == 2
    for file in FILES:
        found, expected = ((tmp_path / run / file).read_bytes() for run in ("stopped", "whole"))
        assert found == expected, file


@pytest.mark.slow
def test_the_comparison_of_weights_notices_statistics_that_were_forgotten(
    store: CacheReader, tmp_path: Path
) -> None:
    lifter = WINDOWED["videopose3d"]
    for name in ("whole", "forgetful"):
        with pytest.raises(Stopped):
            train(CONFIG, lifter, store, tmp_path / name, progress=stop_in_epoch_3)
    path = tmp_path / "forgetful" / STATE_FILE
    state = torch.load(path, weights_only=True)
    for key, tensor in state["model"].items():
        if key.endswith("running_mean"):
            tensor.zero_()
    torch.save(state, path)
    for name in ("whole", "forgetful"):
        train(CONFIG, lifter, store, tmp_path / name)
    weights = [(tmp_path / n / "last.safetensors").read_bytes() for n in ("whole", "forgetful")]
    assert weights[0] != weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", WINDOWED)
def test_a_killed_run_of_windows_ends_bit_identical(
    name: str, store: CacheReader, tmp_path: Path
) -> None:
    train(CONFIG, WINDOWED[name], store, tmp_path / "whole")
    root = Path(tests.__file__).parent.parent
    for moment in ("epoch 2 before its state", "in the middle of a state"):
        ended = subprocess.run(
            [
                sys.executable,
                killed_run.__file__,
                store.locations[0],
                str(tmp_path / "killed"),
                moment,
                name,
            ],
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    train(CONFIG, WINDOWED[name], store, tmp_path / "killed")
    for file in FILES:
        found, expected = ((tmp_path / run / file).read_bytes() for run in ("killed", "whole"))
        assert found == expected, file
