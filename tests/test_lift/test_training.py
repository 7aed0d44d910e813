from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import CacheReader
from lifter.config import LifterConfig
from stages.lift import (
    DataConfig,
    EmptySplit,
    EvaluateConfig,
    LiftError,
    NotFiniteLoss,
    RunMismatch,
    TrainConfig,
    TrainProgress,
    evaluate_run,
    load_run,
    train,
)
from stages.lift.fit.averages import WeightAverage
from stages.lift.runs.rundir import open_run, read_log
from tests.test_lift.stores import build_plan, write_store

CAPF = LifterConfig(
    name="capf", width=16, depth=1, num_heads=2, deform_heads=2, num_points=2, drop_path=0.1
)
POSE_ONLY = CAPF.model_copy(update={"name": "pose_only"})
SHORT = TrainConfig(epochs=3, batch_size=8, lr=1e-3, seed=1)


def configured(**options: object) -> TrainConfig:
    return TrainConfig.model_validate(SHORT.model_dump() | options)


@pytest.mark.parametrize("lifter", [POSE_ONLY, CAPF], ids=["pose_only", "capf"])
def test_a_lifter_learns_a_handful_of_frames_by_heart(tmp_path: Path, lifter: LifterConfig) -> None:
    reader = write_store(tmp_path / "few.zarr", {"train": 2})
    config = configured(
        epochs=150,
        batch_size=2,
        lr=3e-3,
        select="last",
        save_every=150,
        flip=False,
        weight_decay=0.0,
        schedule="cosine",
        data={"keypoint_source": "gt"},
    )
    fast = lifter.model_copy(update={"drop_path": 0.0})
    train(config, fast, reader, tmp_path / "run")
    losses = [entry["loss_mm"] for entry in read_log(tmp_path / "run")]
    assert losses[0] > 1000.0
    assert losses[-1] < 170.0  # half of what the mean of the two poses would leave


