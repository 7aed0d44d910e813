from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cache import CacheReader, FrameStatus
from lifter.metrics import mpjve_mm
from stages.lift import DataConfig, EmptySplit, EvaluateConfig, Evaluation, NotFiniteLoss, evaluate
from stages.lift.config import FeedConfig
from stages.lift.evaluation import evaluation_splits, follows_previous
from stages.lift.feed.batches import LiftData
from stages.lift.predictions import predict_mm
from tests.test_lift.oracles import Lopsided, Oracle, Symmetric
from tests.test_lift.stores import build_plan, write_store

DATA = DataConfig(keypoint_source="gt")


def samples_of(reader: CacheReader, split: str = "test") -> LiftData:
    return LiftData(reader, split, config=DATA, level_names=(), flipped=True)


def score(
    model: nn.Module, reader: CacheReader, split: str = "test", **options: object
) -> Evaluation:
    config = EvaluateConfig.model_validate({"batch_size": 3} | options)
    return evaluate(model, reader, split, config, data=DATA, level_names=())


@pytest.mark.parametrize("flip_average", [False, True])
def test_an_oracle_has_no_error(store: CacheReader, flip_average: bool) -> None:
    metrics = score(Oracle(samples_of(store).samples), store, flip_average=flip_average).metrics
    for table in (metrics["frame_wise"], metrics["action_wise"]):
        for name in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm"):
            assert table[name] == pytest.approx(0.0, abs=1e-3)
        assert table["pck"] == 1.0
        assert table["auc"] == pytest.approx(30 / 31)  # the threshold 0 counts no joint
    assert metrics["num_frames"] == 8
    assert metrics["num_clips"] == 2


