"""Windows of frames, from the store to what a lifter says about every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cache import CacheReader, ClipWindows, FrameStatus, WindowShape
from cache.skeletons import H36M17
from stages.lift import DataConfig, EvaluateConfig
from stages.lift.evaluation import Evaluation, evaluate
from stages.lift.feed.batches import Batch, LiftData
from stages.lift.feed.samples import FLIPPED, PLAIN
from stages.lift.feed.windows import Windowing
from stages.lift.processes.world import World
from tests.test_cache.windows_by_hand import window_by_hand
from tests.test_lift.stores import COMPRESSED, CROP_SIZE, IMAGE_SIZE, build_plan, write_store

NAMES = ("x8", "x16")
SPLITS = {"train": 26, "validation": 9, "test": 13}
CLIP = 10  # frames; the last clip of a split is shorter
BAD_ROWS = {4: FrameStatus.NO_PERSON, 20: FrameStatus.MISSING, 38: FrameStatus.MISSING}
NO_ROOT_LABEL = (7, 12, 40)  # inputs, but no samples
SHAPES = [
    WindowShape(1),
    WindowShape(3),
    WindowShape(9),
    WindowShape(27),
    WindowShape(3, step=2),
    WindowShape(4, causal=True),
]


def write_gappy(path: Path, **options: Any) -> CacheReader:
    """A store with rows that cannot be used, rows without labels, and joints without."""
    valid = np.random.default_rng(2).random((sum(SPLITS.values()), 17)) < 0.8
    valid[:, 0] = True
    valid[SPLITS["train"] :] = True
    valid[list(NO_ROOT_LABEL)] = False
    plan = build_plan(SPLITS, clip_length=CLIP, valid=valid)
    return write_store(path, plan=plan, status=BAD_ROWS, **options)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_gappy(tmp_path_factory.mktemp("stores") / "gappy.zarr")


def windowed(
    reader: CacheReader,
    split: str = "train",
    *,
    shape: WindowShape,
    predicts_all: bool = False,
    levels: Sequence[str] = NAMES,
    flipped: bool = True,
    world: World | None = None,
    complete_labels: bool = False,
    **options: Any,
) -> LiftData:
    return LiftData(
        reader,
        split,
        config=DataConfig.model_validate(options),
        level_names=levels,
        flipped=flipped,
        windowing=Windowing(shape, predicts_all),
        world=world or World.alone(),
        complete_labels=complete_labels,
    )


# Batches by hand, from the reader and plain loops.


@cache
def usable_clips(reader: CacheReader, split: str) -> list[list[int]]:
    """Rows that can be used, by clip."""
    splits, clips = reader.index("split"), reader.index("clip").codes
    code = (splits.vocabulary or ()).index(split)
    rows = [
        row
        for row in np.flatnonzero(splits.codes == code).tolist()
        if reader.status()[row] == FrameStatus.OK
    ]
    found = sorted({int(clips[row]) for row in rows}, key=[int(clips[row]) for row in rows].index)
    return [[row for row in rows if clips[row] == clip] for clip in found]


@cache
def window_rows_by_hand(
    reader: CacheReader, split: str, row: int, shape: WindowShape
) -> tuple[list[int], list[bool]]:
    clips, numbers = usable_clips(reader, split), reader.index("frame").codes
    rows = [row for clip in clips for row in clip]
    frames = [[int(numbers[row]) for row in clip] for clip in clips]
    positions, real = window_by_hand(frames, rows.index(row), shape)
    return [rows[position] for position in positions], real


@cache
def frame_by_hand(reader: CacheReader, row: int, view: int) -> dict[str, np.ndarray]:
    """Inputs and labels of one frame of one view, in float64."""
    height, width = IMAGE_SIZE
    px = reader.keypoints("detector", view=view)[row, :, :2].astype(np.float64)
    screen = px / width * 2 - [1, height / width]
    affine = reader.affine(view=view)[row]
    unit = (px @ affine[:, :2].T + affine[:, 2]) / (np.array(CROP_SIZE[::-1]) / 2) - 1
    joints_mm = reader.labels("joints_3d_mm")[row].astype(np.float64)
    target_m = (joints_mm - joints_mm[0]) / 1000
    valid = reader.labels("valid")[row] & reader.labels("valid")[row, 0]
    if view == FLIPPED:
        swap = H36M17.swap
        screen, target_m = screen[swap] * [-1, 1], target_m[swap] * [-1, 1, 1]
        unit, valid = unit[swap], valid[swap]
    maps = reader.read([row], levels=NAMES, view=view)
    return {
        "keypoints": screen,
        "reference": unit,
        "target": target_m,
        "valid": valid,
        **{name: maps[name][0] for name in NAMES},
    }


def require_batch(
    batch: Batch,
    data: LiftData,
    rows: Sequence[int],
    views: Sequence[int],
    shape: WindowShape,
    *,
    maps_from: Callable[[int], int] = lambda row: row,
) -> None:
    """Compares every number of a batch with those found one by one."""
    assert data.windowing is not None
    assert batch.window_rows is not None
    reader, split = data.reader, data.samples.split
    needed = set()
    for b, (row, view) in enumerate(zip(rows, views, strict=True)):
        window, real = window_rows_by_hand(reader, split, row, shape)
        for f, seen in enumerate(window):
            expected = frame_by_hand(reader, seen, view)
            needed.add((seen, view))
            place = int(batch.window_rows[b, f])
            close(batch.keypoints_2d[b, f], expected["keypoints"])
            close(batch.reference_points[place], expected["reference"])
            lender = frame_by_hand(reader, maps_from(seen), view)
            for level, name in zip(batch.levels, NAMES, strict=True):
                np.testing.assert_array_equal(level[place], lender[name])
            if data.windowing.predicts_all:
                valid = expected["valid"] & real[f]
                np.testing.assert_array_equal(batch.valid[b, f], valid)
                close(batch.target_m[b, f][valid], expected["target"][valid])
        if not data.windowing.predicts_all:
            expected = frame_by_hand(reader, row, view)
            valid = expected["valid"]
            np.testing.assert_array_equal(batch.valid[b], valid)
            close(batch.target_m[b][valid], expected["target"][valid])
    # Frames that windows share are there once.
    assert len(batch.reference_points) == len(batch.levels[0]) == len(needed)


def close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("predicts_all", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batches_of_windows_are_those_found_one_by_one(
    gappy: CacheReader, shape: WindowShape, predicts_all: bool
) -> None:
    data = windowed(gappy, shape=shape, predicts_all=predicts_all)
    chosen = np.array([0, 1, 8, 9, 3, 20, 21])
    views = np.array([0, 1, 0, 0, 1, 1, 0])
    batch = data.batch(chosen, views=views)
    assert batch.samples.tolist() == chosen.tolist()
    rows = data.samples.rows[chosen].tolist()
    require_batch(batch, data, rows, views.tolist(), shape)
    counted = data.num_valid(chosen, views)
    assert counted == int(batch.valid.sum())


def crossing(data: LiftData, batch: Batch) -> Batch:
    """The batch, if all frames of the split were of one clip."""
    count = len(data.frames)
    assert data.windows is not None
    data.windows = ClipWindows(np.zeros(count, np.int32), np.arange(count), data.windows.shape)
    return data.batch(batch.samples, views=np.zeros(len(batch), np.int64))


FAULTS: dict[str, Callable[[LiftData, Batch], Batch]] = {
    "windows cross clips": crossing,
    "maps of the frame before": lambda _, batch: replace(
        batch, levels=[level.roll(1, 0) for level in batch.levels]
    ),
    "keypoints of the frame before": lambda _, batch: replace(
        batch, keypoints_2d=batch.keypoints_2d.roll(1, 1)
    ),
    "the other view": lambda data, batch: data.batch(
        batch.samples, views=np.ones(len(batch), np.int64)
    ),
    "labels of frames without": lambda _, batch: replace(batch, valid=torch.ones_like(batch.valid)),
    "a frame too many": lambda _, batch: replace(
        batch,
        reference_points=torch.cat((batch.reference_points, batch.reference_points[:1])),
        levels=[torch.cat((level, level[:1])) for level in batch.levels],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_of_batches_sees_a_fault(gappy: CacheReader, fault: str) -> None:
    shape = WindowShape(3)
    data = windowed(gappy, shape=shape, predicts_all=True)
    chosen, views = np.array([7, 8, 11]), np.zeros(3, np.int64)
    batch = data.batch(chosen, views=views)
    rows = data.samples.rows[chosen].tolist()
    require_batch(batch, data, rows, [0, 0, 0], shape)
    with pytest.raises(AssertionError):
        require_batch(FAULTS[fault](data, batch), data, rows, [0, 0, 0], shape)


def test_frames_without_labels_are_seen_but_are_no_samples(gappy: CacheReader) -> None:
    data = windowed(gappy, shape=WindowShape(3), predicts_all=True)
    labelled, seen = data.samples.rows.tolist(), data.frames.rows.tolist()
    assert [row for row in seen if row not in labelled] == [7, 12]
    assert not {4, 20} & set(seen)
    sample = labelled.index(6)
    batch = data.batch(np.array([sample]), views=np.array([PLAIN]))
    close(batch.keypoints_2d[0, 2], frame_by_hand(gappy, 7, PLAIN)["keypoints"])
    assert batch.valid[0, 1].any()
    assert not batch.valid[0, 2].any()


def test_shuffled_context_lends_every_frame_the_maps_of_another_clip(gappy: CacheReader) -> None:
    shape = WindowShape(3)
    own, data = windowed(gappy, shape=shape), windowed(gappy, shape=shape, context="shuffled")
    clips = gappy.index("clip").codes
    lenders: dict[int, set[int]] = {}
    for first, second in zip(
        own.ordered_batches(batch_size=7, view=0),
        data.ordered_batches(batch_size=7, view=0),
        strict=True,
    ):
        assert torch.equal(first.keypoints_2d, second.keypoints_2d)
        assert torch.equal(first.reference_points, second.reference_points)
        for frame, value in zip(
            data.frames.rows[second.map_frames], second.levels[0][:, 0, 0, 0].tolist(), strict=True
        ):
            lenders.setdefault(int(frame), set()).add(int(value))
            assert clips[frame] != clips[int(value)]
    assert all(len(each) == 1 for each in lenders.values())  # the same in every batch
    lent = {frame: each.pop() for frame, each in lenders.items()}
    assert len(set(lent.values())) == len(lent)
    batch = data.ordered_batches(batch_size=7, view=1)[1]
    rows = data.samples.rows[batch.samples].tolist()
    require_batch(batch, data, rows, [1] * 7, shape, maps_from=lent.__getitem__)


def test_without_context_windows_see_zeros(gappy: CacheReader) -> None:
    data = windowed(gappy, shape=WindowShape(3), context="none")
    batch = data.batch(np.array([1, 2]), views=np.array([0, 1]))
    assert [tuple(level.shape) for level in batch.levels] == [(6, 8, 6, 6), (6, 4, 3, 8)]
    assert not any(level.any() for level in batch.levels)
    assert batch.reference_points.any()


def test_lifters_of_keypoints_get_no_rows_of_maps(gappy: CacheReader) -> None:
    data = windowed(gappy, shape=WindowShape(3), levels=())
    batch = data.batch(np.array([1, 2]), views=np.array([0, 1]))
    assert batch.window_rows is None
    assert batch.levels == []
    assert batch.reference_points.shape == (0, 17, 2)
    assert batch.keypoints_2d.shape == (2, 3, 17, 2)


def test_an_epoch_of_windows_has_every_sample_once_as_target(gappy: CacheReader) -> None:
    data = windowed(gappy, shape=WindowShape(3))
    batches = data.training_batches(batch_size=5, rng=np.random.default_rng(3))
    samples = np.concatenate([batch.samples for batch in batches])
    assert sorted(samples) == list(range(len(data)))
    assert list(samples) != sorted(samples)
    views = set()
    for batch in batches:
        assert batch.window_rows is not None
        owners = batch.levels[0][batch.window_rows[:, 1], 0, 0, 0].numpy()
        rows = np.floor(owners).astype(int)
        np.testing.assert_array_equal(rows, data.samples.rows[batch.samples])
        views |= set(((owners - rows) / 0.25).tolist())
    assert views == {0, 1}


# What is read.


class Spying(CacheReader):
    """Notes the rows and views that are read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[int, int]] = []

    def read(self, rows: Any, *, view: Any = 0, **options: Any) -> dict[str, Any]:
        views = np.broadcast_to(view, len(rows))
        self.seen += zip(np.asarray(rows).tolist(), views.tolist(), strict=True)
        return super().read(rows, view=view, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_batch_reads_each_row_its_windows_need_once_and_no_other(
    gappy: CacheReader, shape: WindowShape
) -> None:
    reader = Spying(gappy.locations)
    data = windowed(reader, shape=shape)
    chosen, views = np.array([5, 6, 7, 20, 6]), np.array([0, 0, 1, 1, 0])
    needed = {
        (seen, int(view))
        for row, view in zip(data.samples.rows[chosen].tolist(), views, strict=True)
        for seen in window_rows_by_hand(gappy, "train", row, shape)[0]
    }
    assert reader.seen == []
    data.batch(chosen, views=views)
    assert sorted(reader.seen) == sorted(needed)


def test_tiles_read_every_row_about_once(gappy: CacheReader) -> None:
    reader = Spying(gappy.locations)
    data = windowed(reader, shape=WindowShape(9), predicts_all=True)
    for _ in data.tile_batches(batch_size=4, view=FLIPPED):
        pass
    assert {row for row, _ in reader.seen} == set(data.frames.rows.tolist())
    assert len(reader.seen) < 1.5 * len(data.frames)


@pytest.mark.parametrize("layout", ["raw", "compressed"])
def test_maps_in_memory_and_compressed_ones_are_those_of_the_disk(
    gappy: CacheReader, tmp_path: Path, layout: str
) -> None:
    reader = gappy
    if layout == "compressed":
        reader = write_gappy(tmp_path / "compressed.zarr", layout=COMPRESSED)
    held = windowed(reader, shape=WindowShape(3))
    held.hold_maps(torch.device("cpu"), report=lambda _: None)
    read = windowed(reader, shape=WindowShape(3))
    expected = windowed(gappy, shape=WindowShape(3))
    for number in range(4):
        ours, theirs = (
            data.training_batches(batch_size=6, rng=np.random.default_rng(1))[number]
            for data in (held, read)
        )
        assert ours.window_rows is not None
        views = (ours.levels[0][:, 0, 0, 0] % 1 / 0.25).long()[ours.window_rows[:, 1]].numpy()
        plain = expected.batch(ours.samples, views=views)
        for other in (theirs, plain):
            assert all(map(torch.equal, ours.tensors(), other.tensors()))


# Several processes.


@pytest.mark.parametrize("predicts_all", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_parts_of_several_processes_are_the_batch_and_read_their_own_clips(
    gappy: CacheReader, size: int, predicts_all: bool
) -> None:
    shape = WindowShape(3)
    whole = windowed(gappy, shape=shape, predicts_all=predicts_all)
    readers = [Spying(gappy.locations) for _ in range(size)]
    parts = [
        windowed(
            reader,
            shape=shape,
            predicts_all=predicts_all,
            world=World(rank=rank, size=size, local_rank=rank, local_size=size),
        )
        for rank, reader in enumerate(readers)
    ]
    for number, batch in enumerate(
        whole.training_batches(batch_size=8, rng=np.random.default_rng(5))
    ):
        shares = [
            data.training_batches(batch_size=8, rng=np.random.default_rng(5))[number]
            for data in parts
        ]
        joined = np.concatenate([share.samples for share in shares])
        assert sorted(joined) == sorted(batch.samples)
        counts = [int(share.valid.sum()) for share in shares]
        assert sum(counts) == int(batch.valid.sum())
        for share, count in zip(shares, counts, strict=True):
            assert share.loss_weight == pytest.approx(size * count / sum(counts))
    owned = [{row for row, _ in reader.seen} for reader in readers]
    assert sum(map(len, owned)) == len(set().union(*owned))  # no row is read by two
    shown = np.concatenate([data.shown() for data in parts])
    assert shown.tolist() == list(range(len(whole)))


# Predictions of every frame.


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
    rows = data.frames.rows[tiles.targets].tolist()
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
