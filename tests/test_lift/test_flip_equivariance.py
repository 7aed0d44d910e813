"""A mirrored world is lifted to mirrored poses, by every lifter, through all of stage 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import CacheReader, CacheWriter, ChunkData
from lifter import LIFTERS, build_lifter
from lifter.config import LifterConfig
from stages.lift import EvaluateConfig, evaluate
from stages.lift.config import DataConfig
from stages.lift.feed.windows import windowing_of
from tests.test_lift.stores import IMAGE_SIZE, build_plan, write_store

SPLITS = {"train": 4, "test": 10}
SIZES = {"width": 16, "depth": 1, "num_heads": 2, "deform_heads": 2, "num_points": 2}
TO_MIRRORED_PICTURE = np.array([[-1.0, 0.0, IMAGE_SIZE[1]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
"""Its own inverse: px of a picture in px of its mirror image, x and y from the outer edges."""


def in_mirror(points_px: NDArray[np.float32], swap: NDArray[np.intp]) -> NDArray[np.float32]:
    mirrored = points_px[..., swap, :].copy()
    mirrored[..., 0] = IMAGE_SIZE[1] - mirrored[..., 0]
    return mirrored


def write_mirrored(store: CacheReader, path: Path, *, forgets: str = "") -> CacheReader:
    """Write the store of the mirrored pictures: what was the flipped view is the plain one.

    `forgets` plants a fault: `maps` or `joints` stay as they are in the world that is not mirrored.
    """
    plan = build_plan(SPLITS)
    swap = store.label_skeleton.swap
    assert plan.joints_3d_mm is not None
    joints_3d_mm = plan.joints_3d_mm[:, swap] * np.array([-1.0, 1.0, 1.0], dtype=np.float32)
    plan = replace(plan, joints_2d_px=in_mirror(plan.joints_2d_px, swap), joints_3d_mm=joints_3d_mm)
    with CacheWriter.open(
        path,
        spec=store.spec,
        plan=plan,
        feature_identity=store.feature_identity,
        content_identity={"mirrored": True},
    ) as writer:
        for chunk in writer.missing_chunks():
            rows = np.array(writer.chunk_rows(chunk))
            views = (0, 1) if forgets == "maps" else (1, 0)
            maps = [store.read(rows, view=view) for view in views]
            exchanged = swap if forgets != "joints" else np.arange(len(swap))
            keypoints = {
                source: np.stack(
                    [
                        in_mirror(store.keypoints(source, view, rows=rows), exchanged)
                        for view in (1, 0)
                    ],
                    axis=1,
                )
                for source in ("detector", "gt")
            }
            affine = np.stack([store.affine(view, rows=rows) for view in (1, 0)], axis=1)
            writer.write_chunk(
                chunk,
                ChunkData(
                    features={
                        name: np.stack([each[name] for each in maps], axis=1)
                        for name in store.levels
                    },
                    keypoints=keypoints,
                    crop_affine=affine @ TO_MIRRORED_PICTURE,
                    status=store.status(rows=rows),
                ),
            )
    return CacheReader(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_store(tmp_path_factory.mktemp("plain") / "plain.zarr", plan=build_plan(SPLITS))


@pytest.fixture(scope="module")
def mirrored(store: CacheReader, tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_mirrored(store, tmp_path_factory.mktemp("mirrored") / "mirrored.zarr")


def difference_mm(name: str, store: CacheReader, mirrored: CacheReader) -> float:
    """Return how far poses of the one are from the mirrored poses of the other, at most."""
    kind = LIFTERS[name]
    config = LifterConfig(name=name, num_frames=3 if kind.reads_windows else 1, **SIZES)
    names = tuple(store.levels) if kind.uses_features else ()
    channels = [store.levels[level].channels for level in names]
    model = build_lifter(config, level_channels=channels)
    data = DataConfig()
    plain, other = (
        evaluate(
            model,
            reader,
            "test",
            EvaluateConfig(batch_size=4),
            data=data,
            level_names=names,
            windowing=windowing_of(config, data),
        ).predicted_mm
        for reader in (store, mirrored)
    )
    expected = plain[:, store.label_skeleton.swap] * np.array([-1.0, 1.0, 1.0])
    assert np.ptp(expected) > 1.0
    return float(np.abs(other - expected).max())


@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_the_pose_of_a_mirrored_picture_is_the_mirrored_pose(
    name: str, store: CacheReader, mirrored: CacheReader
) -> None:
    assert difference_mm(name, store, mirrored) < 0.05


@pytest.mark.parametrize(("name", "forgets"), [("capf", "maps"), ("mixste", "joints")])
def test_what_is_not_mirrored_is_noticed(
    name: str, forgets: str, store: CacheReader, tmp_path: Path
) -> None:
    faulty = write_mirrored(store, tmp_path / "faulty.zarr", forgets=forgets)
    assert difference_mm(name, store, faulty) > 0.5
