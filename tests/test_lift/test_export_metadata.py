"""What an exported file says is enough to call it, without posecache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache import CacheReader, ClipWindows, WindowShape, convert_keypoints
from lifter import LIFTERS
from stages.lift import DataConfig
from stages.lift.export.metadata import describe_export
from stages.lift.export.signature import signature_of
from stages.lift.runs.checkpoints import LoadedRun
from tests.test_lift.stores import build_plan, write_store
from tests.test_lift.test_frame_lifter import untrained


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    plan = build_plan({"train": 4, "test": 4})
    return write_store(tmp_path_factory.mktemp("metadata") / "made.zarr", plan=plan)


def told_of(run: LoadedRun) -> dict[str, Any]:
    told = run.description
    return describe_export(run, signature_of(told.lifter, told.trained_on))


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("own", "those of the frame"),
        ("shuffled", "a control, not a lifter to use"),
        ("none", "all are zero"),
    ],
)
def test_a_file_says_which_maps_its_lifter_was_trained_on(
    reader: CacheReader, context: Any, said: str
) -> None:
    maps = told_of(untrained(reader, "capf", DataConfig(context=context)))["maps"]
    assert maps["context"] == context
    assert said in maps["given"]
    assert "8-bit" in maps["values"]
    assert told_of(untrained(reader, "pose_only", DataConfig(context=context)))["maps"] is None


def test_joints_of_a_detector_are_told_as_means_of_its_own(reader: CacheReader) -> None:
    run = untrained(reader, "pose_only")
    assert told_of(run)["keypoints"]["made_of"] is None
    trained_on = run.description.trained_on.model_copy(update={"detector_skeleton": "COCO17"})
    description = run.description.model_copy(update={"trained_on": trained_on})
    told = told_of(replace(run, description=description))
    found = np.random.default_rng(0).normal(size=(17, 2))
    names, made_of = told["keypoints"]["joints"], told["keypoints"]["made_of"]
    assert list(made_of) == told["skeleton"]["joints"]
    made = [
        sum(weight * found[names.index(source)] for source, weight in parts.items())
        for parts in made_of.values()
    ]
    np.testing.assert_allclose(made, convert_keypoints(found, "COCO17", "H36M17"), atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_windows_are_told_to_their_ends(reader: CacheReader, causal: bool) -> None:
    run = untrained(reader, next(name for name, kind in LIFTERS.items() if kind.reads_windows))
    lifter = run.description.lifter.model_copy(update={"causal": causal})
    run = replace(run, description=run.description.model_copy(update={"lifter": lifter}))
    told = told_of(run)["windows"]
    assert "first and last frame" in told["ends"]
    frames = np.arange(6)
    windows = ClipWindows(np.zeros(6, dtype=int), frames, WindowShape(3, causal=causal))
    offsets = np.arange(told["num_frames"]) - told["target"]
    expected = np.clip(frames[:, None] + offsets * told["frame_step"], 0, 5)
    np.testing.assert_array_equal(windows.of(frames)[0], expected)
