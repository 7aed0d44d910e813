"""The epoch that is kept, the last one, and choosing on a test split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache import CacheReader, IndexColumn
from lifter.config import LifterConfig
from stages.lift import EvaluateConfig, LiftError, TrainConfig, evaluate_run, load_run, train
from stages.lift.runs.checkpoints import write_weights
from tests.test_lift.stores import build_plan, write_store

POSE_ONLY = LifterConfig(name="pose_only", width=8, depth=1, num_heads=2, deform_heads=2)
EVALUATE = EvaluateConfig(flip_average=False)


def configured(**options: Any) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 2, "batch_size": 8, "threads": 1} | options)


def metrics_of(run_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text())
    return content


@pytest.fixture(scope="module")
def finished(store: CacheReader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose best epoch is its first of two, with weights of its own."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    train(configured(select="last"), POSE_ONLY, store, run_dir)
    other = {name: 0.5 * tensor for name, tensor in load_run(run_dir).model.state_dict().items()}
    write_weights(run_dir / "best.safetensors", other, epoch=1)
    return run_dir


def test_the_last_epoch_is_evaluated_beside_the_best(store: CacheReader, finished: Path) -> None:
    evaluate_run(finished, store, EVALUATE)
    both = metrics_of(finished)
    assert (both["epoch"], both["last"]["epoch"]) == (1, 2)
    evaluate_run(finished, store, EVALUATE.model_copy(update={"weights": "last"}))
    last = metrics_of(finished)
    assert last["epoch"] == 2
    for split, found in last["splits"].items():
        for mean in ("frame_wise", "action_wise"):
            assert both["last"]["splits"][split][mean] == found[mean]
            assert both["splits"][split][mean] != found[mean]


def test_the_last_epoch_is_left_out_when_nobody_wants_it(
    store: CacheReader, finished: Path
) -> None:
    evaluate_run(finished, store, EVALUATE.model_copy(update={"also_last": False}))
    assert metrics_of(finished)["last"] is None


def test_where_the_best_epoch_is_the_last_it_is_evaluated_once(
    store: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(configured(select="last"), POSE_ONLY, store, tmp_path)
    called = []
    from stages.lift import evaluation

    predict = evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *a, **k: called.append(1) or predict(*a, **k))
    evaluate_run(tmp_path, store, EVALUATE)
    metrics = metrics_of(tmp_path)
    assert len(called) == len(metrics["splits"]) == 3
    assert metrics["last"]["epoch"] == metrics["epoch"] == 2
    assert (
        metrics["last"]["splits"]["test"]["frame_wise"] == (metrics["splits"]["test"]["frame_wise"])
    )


def test_a_run_that_has_not_ended_has_no_last_epoch(store: CacheReader, tmp_path: Path) -> None:
    train(configured(select="last"), POSE_ONLY, store, tmp_path)
    (tmp_path / "last.safetensors").unlink()
    evaluate_run(tmp_path, store, EVALUATE)
    assert metrics_of(tmp_path)["last"] is None


def test_choosing_on_test_is_done_on_request_and_said_in_every_file(
    store: CacheReader, tmp_path: Path
) -> None:
    on_test = {"data": {"validation_split": "test"}}
    with pytest.raises(LiftError, match=r"nothing is chosen on it.*train\.allow_test_selection"):
        train(configured(**on_test), POSE_ONLY, store, tmp_path)
    assert not list(tmp_path.iterdir())
    train(configured(**on_test, allow_test_selection=True), POSE_ONLY, store, tmp_path)
    evaluate_run(tmp_path, store, EVALUATE)
    metrics = metrics_of(tmp_path)
    assert list(metrics["splits"]) == ["test", "test_new_cameras"]
    (note,) = metrics["notes"]
    assert note.startswith("CHOSEN ON TEST: the epoch is the one with the lowest error on test,")
    assert load_run(tmp_path).description.notes == (note,)


def test_training_on_test_stays_refused(store: CacheReader, tmp_path: Path) -> None:
    config = configured(data={"train_split": "test"}, allow_test_selection=True)
    with pytest.raises(LiftError, match="nothing is trained on it"):
        train(config, POSE_ONLY, store, tmp_path)


def test_a_run_that_chose_on_validation_or_nothing_has_no_such_note(
    store: CacheReader, tmp_path: Path, finished: Path
) -> None:
    train(configured(allow_test_selection=True), POSE_ONLY, store, tmp_path)
    assert load_run(tmp_path).description.notes == ()
    assert load_run(finished).description.notes == ()


def test_a_run_keeps_the_learning_rate_of_every_group(store: CacheReader, tmp_path: Path) -> None:
    capf = LifterConfig(width=8, depth=1, num_heads=2, deform_heads=2, num_points=1)
    config = configured(epochs=1, lr=0.01, lr_scales={"sampling_offsets": 0.1})
    train(config, capf, store, tmp_path)
    description = load_run(tmp_path).description
    assert set(description.parameter_groups) == {"main", "sampling_offsets"}
    assert min(description.parameter_groups.values()) > 0
    assert sum(description.parameter_groups.values()) == description.num_parameters
    assert description.learning_rates == pytest.approx({"main": 0.01, "sampling_offsets": 0.001})


def test_subjects_have_a_table_of_their_own(tmp_path: Path) -> None:
    plan = build_plan({"train": 8, "validation": 4, "test": 12})
    subjects = IndexColumn.from_words(["TS1"] * 16 + ["TS2"] * 8)
    plan = replace(plan, index={**plan.index, "subject": subjects})
    reader = write_store(tmp_path / "store.zarr", plan=plan)
    train(configured(epochs=1), POSE_ONLY, reader, tmp_path / "run")
    metrics = evaluate_run(tmp_path / "run", reader, EVALUATE)["test"].metrics
    assert {name: one["num_frames"] for name, one in metrics["per_subject"].items()} == {
        "TS1": 4,
        "TS2": 8,
    }
    parts = metrics["per_subject"]
    weighted = (4 * parts["TS1"]["mpjpe_mm"] + 8 * parts["TS2"]["mpjpe_mm"]) / 12
    assert metrics["frame_wise"]["mpjpe_mm"] == pytest.approx(weighted)


def test_concatenated_velocity_is_named_in_the_notes(store: CacheReader, finished: Path) -> None:
    evaluate_run(finished, store, EVALUATE.model_copy(update={"velocity": "concatenated"}))
    metrics = metrics_of(finished)
    assert any("concatenated frames" in note for note in metrics["notes"])
    assert metrics["evaluate"]["velocity"] == "concatenated"
