from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import CacheReader, Camera, RowPlan
from pipeline.runs.tables import split_table
from stages.lift import DataConfig, EvaluateConfig, LiftError, evaluate
from stages.lift.feed.batches import LiftData
from stages.lift.refined_evaluation import refinement_notes
from tests.test_lift.cameras_by_hand import people
from tests.test_lift.oracles import Oracle
from tests.test_lift.stores import FOCAL_PX, IMAGE_SIZE, build_plan, write_store

DATA = DataConfig(keypoint_source="gt")
CENTRE = (IMAGE_SIZE[1] / 2, IMAGE_SIZE[0] / 2)


def plan_with_camera(*, focal_px: float = FOCAL_PX) -> RowPlan:
    plan = build_plan({"test": 8})
    joints, _ = people(8)
    points = joints + np.array([200.0, -100.0, 4000.0])
    K = np.array([[focal_px, 0.0, CENTRE[0]], [0.0, focal_px, CENTRE[1]], [0.0, 0.0, 1.0]])
    return replace(
        plan,
        joints_3d_mm=points.astype(np.float32),
        joints_2d_px=(points[..., :2] / points[..., 2:] * FOCAL_PX + CENTRE).astype(np.float32),
        cameras=(Camera("only", K, np.eye(3), np.zeros(3)),),
    )


def oracle(reader: CacheReader) -> Oracle:
    samples = LiftData(reader, "test", config=DATA, level_names=(), flipped=True).samples
    offset_m = torch.randn(8, 17, 3, generator=torch.Generator().manual_seed(0)) * 0.05
    return Oracle(samples, offset_m=offset_m)


@pytest.mark.parametrize("mode", ["predicted_root", "oracle_root"])
def test_errors_before_and_after_are_told_and_the_table_says_so(tmp_path: Path, mode: str) -> None:
    reader = write_store(tmp_path / "one.zarr", plan=plan_with_camera())
    plain = EvaluateConfig(flip_average=False)
    config = EvaluateConfig.model_validate({"flip_average": False, "refine": mode})
    before, after = (
        evaluate(oracle(reader), reader, "test", each, data=DATA, level_names=())
        for each in (plain, config)
    )
    told = after.metrics
    assert told["before_refinement"] == {
        name: before.metrics[name] for name in ("frame_wise", "action_wise")
    }
    assert told["frame_wise"]["mpjpe_mm"] < 0.95 * before.metrics["frame_wise"]["mpjpe_mm"]
    assert told["refinement"]["residual_px"] < told["refinement"]["residual_before_px"]
    if mode == "oracle_root":
        assert told["refinement"]["root_error_mm"] == 0.0
    else:
        assert 0.0 < told["refinement"]["root_error_mm"] < 300.0
    assert after.root_mm is not None
    assert before.root_mm is None
    assert "refinement" not in before.metrics
    json.dumps(told, allow_nan=False)
    (note,) = refinement_notes(config)
    assert note.startswith("ORACLE ROOT" if mode == "oracle_root" else "REFINED")
    assert refinement_notes(plain) == []
    table = split_table(
        {
            "lifter": "one",
            "keypoint_source": "gt",
            "context": None,
            "epoch": 1,
            "splits": {"test": told},
            "notes": [note],
        }
    )
    assert table.caption == note
    labels = list(table.columns[1].cells)
    assert labels == [
        "frames", "actions", "frames, before refinement", "actions, before refinement",
    ]  # fmt: skip


def test_a_store_without_cameras_says_what_to_do(store: CacheReader) -> None:
    with pytest.raises(LiftError, match=r"no calibrated cameras.*evaluate\.refine=none"):
        evaluate(
            oracle(store),
            store,
            "test",
            EvaluateConfig(refine="predicted_root", flip_average=False),
            data=DATA,
            level_names=(),
        )


def test_a_wrong_focal_length_shows_in_where_people_are(tmp_path: Path) -> None:
    errors = []
    for focal_px in (FOCAL_PX, 1.3 * FOCAL_PX):
        plan = plan_with_camera(focal_px=focal_px)
        reader = write_store(tmp_path / f"{focal_px}.zarr", plan=plan)
        found = evaluate(
            oracle(reader),
            reader,
            "test",
            EvaluateConfig(refine="predicted_root", flip_average=False),
            data=DATA,
            level_names=(),
        )
        errors.append(found.metrics["refinement"]["root_error_mm"])
    assert errors[1] > errors[0] + 800.0
