from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache import CacheReader
from cache.derived.recode import recode
from lifter import build_lifter
from lifter.config import LifterConfig
from stages.lift import (
    EvaluateConfig,
    LiftError,
    StoreMismatch,
    TrainConfig,
    evaluate_run,
    load_run,
    train,
)
from stages.lift.config import DataConfig
from stages.lift.feed.batches import LiftData
from stages.lift.feed.windows import windowing_of
from stages.lift.points import sample_points
from tests.test_lift.stores import LEVELS, write_store

SIZES: dict[str, Any] = {"depth": 1, "num_heads": 2, "drop_path": 0.1}
TEMPORAL: dict[str, Any] = {"name": "capf_temporal", "token_width": 8, **SIZES}
CAPF: dict[str, Any] = {"width": 8, "deform_heads": 2, "num_points": 2, **SIZES}
ONE_EPOCH: dict[str, Any] = {"epochs": 1, "batch_size": 8, "threads": 1}
CHANNELS = [level.channels for level in LEVELS]
TEST_ONLY = EvaluateConfig(splits=("test",))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    path = tmp_path_factory.mktemp("full") / "full.zarr"
    return write_store(path, {"train": 12, "validation": 4, "test": 8})


def sampled(full: CacheReader, **options: Any) -> CacheReader:
    name = "-".join(str(value) for value in options.values())
    target = Path(full.locations[0]).with_name(f"{name}.zarr")
    sample_points(full.locations[0], target, workers=1, **options)
    return CacheReader(target)


def predictions(
    lifter: LifterConfig, reader: CacheReader, *, view: int = 1, **data: Any
) -> NDArray[np.float32]:
    config = DataConfig(**data)
    torch.manual_seed(0)
    model = build_lifter(lifter, level_channels=CHANNELS).eval()
    with torch.no_grad():  # positions that start at zero and biases that do not matter yet
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        batches = LiftData(
            reader,
            "test",
            config=config,
            level_names=tuple(reader.levels),
            flipped=True,
            windowing=windowing_of(lifter, config),
        ).ordered_batches(batch_size=5, view=view)
        found: NDArray[np.float32] = torch.cat(
            [output for batch in batches if torch.is_tensor(output := batch.lifted_by(model))]
        ).numpy()
    return found


@pytest.mark.parametrize("rule", ["published", "geometric"])
@pytest.mark.parametrize(
    "lifter",
    [
        {**CAPF, "fusion": "concat"},
        {**CAPF, "fusion": "fusion"},
        {**TEMPORAL, "num_frames": 3},
    ],
)
def test_points_give_the_poses_of_the_full_store(
    full: CacheReader, lifter: dict[str, Any], rule: str
) -> None:
    config = LifterConfig(**lifter, reference_rule=rule)
    for dtype in ("float16", "float32"):
        points = sampled(full, reference_rule=rule, dtype=dtype)
        for view in (0, 1):
            one, other = (predictions(config, each, view=view) for each in (full, points))
            if dtype == "float32":
                assert np.array_equal(one, other)
            else:
                assert not np.array_equal(one, other)
                np.testing.assert_allclose(one, other, rtol=0, atol=2e-3 * one.std())


@pytest.mark.slow
def test_the_pose_depends_on_the_points(full: CacheReader) -> None:
    config = LifterConfig(**TEMPORAL, num_frames=3)
    one, other = (
        predictions(config, sampled(full, keypoint_source=source), keypoint_source="detector")
        for source in ("detector", "gt")
    )
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("num_frames", "dtype"),
    [
        (3, "float32"),
        *(
            pytest.param(frames, dtype, marks=pytest.mark.slow)
            for frames, dtype in ((1, "float32"), (3, "float16"), (9, "float16"))
        ),
    ],
)
def test_windows_of_points_are_trained_on_and_evaluated(
    full: CacheReader, tmp_path: Path, num_frames: int, dtype: str
) -> None:
    points, is_exact = sampled(full, dtype=dtype), dtype == "float32"
    lifter = LifterConfig(**TEMPORAL, num_frames=num_frames)
    runs = {name: tmp_path / name for name in ("points", "full")}
    config = TrainConfig(**ONE_EPOCH)
    train(config, lifter, points, runs["points"])
    train(config, lifter, full, runs["full"])
    described = load_run(runs["points"]).description.trained_on
    assert described.points == points.spec.points
    assert [(level.height, level.width) for level in described.levels] == [(1, 17), (1, 17)]
    assert load_run(runs["full"]).description.trained_on.points is None
    weights = [(run / "last.safetensors").read_bytes() for run in runs.values()]
    assert (weights[0] == weights[1]) is is_exact
    for run in runs.values():  # each on both kinds of store
        on_full = evaluate_run(run, full, TEST_ONLY)["test"].metrics["frame_wise"]
        on_points = evaluate_run(run, points, TEST_ONLY)["test"].metrics["frame_wise"]
        assert on_points["mpjve_mm"] > 0
        for name, value in on_full.items():
            assert on_points[name] == pytest.approx(value, rel=0 if is_exact else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["none", "shuffled"])
