"""What is lifted part by part from arrays is what an evaluation lifts from the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache import CacheReader
from lifter import LIFTERS, build_lifter
from lifter.config import LifterConfig
from stages.lift import EvaluateConfig, Evaluation, LiftError, TrainConfig, evaluate
from stages.lift.config import DataConfig
from stages.lift.feed.windows import windowing_of
from stages.lift.frame_lifter import FrameLifter, LiftedFrames, SeenFrames
from stages.lift.runs.checkpoints import LoadedRun, RunDescription
from stages.lift.runs.identity import describe
from tests.test_lift.stores import build_plan, write_store

SIZES = {"width": 16, "depth": 1, "num_heads": 2, "deform_heads": 2, "num_points": 2}
CONFIG = EvaluateConfig(batch_size=4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    plan = build_plan({"train": 4, "test": 14})
    return write_store(tmp_path_factory.mktemp("frames") / "frames.zarr", plan=plan)


def untrained(
    reader: CacheReader, name: str, data: DataConfig | None = None, *, uncertainty: bool = False
) -> LoadedRun:
    data, kind = data or DataConfig(), LIFTERS[name]
    num_frames = 3 if kind.reads_windows else 1
    config = LifterConfig(name=name, num_frames=num_frames, uncertainty=uncertainty, **SIZES)
    names = tuple(reader.levels) if kind.uses_features else ()
    model = build_lifter(config, level_channels=[reader.levels[each].channels for each in names])
    description = RunDescription(
        train=TrainConfig(data=data),
        lifter=config,
        trained_on=describe(reader, data, names),
        num_parameters=1,
        parameter_groups={},
        dropped_rows={},
        versions={},
    )
    return LoadedRun(Path("a-run"), model.eval(), description, "best", 1, None, ())


def seen(reader: CacheReader, rows: NDArray[np.int64]) -> SeenFrames:
    views = range(len(reader.views))
    maps = [reader.read(rows, view=view) for view in views]
    return SeenFrames(
        clips=reader.index("clip").codes[rows],
        frames=reader.index("frame").codes[rows],
        keypoints=np.stack([reader.keypoints("detector", v, rows=rows) for v in views], axis=1),
        image_size=reader.image_size()[rows],
        affine=np.stack([reader.affine(v, rows=rows) for v in views], axis=1),
        maps={name: np.stack([each[name] for each in maps], axis=1) for name in reader.levels},
    )


def lifted(
    run: LoadedRun, reader: CacheReader, frames: SeenFrames, parts: int
) -> NDArray[np.float64]:
    return lifted_with_scales(run, reader, frames, parts).joints_3d_mm


def lifted_with_scales(
    run: LoadedRun, reader: CacheReader, frames: SeenFrames, parts: int
) -> LiftedFrames:
    lifter = FrameLifter(
        run,
        detector_skeleton=reader.skeleton,
        crop_size=reader.spec.crop_size,
        config=CONFIG,
    )
    for chosen in np.array_split(np.arange(len(frames)), parts):
        lifter.add(
            SeenFrames(
                *(getattr(frames, name)[chosen] for name in ("clips", "frames", "keypoints")),
                frames.image_size[chosen],
                frames.affine[chosen],
                {name: maps[chosen] for name, maps in frames.maps.items()},
            )
        )
    return lifter.finish()


def evaluated(run: LoadedRun, reader: CacheReader) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    found = evaluation(run, reader)
    return found.rows, found.predicted_mm


def evaluation(run: LoadedRun, reader: CacheReader) -> Evaluation:
    return evaluate(
        run.model,
        reader,
        "test",
        CONFIG,
        data=run.config.data,
        level_names=run.level_names,
        windowing=windowing_of(run.description.lifter, run.config.data),
    )


@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_frames_in_parts_have_the_poses_of_an_evaluation(name: str, reader: CacheReader) -> None:
    run = untrained(reader, name)
    rows, expected = evaluated(run, reader)
    assert np.ptp(expected) > 1.0
    found = lifted(run, reader, seen(reader, rows), parts=3)
    np.testing.assert_allclose(found, expected, atol=1e-3)  # mm


@pytest.mark.parametrize("fault", ["maps", "keypoints", "affine"])
def test_views_that_are_exchanged_change_the_poses(fault: str, reader: CacheReader) -> None:
    run = untrained(reader, "capf")
    rows, expected = evaluated(run, reader)
    frames = seen(reader, rows)
    if fault == "maps":
        changed = {name: maps[:, ::-1] for name, maps in frames.maps.items()}
        frames = replace(frames, maps=changed)
    else:
        frames = replace(frames, **{fault: getattr(frames, fault)[:, ::-1]})
    assert np.abs(lifted(run, reader, frames, parts=1) - expected).max() > 1e-2


def test_maps_of_zeros_are_lifted_as_zeros(reader: CacheReader) -> None:
    run = untrained(reader, "capf", DataConfig(context="none"))
    rows, expected = evaluated(run, reader)
    np.testing.assert_allclose(lifted(run, reader, seen(reader, rows), 2), expected, atol=1e-3)


def test_a_control_with_maps_of_other_frames_is_refused(reader: CacheReader) -> None:
    run = untrained(reader, "capf", DataConfig(context="shuffled"))
    with pytest.raises(LiftError, match=r"control.*Choose a run with train.data.context=own"):
        lifted(run, reader, seen(reader, np.arange(4)), 1)


def test_no_frame_gives_no_pose(reader: CacheReader) -> None:
    run = untrained(reader, "pose_only")
    assert lifted(run, reader, seen(reader, np.arange(0)), 1).shape == (0, 17, 3)


@pytest.mark.parametrize("name", ["capf", "mixste"])
def test_scales_in_parts_are_those_of_an_evaluation(name: str, reader: CacheReader) -> None:
    run = untrained(reader, name, uncertainty=True)
    torch.nn.init.normal_(run.model.get_submodule("scale_head.log_scale").weight)
    rows, expected_mm = evaluated(run, reader)
    found = lifted_with_scales(run, reader, seen(reader, rows), parts=3)
    np.testing.assert_allclose(found.joints_3d_mm, expected_mm, atol=1e-3)
    assert found.scale_mm is not None
    assert np.ptp(found.scale_mm) > 1.0
    expected = evaluation(run, reader).scale_mm
    np.testing.assert_allclose(found.scale_mm, expected, rtol=1e-4)


def test_a_lifter_without_scales_has_none(reader: CacheReader) -> None:
    run = untrained(reader, "pose_only")
    assert lifted_with_scales(run, reader, seen(reader, np.arange(4)), 1).scale_mm is None