def test_equal_arguments_give_equal_bytes(store: CacheReader, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(SHORT, CAPF, store, tmp_path / name)
    for file in ("best.safetensors", "last.safetensors", "run.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    train(configured(seed=2), CAPF, store, tmp_path / "c")
    last = "last.safetensors"
    assert (tmp_path / "a" / last).read_bytes() != (tmp_path / "c" / last).read_bytes()


def test_training_leaves_threads_and_random_state_of_the_caller_alone(
    store: CacheReader, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(configured(epochs=1, threads=2), POSE_ONLY, store, tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1


def test_a_finished_run_is_up_to_date_and_stays_as_it_is(
    store: CacheReader, tmp_path: Path
) -> None:
    first = train(SHORT, POSE_ONLY, store, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = train(SHORT, POSE_ONLY, store, tmp_path)
    assert (first.up_to_date, second.up_to_date) == (False, True)
    assert second.best_epoch == first.best_epoch
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {n for n in after if after[n] != before[n]} <= {".lock"}


def test_another_configuration_in_the_same_directory_is_refused_by_name(
    store: CacheReader, tmp_path: Path
) -> None:
    train(configured(epochs=1), POSE_ONLY, store, tmp_path)
    with pytest.raises(RunMismatch, match=r"train\.lr: .*0\.001.*0\.002"):
        train(configured(epochs=1, lr=2e-3), POSE_ONLY, store, tmp_path)
    with pytest.raises(RunMismatch, match=r"lifter\.name"):
        train(configured(epochs=1), CAPF, store, tmp_path)


def test_two_processes_do_not_train_in_one_directory(store: CacheReader, tmp_path: Path) -> None:
    with open_run(tmp_path), pytest.raises(RunMismatch, match="Another process is training"):
        train(SHORT, POSE_ONLY, store, tmp_path)


def test_the_best_epoch_is_that_of_the_validation_split(store: CacheReader, tmp_path: Path) -> None:
    summary = train(configured(epochs=6, lr=1e-2), CAPF, store, tmp_path)
    log = read_log(tmp_path)
    errors = [entry["validation_mpjpe_mm"] for entry in log]
    assert summary.best_epoch == int(np.argmin(errors)) + 1
    assert summary.best_mpjpe_mm == min(errors)
    run = load_run(tmp_path)
    assert run.epoch == summary.best_epoch
    metrics = evaluate_run(run, store, EvaluateConfig(flip_average=False))["validation"].metrics
    assert metrics["frame_wise"]["mpjpe_mm"] == pytest.approx(summary.best_mpjpe_mm, rel=1e-5)


def test_labels_of_test_splits_cannot_influence_training(tmp_path: Path) -> None:
    splits = {"train": 16, "validation": 8, "test": 8}
    plan, spoilt = build_plan(splits), build_plan(splits)
    spoilt.joints_3d_mm[24:] += 1000.0 * np.arange(17)[:, None]
    weights = []
    for name, rows in (("plain", plan), ("spoilt", spoilt)):
        reader = write_store(tmp_path / f"{name}.zarr", plan=rows)
        train(SHORT, CAPF, reader, tmp_path / name)
        weights.append((tmp_path / name / "best.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_training_or_choosing_on_a_test_split_is_refused(
    store: CacheReader, tmp_path: Path
) -> None:
    for option in ("train_split", "validation_split"):
        config = configured(data={option: "test_new_cameras"})
        with pytest.raises(LiftError, match="'test_new_cameras' is a test split"):
            train(config, POSE_ONLY, store, tmp_path)


def test_a_store_without_validation_needs_the_last_epoch_to_be_asked_for(tmp_path: Path) -> None:
    reader = write_store(tmp_path / "train.zarr", {"train": 8})
    with pytest.raises(EmptySplit, match=r"has train\. .*train\.select=last"):
        train(SHORT, POSE_ONLY, reader, tmp_path / "run")
    summary = train(configured(select="last"), POSE_ONLY, reader, tmp_path / "run")
    assert (summary.best_epoch, summary.best_mpjpe_mm) == (3, None)
    assert load_run(tmp_path / "run").epoch == 3


def test_maps_that_are_not_finite_stop_training_and_are_named(
    store: CacheReader, tmp_path: Path
) -> None:
    class Spoilt(CacheReader):
        def read(self, rows: Any, **options: Any) -> dict[str, Any]:
            maps = super().read(rows, **options)
            maps["x8"][np.asarray(rows) == 11, 3, 2, 1] = np.nan
            return maps

    reader = Spoilt(store.locations)
    with pytest.raises(NotFiniteLoss, match=r"loss became nan in epoch 1.*store rows \[11\]"):
        train(SHORT, CAPF, reader, tmp_path / "run")


def test_a_diverging_loss_stops_training_and_keeps_the_last_state(
    store: CacheReader, tmp_path: Path
) -> None:
    config = configured(epochs=50, lr=1e30)
    with pytest.raises(NotFiniteLoss, match=r"Lower train\.lr \(now 1\.00e\+30\)"):
        train(config, POSE_ONLY, store, tmp_path)


def test_a_learning_rate_factor_that_reaches_no_parameter_is_refused(
    store: CacheReader, tmp_path: Path
) -> None:
    with pytest.raises(LiftError, match="names the groups sampling_ofsets, but this lifter has"):
        train(configured(lr_scales={"sampling_ofsets": 0.1}), CAPF, store, tmp_path)


def test_a_factor_of_zero_freezes_its_group_and_only_that(
    store: CacheReader, tmp_path: Path
) -> None:
    base = configured(weight_decay=0.0)
    train(configured(weight_decay=0.0, epochs=1, lr=1e-30), CAPF, store, tmp_path / "start")
    train(
        base.model_copy(update={"lr_scales": {"sampling_offsets": 0.0}}),
        CAPF,
        store,
        tmp_path / "frozen",
    )
    start = load_run(tmp_path / "start", weights="last").model.state_dict()
    frozen = load_run(tmp_path / "frozen", weights="last").model.state_dict()
    same = {name for name in start if torch.allclose(start[name], frozen[name], atol=1e-20)}
    assert same
    assert all("offset" in name for name in same)


def test_steps_become_whole_epochs(store: CacheReader, tmp_path: Path) -> None:
    summary = train(configured(steps=7), POSE_ONLY, store, tmp_path)  # 3 steps per epoch
    assert summary.num_epochs == 3
    assert read_log(tmp_path)[-1]["step"] == 9


def test_validation_follows_its_interval_and_the_last_epoch(
    store: CacheReader, tmp_path: Path
) -> None:
    train(configured(epochs=5, eval_every=2), POSE_ONLY, store, tmp_path)
    validated = [e["epoch"] for e in read_log(tmp_path) if e["validation_mpjpe_mm"] is not None]
    assert validated == [2, 4, 5]


def test_the_average_is_what_is_kept_and_starts_by_forgetting_fast() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = WeightAverage(module, decay=0.9)
    torch.nn.init.ones_(module.weight)
    average.update(module)
    assert average.weights["weight"].item() == pytest.approx(0.9)  # 1 - (1 + 0) / (10 + 0)
    for _ in range(200):
        average.update(module)
    assert average.weights["weight"].item() == pytest.approx(1.0)
    assert average.num_updates == 201


def test_averaged_and_plain_weights_differ_but_come_from_the_same_run(
    store: CacheReader, tmp_path: Path
) -> None:
    train(SHORT, POSE_ONLY, store, tmp_path / "plain")
    train(configured(ema=0.5), POSE_ONLY, store, tmp_path / "average")
    plain, average = (read_log(tmp_path / name) for name in ("plain", "average"))
    assert [e["loss_mm"] for e in plain] == [e["loss_mm"] for e in average]
    assert plain[-1]["validation_mpjpe_mm"] != average[-1]["validation_mpjpe_mm"]


def test_progress_lines_tell_what_a_person_wants_to_know(
    store: CacheReader, tmp_path: Path
) -> None:
    reports: list[TrainProgress] = []
    train(SHORT, POSE_ONLY, store, tmp_path, progress=reports.append)
    ended = [report for report in reports if report.epoch_ended]
    assert [report.epoch for report in ended] == [1, 2, 3]
    line = ended[-1].line()
    for part in ("epoch 3/3", "loss", "val", "samples/s", "wait"):
        assert part in line


def test_missing_labels_are_left_out_of_the_loss(tmp_path: Path) -> None:
    splits = {"train": 16, "validation": 4}
    plan, moved = build_plan(splits), build_plan(splits)
    for rows in (plan, moved):
        rows.valid[:16, 5] = False
    moved.joints_3d_mm[:16, 5] += 5000.0
    moved.joints_2d_px[:] = plan.joints_2d_px
    losses = []
    for name, rows in (("plain", plan), ("moved", moved)):
        reader = write_store(tmp_path / f"{name}.zarr", plan=rows)
        train(SHORT, POSE_ONLY, reader, tmp_path / name)
        losses.append([entry["loss_mm"] for entry in read_log(tmp_path / name)])
    assert losses[0] == losses[1]


def test_the_data_of_a_run_are_those_configured(store: CacheReader, tmp_path: Path) -> None:
    config = configured(data=DataConfig(keypoint_source="gt", context="shuffled").model_dump())
    train(config, CAPF, store, tmp_path)
    run = load_run(tmp_path)
    assert run.config == config
    assert run.level_names == ("x8", "x16")
    assert run.description.trained_on.feature_identity == store.feature_identity