def test_a_known_offset_gives_the_metrics_worked_out_by_hand(store: CacheReader) -> None:
    offset_m = torch.tensor([0.0312, 0.0416, 0.0])
    metrics = score(
        Oracle(samples_of(store).samples, offset_m=offset_m), store, flip_average=False
    ).metrics
    frame_wise = metrics["frame_wise"]
    assert frame_wise["mpjpe_mm"] == pytest.approx(52.0, abs=1e-3)
    assert frame_wise["p_mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)  # a translation is aligned
    assert frame_wise["mpjve_mm"] == pytest.approx(0.0, abs=1e-3)  # the same in every frame
    assert frame_wise["pck"] == 1.0
    assert frame_wise["auc"] == pytest.approx(20 / 31)  # 55, 60, ... 150 mm
    assert metrics["per_joint"]["left_wrist"] == pytest.approx(52.0, abs=1e-3)


def test_one_bad_joint_in_one_action_shows_where_it_is(store: CacheReader) -> None:
    # Test has the clips Walking (rows 0-3) and Sitting (4-7): spoil the left wrist when sitting.
    offset_m = torch.zeros(8, 17, 3)
    offset_m[4:, 13, 2] = 0.17
    metrics = score(
        Oracle(samples_of(store).samples, offset_m=offset_m), store, flip_average=False
    ).metrics
    assert metrics["per_joint"]["left_wrist"] == pytest.approx(85.0, abs=1e-3)
    assert metrics["per_joint"]["right_wrist"] == pytest.approx(0.0, abs=1e-3)
    assert metrics["per_action"]["Walking"]["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)
    assert metrics["per_action"]["Sitting"]["mpjpe_mm"] == pytest.approx(10.0, abs=1e-3)
    assert metrics["per_action"]["Sitting"]["pck"] == pytest.approx(16 / 17)
    assert metrics["per_clip"]["test-1"]["mpjpe_mm"] == pytest.approx(10.0, abs=1e-3)
    assert metrics["per_clip"]["test-1"]["num_frames"] == 4


def test_pck_of_mpi_inf_3dhp_leaves_root_spine_and_head_out(tmp_path: Path) -> None:
    plan = build_plan({"test": 4}, skeleton="MPI17")
    reader = write_store(tmp_path / "mpi.zarr", plan=plan)
    offset_m = torch.zeros(4, 17, 3)
    offset_m[:, 15:, 0] = 0.5
    offset_m[:, 13, 0] = 0.16  # a left ankle beyond the threshold
    metrics = score(
        Oracle(samples_of(reader).samples, offset_m=offset_m), reader, flip_average=False
    ).metrics
    frame_wise = metrics["frame_wise"]
    assert frame_wise["mpjpe_mm"] == pytest.approx(1160 / 17, abs=1e-3)
    assert frame_wise["pck"] == pytest.approx(13 / 14)
    assert frame_wise["auc"] == pytest.approx(13 * 30 / (31 * 14))


def test_actions_count_alike_in_one_mean_and_by_their_frames_in_the_other(tmp_path: Path) -> None:
    # Clips of four: Walking 4, Sitting 4, Waving 4, Walking 4 -> half the frames are Walking.
    reader = write_store(tmp_path / "uneven.zarr", {"test": 16})
    offset_m = torch.zeros(16, 17, 3)
    offset_m[:4, :, 0] = offset_m[12:, :, 0] = 0.06
    metrics = score(
        Oracle(samples_of(reader).samples, offset_m=offset_m), reader, flip_average=False
    ).metrics
    assert metrics["frame_wise"]["mpjpe_mm"] == pytest.approx(30.0, abs=1e-3)
    assert metrics["action_wise"]["mpjpe_mm"] == pytest.approx(20.0, abs=1e-3)
    assert metrics["action_wise"]["num_groups"] == 3


def test_mpjve_compares_neighbours_inside_clips_only(tmp_path: Path) -> None:
    reader = write_store(tmp_path / "gap.zarr", {"test": 12}, status={5: FrameStatus.MISSING})
    data = samples_of(reader)
    offset_m = torch.from_numpy(
        np.random.default_rng(0).normal(scale=0.05, size=(11, 17, 3)).astype(np.float32)
    )
    result = score(Oracle(data.samples, offset_m=offset_m), reader, flip_average=False)
    assert data.samples.rows.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    runs = [slice(0, 4), slice(5, 7), slice(7, 11)]  # row 4 is alone: row 5 is missing
    expected = mpjve_mm(
        [result.predicted_mm[run] for run in runs], [result.true_mm[run] for run in runs]
    )
    assert result.metrics["frame_wise"]["mpjve_mm"] == pytest.approx(expected)
    assert result.metrics["dropped_rows"] == {"MISSING": 1}


def test_a_step_over_frames_that_the_data_set_left_out_is_no_step() -> None:
    follows = follows_previous(
        np.array([3, 4, 5, 6, 7, 8, 10]),
        np.array([0, 0, 0, 0, 1, 1, 1]),
        np.array([0, 5, 10, 25, 0, 1, 2], dtype=np.int32),
    )
    assert follows.tolist() == [False, True, True, False, False, True, False]


def test_the_flipped_prediction_of_a_symmetric_lifter_is_the_plain_one(store: CacheReader) -> None:
    plain, averaged = (
        predict_mm(
            Symmetric(),
            samples_of(store),
            batch_size=3,
            flip_average=flip,
            device=torch.device("cpu"),
            feed=FeedConfig(),
        )
        for flip in (False, True)
    )
    np.testing.assert_allclose(averaged, plain, atol=1e-3)


def test_the_flip_test_notices_a_lopsided_lifter(store: CacheReader) -> None:
    plain, averaged = (
        predict_mm(
            Lopsided(),
            samples_of(store),
            batch_size=3,
            flip_average=flip,
            device=torch.device("cpu"),
            feed=FeedConfig(),
        )
        for flip in (False, True)
    )
    # The constant +100 mm in x turns into -100 mm in the flipped half, so the mean loses it.
    np.testing.assert_allclose(plain[..., 0] - averaged[..., 0], 100.0, atol=1e-3)


def test_errors_of_the_flipped_view_come_back_mirrored(store: CacheReader) -> None:
    offset_m = torch.zeros(17, 3)
    offset_m[13] = torch.tensor([0.2, 0.0, 0.1])  # the mirrored left wrist is the right wrist
    result = score(Oracle(samples_of(store).samples, flipped_offset_m=offset_m), store)
    error_mm = result.predicted_mm - result.true_mm
    np.testing.assert_allclose(error_mm[:, 16], [[-100.0, 0.0, 50.0]] * 8, atol=1e-3)
    np.testing.assert_allclose(error_mm[:, 13], 0.0, atol=1e-3)


def test_the_root_can_be_set_to_zero_before_the_error(store: CacheReader) -> None:
    offset_m = torch.zeros(17, 3)
    offset_m[0, 1] = 0.17
    oracle = Oracle(samples_of(store).samples, offset_m=offset_m)
    counted = score(oracle, store, flip_average=False).metrics["frame_wise"]["mpjpe_mm"]
    zeroed = score(oracle, store, flip_average=False, zero_root=True).metrics["frame_wise"]
    assert counted == pytest.approx(10.0, abs=1e-3)
    assert zeroed["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)


def test_frames_without_a_complete_label_are_not_scored(tmp_path: Path) -> None:
    plan = build_plan({"test": 8})
    plan.valid[2, 5] = False
    reader = write_store(tmp_path / "partial.zarr", plan=plan)
    metrics = score(Symmetric(), reader).metrics
    assert metrics["num_frames"] == 7
    assert metrics["dropped_rows"] == {"INCOMPLETE_LABEL": 1}


def test_a_prediction_that_is_not_finite_is_an_error_that_names_rows(store: CacheReader) -> None:
    offset_m = torch.zeros(8, 17, 3)
    offset_m[3, 2, 0] = float("nan")
    with pytest.raises(NotFiniteLoss, match=r"predictions of 1 rows of 'test' .*\[35\]"):
        score(Oracle(samples_of(store).samples, offset_m=offset_m), store, flip_average=False)


def test_evaluation_leaves_the_lifter_in_its_mode(store: CacheReader) -> None:
    model = Symmetric().train()
    score(model, store)
    assert model.training


def test_validation_and_every_test_split_are_groups_of_their_own(
    store: CacheReader, tmp_path: Path
) -> None:
    assert evaluation_splits(store, DATA) == ("validation", "test", "test_new_cameras")
    with pytest.raises(EmptySplit, match="neither a validation nor a test split; it has train"):
        evaluation_splits(write_store(tmp_path / "train.zarr", {"train": 4}), DATA)
