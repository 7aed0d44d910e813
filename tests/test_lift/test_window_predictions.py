"""What lifters of windows predict, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cache import CacheReader, WindowShape
from stages.lift import DataConfig, EvaluateConfig
from stages.lift.evaluation import Evaluation, evaluate
from stages.lift.feed.inputs import PLAIN
from stages.lift.feed.windows import Windowing
from tests.test_lift.windows_by_hand import (
    SHAPES,
    frame_by_hand,
    usable_clips,
    window_rows_by_hand,
    windowed,
    write_gappy,
)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_gappy(tmp_path_factory.mktemp("stores") / "gappy.zarr")


class EveryFrame(nn.Module):
    """Answers every frame of a window by itself; mirrored input gives the mirrored answer."""

    def forward(self, keypoints_2d: Tensor, *others: object) -> Tensor:  # [B, F, J, 2]
        del others
        x, y = keypoints_2d.unbind(-1)
        return torch.stack([x * (1.0 + y), y.square(), x.square() - y], dim=-1)


class PlaceInWindow(nn.Module):
    """Answers with the frame's place in its window."""

    def forward(self, keypoints_2d: Tensor, *others: object) -> Tensor:
        del others
        places = torch.arange(keypoints_2d.shape[1], dtype=torch.float32)
        return places[:, None, None].expand(*keypoints_2d.shape[:-1], 3)


def evaluated(model: nn.Module, reader: CacheReader, split: str, shape: WindowShape) -> Evaluation:
    return evaluate(
        model,
        reader,
        split,
        EvaluateConfig(batch_size=2, flip_average=False),
        data=DataConfig(),
        level_names=(),
        windowing=Windowing(shape, predicts_all=True),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_lifter_of_whole_windows_predicts_every_frame_of_long_and_short_clips(
    gappy: CacheReader, split: str, shape: WindowShape
) -> None:
    found = evaluated(EveryFrame(), gappy, split, shape)
    inputs = [frame_by_hand(gappy, row, PLAIN)["keypoints"] for row in found.rows.tolist()]
    alone = EveryFrame()(torch.tensor(np.stack(inputs), dtype=torch.float32)[:, None])[:, 0]
    np.testing.assert_allclose(found.predicted_mm, 1000 * alone.double().numpy(), atol=2e-2)
    usable = {row for clip in usable_clips(gappy, split) for row in clip}
    complete = {row for row in usable if gappy.labels("valid")[row].all()}
    assert set(found.rows.tolist()) == complete


def test_frames_are_predicted_from_the_places_that_they_really_have(gappy: CacheReader) -> None:
    # Rows 35-44 and 45-47 are clips; 38 is missing, 40 has no label.
    found = evaluated(PlaceInWindow(), gappy, "test", WindowShape(5))
    assert found.rows.tolist() == [35, 36, 37, 39, 41, 42, 43, 44, 45, 46, 47]
    places = (found.predicted_mm[:, 0, 0] / 1000).round().astype(int).tolist()
    data = windowed(gappy, "test", shape=WindowShape(5), predicts_all=True, complete_labels=True)
    tiles = data.tile_batches(batch_size=8, view=PLAIN)
    rows = data.frames.rows[tiles.order].tolist()
    for row, place in zip(found.rows.tolist(), places, strict=True):
        windows = [window_rows_by_hand(gappy, "test", target, WindowShape(5)) for target in rows]
        assert any(window[place] == row and real[place] for window, real in windows)
    assert len(rows) == 3


@pytest.mark.parametrize("predicts_all", [False, True])
def test_flip_averaging_of_windows_unmirrors_the_flipped_answer(
    gappy: CacheReader, predicts_all: bool
) -> None:
    class Target(EveryFrame):
        def forward(self, keypoints_2d: Tensor, *others: object) -> Tensor:
            every = super().forward(keypoints_2d, *others)
            return every if predicts_all else every[:, 1]

    found = evaluate(
        Target(),
        gappy,
        "validation",
        EvaluateConfig(batch_size=3),
        data=DataConfig(keypoint_source="gt"),  # the same in both views
        level_names=(),
        windowing=Windowing(WindowShape(3), predicts_all),
    )
    data = windowed(gappy, "validation", shape=WindowShape(3), keypoint_source="gt")
    plain = EveryFrame()(torch.from_numpy(data.frames.keypoints_2d[PLAIN]))
    rows = np.searchsorted(data.frames.rows, found.rows)
    np.testing.assert_allclose(found.predicted_mm, 1000 * plain[rows].double().numpy(), atol=1e-3)
