"""Batches of windows of frames, against those that plain loops over the reader make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import CacheReader, ClipWindows, WindowShape
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import FLIPPED, PLAIN
from stages.lift.processes.world import World
from tests.test_lift.stores import COMPRESSED
from tests.test_lift.windows_by_hand import (
    NAMES,
    SHAPES,
    Spying,
    close,
    frame_by_hand,
    window_rows_by_hand,
    windowed,
    write_gappy,
)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    return write_gappy(tmp_path_factory.mktemp("stores") / "gappy.zarr")


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
    counted = data.maker.num_valid(chosen, views)
    assert counted == int(batch.valid.sum())


def crossing(data: LiftData, batch: Batch) -> Batch:
    """The batch, if all frames of the split were of one clip."""
    count = len(data.frames)
    assert data.windows is not None
    one = ClipWindows(np.zeros(count, np.int32), np.arange(count), data.windows.shape)
    data.windows = data.maker.windows = one
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


def test_frames_without_labels_have_no_labelled_keypoints_to_be_seen(gappy: CacheReader) -> None:
    data = windowed(gappy, shape=WindowShape(3), keypoint_source="gt")
    assert data.frames.rows.tolist() == data.samples.rows.tolist()
    assert not {7, 12} & set(data.frames.rows.tolist())


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


def test_shuffled_context_lends_maps_to_windows_that_are_predicted_as_a_whole(
    gappy: CacheReader,
) -> None:
    data = windowed(gappy, "train", shape=WindowShape(3), predicts_all=True, context="shuffled")
    lent = {
        frame: lender
        for batch in data.ordered_batches(batch_size=4, view=0)
        for frame, lender in lenders_of(data, batch)
    }
    tiles = [
        pair
        for batch in data.tile_batches(batch_size=2, view=0)
        for pair in lenders_of(data, batch)
    ]
    assert tiles
    clips = gappy.index("clip").codes
    for frame, lender in tiles:
        assert clips[frame] != clips[lender]
        assert lent.get(frame, lender) == lender


def lenders_of(data: LiftData, batch: Batch) -> list[tuple[int, int]]:
    """Rows of a batch of the plain view, each with the row whose maps it sees."""
    lenders = batch.levels[0][:, 0, 0, 0].int().tolist()
    return list(zip(data.frames.rows[batch.map_frames].tolist(), lenders, strict=True))


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
