from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheReader, FrameStatus
from cache.skeletons import H36M17
from stages.lift import DataConfig, EmptySplit, LiftError
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import mirror
from stages.lift.feed.order import draw_donors
from stages.lift.feed.samples import splits_of
from tests.test_lift.stores import CROP_SIZE, IMAGE_SIZE, build_plan, write_store

NAMES = ("x8", "x16")
RNG_SEED = 3


def lift_data(reader: CacheReader, split: str = "train", **options: object) -> LiftData:
    config = DataConfig.model_validate(options)
    return LiftData(reader, split, config=config, level_names=NAMES, flipped=True)


def map_owners(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Rows and views that the maps name in their first value."""
    values = batch.levels[0][:, 0, 0, 0].numpy().astype(np.float64)
    return np.floor(values).astype(int), ((values % 1) / 0.25).astype(int)


def test_a_plain_sample_holds_the_published_quantities(store: CacheReader) -> None:
    data = lift_data(store, keypoint_source="gt")
    batch = data.batch(np.array([5]), views=np.array([0]))
    px = store.labels("joints_2d_px")[5].astype(np.float64)
    height, width = IMAGE_SIZE
    expected = np.stack([px[:, 0] / width * 2 - 1, px[:, 1] / width * 2 - height / width], -1)
    np.testing.assert_allclose(batch.keypoints_2d[0], expected, atol=1e-6)
    crop_px = px @ store.affine(view=0)[5, :, :2].T + store.affine(view=0)[5, :, 2]
    unit = crop_px / (np.array(CROP_SIZE[::-1]) / 2) - 1
    np.testing.assert_allclose(batch.reference_points[0], unit, atol=1e-6)
    joints_mm = store.labels("joints_3d_mm")[5]
    np.testing.assert_allclose(batch.target_m[0], (joints_mm - joints_mm[0]) / 1000, atol=1e-6)
    assert [tuple(level.shape) for level in batch.levels] == [(1, 8, 6, 6), (1, 4, 3, 8)]


def test_a_flipped_sample_is_the_mirrored_world(store: CacheReader) -> None:
    data = lift_data(store, keypoint_source="gt")
    plain = data.batch(np.array([5]), views=np.array([0]))
    flipped = data.batch(np.array([5]), views=np.array([1]))
    swap = H36M17.swap
    sign = np.array([-1.0, 1.0])
    for name, signs in (("keypoints_2d", sign), ("target_m", np.array([-1.0, 1.0, 1.0]))):
        expected = getattr(plain, name).numpy()[:, swap] * signs
        np.testing.assert_allclose(getattr(flipped, name), expected, atol=1e-6)
    # The mirrored crop has crop px W-1-x, of which the published unit frame makes -u - 2/W.
    expected = plain.reference_points.numpy()[:, swap] * sign - [2 / CROP_SIZE[1], 0.0]
    np.testing.assert_allclose(flipped.reference_points, expected, atol=1e-6)


def test_flipped_keypoints_are_those_detected_in_the_flipped_view(store: CacheReader) -> None:
    data = lift_data(store)
    batch = data.batch(np.array([2]), views=np.array([1]))
    detected_px = store.keypoints("detector", view=1)[2, H36M17.swap, 0]
    np.testing.assert_allclose(batch.keypoints_2d[0, :, 0], 1 - detected_px / 64, atol=1e-6)
    assert not np.allclose(detected_px, store.keypoints("detector", view=0)[2, H36M17.swap, 0])


def test_an_epoch_has_every_sample_once_with_its_own_maps_and_both_views(
    store: CacheReader,
) -> None:
    data = lift_data(store)
    batches = list(data.training_batches(batch_size=5, rng=np.random.default_rng(RNG_SEED)))
    samples = np.concatenate([batch.samples for batch in batches])
    assert sorted(samples) == list(range(24))
    assert list(samples) != sorted(samples)
    rows, views = (np.concatenate(parts) for parts in zip(*map(map_owners, batches), strict=True))
    np.testing.assert_array_equal(rows, data.samples.rows[samples])
    assert set(views) == {0, 1}
    screen_x = np.concatenate([batch.keypoints_2d[:, 0, 0] for batch in batches])
    np.testing.assert_array_equal(screen_x, data.samples.keypoints_2d[views, samples, 0, 0])


def test_shuffled_context_takes_maps_of_other_clips_and_leaves_the_rest(
    store: CacheReader,
) -> None:
    own, shuffled = lift_data(store), lift_data(store, context="shuffled")
    for a, b in zip(
        own.ordered_batches(batch_size=7, view=0),
        shuffled.ordered_batches(batch_size=7, view=0),
        strict=True,
    ):
        np.testing.assert_array_equal(a.keypoints_2d, b.keypoints_2d)
        np.testing.assert_array_equal(a.reference_points, b.reference_points)
        np.testing.assert_array_equal(a.target_m, b.target_m)
        clips = store.index("clip").codes
        assert (clips[map_owners(a)[0]] != clips[map_owners(b)[0]]).all()


def epoch_owners(data: LiftData, seed: int) -> list[int]:
    batches = data.training_batches(batch_size=24, rng=np.random.default_rng(seed))
    return [int(row) for batch in batches for row in map_owners(batch)[0]]


def test_shuffled_context_pairs_anew_in_every_epoch_but_once_and_for_all_in_evaluation(
    store: CacheReader,
) -> None:
    data = lift_data(store, context="shuffled")
    assert epoch_owners(data, 1) != epoch_owners(data, 2)
    assert sorted(epoch_owners(data, 1)) == list(range(24))
    first, second = (
        [map_owners(batch)[0].tolist() for batch in data.ordered_batches(batch_size=7, view=view)]
        for view in (0, 1)
    )
    assert first == second


def test_a_mirrored_sample_takes_the_mirrored_map_of_its_donor(store: CacheReader) -> None:
    data = lift_data(store, context="shuffled")
    (batch,) = data.ordered_batches(batch_size=24, view=1)
    assert set(map_owners(batch)[1]) == {1}


def test_no_context_means_maps_of_zeros(store: CacheReader) -> None:
    data = lift_data(store, context="none")
    batch = next(iter(data.ordered_batches(batch_size=4, view=0)))
    assert [tuple(level.shape) for level in batch.levels] == [(4, 8, 6, 6), (4, 4, 3, 8)]
    assert not any(level.any() for level in batch.levels)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12).filter(lambda x: sum(x) > 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_donors_are_a_permutation_without_fixed_points_across_clips(
    lengths: list[int], seed: int
) -> None:
    clips = np.repeat(np.arange(len(lengths)), lengths)
    donors = draw_donors(clips, np.random.default_rng(seed))
    assert sorted(donors) == list(range(len(clips)))
    assert (donors != np.arange(len(clips))).all()
    if max(lengths) * 2 <= len(clips):
        assert (clips[donors] != clips).all()


def test_a_single_sample_has_no_donor() -> None:
    with pytest.raises(LiftError, match="at least two samples"):
        draw_donors(np.zeros(1, dtype=np.int64), np.random.default_rng(0))


def test_mirroring_twice_is_identity() -> None:
    points = np.random.default_rng(0).normal(size=(4, 17, 3))
    before = points.copy()
    np.testing.assert_array_equal(mirror(mirror(points, H36M17.swap), H36M17.swap), points)
    np.testing.assert_array_equal(points, before)


def test_bad_rows_are_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    plan = build_plan({"train": 12})
    plan.valid[3, 0] = False
    plan.valid[4, 7] = False
    reader = write_store(
        tmp_path / "bad.zarr",
        plan=plan,
        status={0: FrameStatus.MISSING, 1: FrameStatus.MISSING, 9: FrameStatus.NO_PERSON},
    )
    data = lift_data(reader)
    assert data.samples.rows.tolist() == [2, 4, 5, 6, 7, 8, 10, 11]
    assert data.samples.dropped == {"MISSING": 2, "NO_PERSON": 1, "NO_ROOT_LABEL": 1}
    assert not data.samples.valid[0, 1, 7]
    assert not data.samples.valid[1, 1, 7]  # the spine is its own mirror image


def test_a_split_without_usable_rows_is_refused(tmp_path: Path, store: CacheReader) -> None:
    missing = dict.fromkeys(range(4), FrameStatus.MISSING)
    reader = write_store(tmp_path / "bad.zarr", {"train": 4}, status=missing)
    with pytest.raises(EmptySplit, match=r"No row of the split 'train' .*'MISSING': 4"):
        lift_data(reader)
    with pytest.raises(EmptySplit, match="no rows of the split 'trian'; it has train, validation"):
        lift_data(store, "trian")


def test_a_keypoint_source_or_view_that_is_not_stored_is_refused(
    tmp_path: Path, store: CacheReader
) -> None:
    with pytest.raises(LiftError, match="no keypoints 'imported:cpn'; it has detector, gt"):
        lift_data(store, keypoint_source="imported:cpn")
    plain_only = write_store(tmp_path / "plain.zarr", {"train": 4}, views=("plain",))
    with pytest.raises(LiftError, match=r"holds the views plain, .*train\.flip=false"):
        lift_data(plain_only)


def test_the_splits_of_a_store_are_those_with_rows(store: CacheReader) -> None:
    assert splits_of(store) == ("train", "validation", "test", "test_new_cameras")
