from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import CacheReader, LevelSpec
from stages.lift import (
    EvaluateConfig,
    RunCorrupt,
    RunMismatch,
    RunMissing,
    TrainConfig,
    evaluate_run,
    load_run,
    train,
)
from stages.lift.feed.batches import LiftData
from tests.test_lift.stores import IDENTITY, LEVELS, write_store
from tests.test_lift.test_training import CAPF, POSE_ONLY

SPLITS = {"train": 8, "validation": 4, "test": 4}
ONE_EPOCH = TrainConfig(epochs=1, batch_size=8, threads=1)


@pytest.fixture(scope="module")
def run_dir(store: CacheReader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "capf"
    train(ONE_EPOCH, CAPF, store, path)
    return path


def test_a_loaded_lifter_is_called_with_tensors_and_answers_in_metres(
    store: CacheReader, run_dir: Path
) -> None:
    run = load_run(run_dir)
    data = LiftData(
        store, "test", config=run.config.data, level_names=run.level_names, flipped=False
    )
    batch = next(iter(data.ordered_batches(batch_size=2, view=0)))
    with torch.no_grad():
        output = run.model(batch.keypoints_2d, batch.reference_points, batch.levels)
    assert output.shape == (2, 17, 3)
    assert not run.model.training
    assert run.description.num_parameters == sum(p.numel() for p in run.model.parameters())
    assert set(run.description.parameter_groups) == {"main", "sampling_offsets"}


def test_evaluating_a_run_writes_every_split_into_its_metrics(
    store: CacheReader, run_dir: Path
) -> None:
    evaluations = evaluate_run(run_dir, store)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert list(metrics["splits"]) == ["validation", "test", "test_new_cameras"]
    assert metrics["splits"]["test"] == evaluations["test"].metrics
    assert (metrics["keypoint_source"], metrics["context"]) == ("detector", "own")
    assert metrics["evaluate"]["allow"] == []
    assert load_run(run_dir).metrics == metrics


def test_a_store_of_another_detector_is_refused_unless_told(tmp_path: Path, run_dir: Path) -> None:
    other = IDENTITY | {"detector": {"weights": "xyz", "name": "random"}}
    reader = write_store(tmp_path / "other.zarr", SPLITS, feature_identity=other)
    with pytest.raises(RunMismatch, match=r'detector\.weights: .*"abc".*"xyz"'):
        evaluate_run(run_dir, reader)
    evaluate_run(run_dir, reader, EvaluateConfig(splits=("test",), allow=("features",)))
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["evaluate"]["allow"] == ["features"]


def test_other_keypoints_are_refused_unless_told(store: CacheReader, run_dir: Path) -> None:
    config = EvaluateConfig(splits=("test",), keypoint_source="gt")
    with pytest.raises(RunMismatch, match="trained on 'detector', asked for 'gt'"):
        evaluate_run(run_dir, store, config)
    told = config.model_copy(update={"allow": ("keypoints",)})
    result = evaluate_run(run_dir, store, told)["test"]
    assert result.keypoint_source == "gt"
    np.testing.assert_array_equal(result.keypoints_px, store.labels("joints_2d_px")[32:40])


def test_another_skeleton_is_refused_unless_told(tmp_path: Path, run_dir: Path) -> None:
    from tests.test_lift.stores import build_plan

    reader = write_store(tmp_path / "mpi.zarr", plan=build_plan(SPLITS, skeleton="MPI17"))
    run = load_run(run_dir)
    with pytest.raises(RunMismatch, match=r"trained on H36M17 \(17 joints\), the store has MPI17"):
        run.require_fit(reader)
    run.require_fit(reader, allow=["skeleton"])


def test_maps_that_cannot_be_read_are_refused_whatever_is_allowed(
    tmp_path: Path, run_dir: Path
) -> None:
    wide = LevelSpec(name="x8", channels=12, height=8, width=6, stride=8)
    reader = write_store(tmp_path / "wide.zarr", SPLITS, levels=(wide,))
    message = r"maps x8: trained on 6 channels.*12\n.*maps x16: not in the store \(x8\)"
    with pytest.raises(RunMismatch, match=message):
        load_run(run_dir).require_fit(reader, allow=["features", "keypoints", "skeleton"])


def test_true_keypoints_without_maps_do_not_depend_on_the_detector(
    store: CacheReader, tmp_path: Path
) -> None:
    config = TrainConfig.model_validate({"epochs": 1, "data": {"keypoint_source": "gt"}})
    train(config, POSE_ONLY, store, tmp_path / "run")
    other = write_store(tmp_path / "other.zarr", SPLITS, feature_identity={"detector": "other"})
    load_run(tmp_path / "run").require_fit(other)


def test_chosen_levels_are_read_in_the_order_of_the_lifter(
    store: CacheReader, tmp_path: Path
) -> None:
    train(ONE_EPOCH, CAPF.model_copy(update={"levels": ("x16",)}), store, tmp_path)
    run = load_run(tmp_path)
    assert run.level_names == ("x16",)
    assert [level.channels for level in run.description.trained_on.levels] == [LEVELS[1].channels]


def test_a_directory_that_is_no_run_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunMissing, match=r"run\.json does not exist\. Train the run first"):
        load_run(tmp_path)


def damaged(run_dir: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run_dir.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    return copy


def test_damaged_files_are_named(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    best = (run_dir / "best.safetensors").read_bytes()
    cases = (
        ("best.safetensors", None, RunMissing, r"best\.safetensors does not exist"),
        ("best.safetensors", best[:500], RunCorrupt, r"best\.safetensors cannot be read"),
        ("run.json", b"{", RunCorrupt, r"run\.json cannot be read as JSON"),
        ("run.json", b'{"format": 9}', RunCorrupt, "has format 9, this version reads 1"),
        ("run.json", b'{"format": 1}', RunCorrupt, "is not the description of a run"),
    )
    for name, content, error, message in cases:
        with pytest.raises(error, match=message):
            load_run(damaged(run_dir, tmp_path_factory.mktemp("damaged"), name, content))


def test_weights_of_another_lifter_are_refused(
    store: CacheReader, run_dir: Path, tmp_path: Path
) -> None:
    train(ONE_EPOCH, POSE_ONLY, store, tmp_path / "pose")
    weights = (tmp_path / "pose" / "best.safetensors").read_bytes()
    copy = damaged(run_dir, tmp_path, "best.safetensors", weights)
    with pytest.raises(RunCorrupt, match=r"does not fit the lifter of run\.json"):
        load_run(copy)


def test_predictions_do_not_depend_on_the_batch_size(store: CacheReader, run_dir: Path) -> None:
    predictions = [
        evaluate_run(run_dir, store, EvaluateConfig(splits=("test",), batch_size=size))[
            "test"
        ].predicted_mm
        for size in (1, 3, 8)
    ]
    for other in predictions[1:]:
        np.testing.assert_allclose(other, predictions[0], atol=0.01)