def test_the_controls_of_context_work_on_points(
    full: CacheReader, tmp_path: Path, context: str
) -> None:
    points = sampled(full)
    config = TrainConfig(**ONE_EPOCH, data=DataConfig(context=context))
    train(config, LifterConfig(**TEMPORAL, num_frames=3), points, tmp_path / "run")
    evaluate_run(tmp_path / "run", points, TEST_ONLY)
    if context == "none":
        evaluate_run(tmp_path / "run", full, TEST_ONLY)
        return
    with pytest.raises(StoreMismatch, match=r"shuffled context.*Evaluate it on a point cache"):
        evaluate_run(tmp_path / "run", full, TEST_ONLY)


def test_a_lifter_that_samples_around_the_joints_is_sent_to_the_full_store(
    full: CacheReader, tmp_path: Path
) -> None:
    points = sampled(full)
    config, deformable = TrainConfig(**ONE_EPOCH), LifterConfig(**CAPF)
    with pytest.raises(LiftError, match=r"capf with lifter\.fusion=full.*Set store= to the full"):
        train(config, deformable, points, tmp_path / "run")
    train(config, deformable, full, tmp_path / "full")
    with pytest.raises(LiftError, match="samples whole maps"):
        evaluate_run(tmp_path / "full", points, TEST_ONLY)
    train(config, LifterConfig(name="pose_only", **SIZES, width=8), points, tmp_path / "pose_only")


def test_points_of_another_rule_are_refused(full: CacheReader, tmp_path: Path) -> None:
    points, config = sampled(full), TrainConfig(**ONE_EPOCH)
    geometric = LifterConfig(**TEMPORAL, reference_rule="geometric")
    with pytest.raises(LiftError, match="sampled with the reference rule 'published'"):
        train(config, geometric, points, tmp_path / "run")
    train(config, geometric, full, tmp_path / "full")
    with pytest.raises(LiftError, match="sampled with the reference rule 'published'"):
        evaluate_run(tmp_path / "full", points, TEST_ONLY)


def test_points_of_other_keypoints_are_refused(full: CacheReader, tmp_path: Path) -> None:
    points, lifter = sampled(full), LifterConfig(**TEMPORAL)
    of_gt = TrainConfig(**ONE_EPOCH, data=DataConfig(keypoint_source="gt"))
    with pytest.raises(LiftError, match="sampled at the keypoints 'detector', not at 'gt'"):
        train(of_gt, lifter, points, tmp_path / "run")
    train(of_gt, lifter, full, tmp_path / "full")
    with pytest.raises(StoreMismatch, match="sampled at the keypoints 'detector', not at 'gt'"):
        evaluate_run(tmp_path / "full", points, TEST_ONLY)
    # Naming the difference between runs does not make the points others.
    train(TrainConfig(**ONE_EPOCH), lifter, points, tmp_path / "points")
    other = EvaluateConfig(splits=("test",), keypoint_source="gt", allow=("keypoints",))
    with pytest.raises(StoreMismatch, match="not at 'gt'"):
        evaluate_run(tmp_path / "points", points, other)
    evaluate_run(tmp_path / "points", sampled(full, keypoint_source="gt"), other)


def test_points_of_another_network_are_refused(full: CacheReader, tmp_path: Path) -> None:
    train(TrainConfig(**ONE_EPOCH), LifterConfig(**TEMPORAL), sampled(full), tmp_path / "run")
    other = write_store(
        tmp_path / "other.zarr",
        {"train": 4, "test": 4},
        feature_identity={"detector": {"weights": "xyz"}},
    )
    with pytest.raises(StoreMismatch, match=r"detector\.weights"):
        evaluate_run(tmp_path / "run", other, TEST_ONLY)
    with pytest.raises(StoreMismatch, match=r"detector\.weights"):
        evaluate_run(tmp_path / "run", sampled(other), TEST_ONLY)


def test_points_in_8_bits_are_scaled_before_they_are_read(
    full: CacheReader, tmp_path: Path
) -> None:
    points = sampled(full, dtype="float32")
    recode(points.locations[0], tmp_path / "codes.zarr", dtype="uint8")
    codes = CacheReader(tmp_path / "codes.zarr")
    assert codes.level_dtype("x8") == np.int8
    config = LifterConfig(**CAPF, fusion="fusion")
    exact, rounded = predictions(config, points), predictions(config, codes)
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.05 * exact.std())
