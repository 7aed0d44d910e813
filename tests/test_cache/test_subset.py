from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache import CacheError, CacheIncomplete, CacheReader, verify
from cache.derived.subset import subset
from tests.test_cache.factory import CONTENT_IDENTITY, make_spec, store_bytes, write_store

SPEC = make_spec(43)  # clips of 5 rows in turn: train, validation, test


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "all.zarr", SPEC)


def test_chosen_rows_have_equal_values_and_whole_clips(tmp_path: Path, store: Path) -> None:
    out = tmp_path / "some.zarr"
    counts = subset(store, out, {"split": ["train", "test"], "subject": ["S0", "S2", "S3"]})
    old, new = CacheReader(store), CacheReader(out)
    words = [old.index(name).words() for name in ("split", "subject")]
    rows = [
        row
        for row, (split, subject) in enumerate(zip(*words, strict=True))
        if split != "validation" and subject != "S1"
    ]
    assert counts == (len(rows), 43)
    assert verify(out).ok
    for view in (0, 1):
        for name, values in new.read(range(len(new)), view=view).items():
            np.testing.assert_array_equal(values, old.read(rows, view=view)[name])
        for source in ("detector", "gt"):
            np.testing.assert_array_equal(
                new.keypoints(source, view), old.keypoints(source, view)[rows]
            )
        np.testing.assert_array_equal(new.affine(view), old.affine(view)[rows])
    np.testing.assert_array_equal(new.status(), old.status()[rows])
    np.testing.assert_array_equal(new.labels("joints_3d_mm"), old.labels("joints_3d_mm")[rows])
    for name in ("clip", "item", "camera", "frame"):
        column, expected = new.index(name), old.index(name)
        if expected.vocabulary is None:
            np.testing.assert_array_equal(column.codes, expected.codes[rows])
        else:
            assert column.words() == [expected.words()[row] for row in rows]


def test_the_detector_is_the_same_and_the_content_says_of_what_it_is_a_subset(
    tmp_path: Path, store: Path
) -> None:
    subset(store, tmp_path / "some.zarr", {"split": ["test", "train"]})
    new = CacheReader(tmp_path / "some.zarr")
    assert new.feature_identity == CacheReader(store).feature_identity
    assert new.content_identity == {
        "subset_of": CONTENT_IDENTITY,
        "where": {"split": ["test", "train"]},
    }


def test_subsets_join_to_the_whole(tmp_path: Path, store: Path) -> None:
    for split in ("train", "test"):
        subset(store, tmp_path / f"{split}.zarr", {"split": [split]})
    joined = CacheReader([tmp_path / "train.zarr", tmp_path / "test.zarr"])
    assert set(joined.index("split").words()) == {"train", "test"}


def test_a_second_call_changes_nothing_and_another_condition_is_refused(
    tmp_path: Path, store: Path
) -> None:
    out = tmp_path / "some.zarr"
    subset(store, out, {"frame": ["1", "6"]})
    before = store_bytes(out)
    subset(store, out, {"frame": ["1", "6"]})
    assert store_bytes(out) == before
    with pytest.raises(CacheError, match="other settings"):
        subset(store, out, {"frame": ["1"]})


def test_an_incomplete_store_gives_only_what_is_committed(tmp_path: Path) -> None:
    part = write_store(tmp_path / "part.zarr", SPEC, [0, 1])  # rows 0 to 7: train, validation
    with pytest.raises(CacheIncomplete, match="chunks"):
        subset(part, tmp_path / "a.zarr", {"split": ["train"]})
    assert subset(part, tmp_path / "b.zarr", {"clip": ["clip 0"]}) == (5, 43)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({}, "needs a condition"),
        ({"colour": ["red"]}, "no index column 'colour'"),
        ({"split": ["trian"]}, "no row has split trian; there are train, validation, test"),
        ({"frame": ["first"]}, "whole numbers"),
        ({"clip": ["clip 0"], "split": ["test"]}, "no row has clip in"),
    ],
)
def test_conditions_that_choose_nothing_say_why(
    tmp_path: Path, store: Path, where: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(CacheError, match=message):
        subset(store, tmp_path / "none.zarr", where)
    assert not (tmp_path / "none.zarr").exists()


def test_a_store_is_not_replaced_by_its_subset(store: Path) -> None:
    with pytest.raises(CacheError, match="its own store"):
        subset(store, store, {"split": ["train"]})
