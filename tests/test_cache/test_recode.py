from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import (
    CacheError,
    CacheMismatch,
    CacheReader,
    verify,
)
from cache.derived.recode import recode
from tests.test_cache.factory import (
    FEATURE_IDENTITY,
    make_chunk,
    make_spec,
    open_writer,
    store_bytes,
)

NUM_ROWS = 22
SPEC = make_spec(NUM_ROWS)


def values_of(reader: CacheReader, view: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """What the stored numbers stand for, float64."""
    found = {}
    for name, maps in reader.read(range(len(reader)), view=view).items():
        scales = reader.scales(name)
        # One float32 product, as every user of the codes has it.
        found[name] = maps.astype(np.float32) * (1 if scales is None else scales)
    return found


def write_mixed(path: Path, *, dtype: str = "float16", **changes: Any) -> Path:
    """x4 has negative values, x8 has none; channel 1 of x8 is zero everywhere."""
    spec = replace(SPEC, dtype=dtype, **changes)
    with open_writer(path, spec) as writer:
        for chunk in writer.missing_chunks():
            content = make_chunk(spec, writer.chunk_rows(chunk))
            x8 = np.abs(content.features["x8"])
            x8[..., 1] = 0
            writer.write_chunk(chunk, replace(content, features={**content.features, "x8": x8}))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "a.zarr")


LAYOUTS: list[dict[str, Any]] = [
    {"codec": "zstd"},
    {"codec": "zstd", "inner_rows": 4},
    {"codec": "blosc", "inner_rows": 2, "shard_rows": 8},
    {"shard_rows": 2},
    {"shard_rows": 16, "dtype": "float32"},
    {"dtype": "uint8"},
    {"dtype": "uint8", "codec": "zstd", "inner_rows": 8, "shard_rows": 16},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_recoded_store_is_whole_and_only_its_maps_are_others(
    tmp_path: Path, store: Path, layout: dict[str, Any]
) -> None:
    report = recode(store, tmp_path / "b.zarr", **layout)
    old, new = CacheReader(store), CacheReader(tmp_path / "b.zarr")
    assert verify(tmp_path / "b.zarr").ok
    assert report.chunks_written == report.num_chunks == new.spec.num_chunks
    for key, value in layout.items():
        if key != "dtype":
            assert getattr(new.spec, key) == value
    for view in (0, 1):
        for source in ("detector", "gt"):
            np.testing.assert_array_equal(new.keypoints(source, view), old.keypoints(source, view))
        np.testing.assert_array_equal(new.affine(view), old.affine(view))
    np.testing.assert_array_equal(new.status(), old.status())
    np.testing.assert_array_equal(new.labels("joints_3d_mm"), old.labels("joints_3d_mm"))
    assert new.index("item").words() == old.index("item").words()
    assert new.content_identity == old.content_identity
    if report.is_exact:
        assert new.feature_identity == old.feature_identity
        for view in (0, 1):
            for name, values in values_of(new, view).items():
                np.testing.assert_array_equal(values, values_of(old, view)[name])


def test_codes_are_within_half_a_step_and_the_report_says_how_far(
    tmp_path: Path, store: Path
) -> None:
    report = recode(store, tmp_path / "b.zarr", dtype="uint8")
    old, new = CacheReader(store), CacheReader(tmp_path / "b.zarr")
    kinds = {name: new.level_dtype(name).name for name in new.levels}
    assert kinds == {"x4": "int8", "x8": "uint8"}
    assert not report.is_exact
    for name, error in report.errors.items():
        scales = new.scales(name)
        assert scales is not None
        both = [
            np.concatenate([values_of(reader, view)[name] for view in (0, 1)]).astype(float)
            for reader in (old, new)
        ]
        gap = np.abs(both[0] - both[1])
        assert (gap <= scales / 2 * (1 + 1e-5)).all()
        assert (both[1][both[0] == 0] == 0).all()
        rms = np.sqrt(np.mean(gap**2))
        relative = rms / np.sqrt(np.mean(both[0] ** 2))
        assert error.max_abs == pytest.approx(gap.max())
        assert error.rms == pytest.approx(rms, rel=1e-4)
        assert error.relative_rms == pytest.approx(relative, rel=1e-4)
        assert error.sqnr_db == pytest.approx(-20 * np.log10(relative), rel=1e-4)
    assert new.scales("x8")[1] == 1  # type: ignore[index]


def test_float16_of_float32_is_rounded_to_nearest(tmp_path: Path) -> None:
    store = write_mixed(tmp_path / "a.zarr", dtype="float32")
    with open_writer(tmp_path / "c.zarr", replace(SPEC, dtype="float32")) as writer:
        for chunk in writer.missing_chunks():
            content = make_chunk(writer.spec, writer.chunk_rows(chunk))
            thirds = {name: maps / np.float32(3) for name, maps in content.features.items()}
            writer.write_chunk(chunk, replace(content, features=thirds))
    assert recode(store, tmp_path / "b.zarr", dtype="float16").errors["x4"].sqnr_db is None
    report = recode(tmp_path / "c.zarr", tmp_path / "d.zarr", dtype="float16")
    wide, narrow = CacheReader(tmp_path / "c.zarr"), CacheReader(tmp_path / "d.zarr")
    for name, maps in narrow.read(range(NUM_ROWS)).items():
        np.testing.assert_array_equal(maps, wide.read(range(NUM_ROWS))[name].astype(np.float16))
        assert 60 < (report.errors[name].sqnr_db or 0) < 80


def test_there_and_back_again_gives_the_same_bytes(tmp_path: Path, store: Path) -> None:
    recode(store, tmp_path / "b.zarr", codec="zstd", inner_rows=4, shard_rows=16)
    recode(tmp_path / "b.zarr", tmp_path / "c.zarr", codec="raw", shard_rows=SPEC.shard_rows)
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(store)


def test_codes_keep_their_values_as_codes_and_as_floats(tmp_path: Path, store: Path) -> None:
    recode(store, tmp_path / "b.zarr", dtype="uint8")
    again = recode(tmp_path / "b.zarr", tmp_path / "c.zarr", dtype="uint8", codec="zstd")
    wide = recode(tmp_path / "b.zarr", tmp_path / "d.zarr", dtype="float32")
    assert again.is_exact
    assert wide.is_exact
    codes = values_of(CacheReader(tmp_path / "b.zarr"))
    for copy in ("c.zarr", "d.zarr"):
        for name, values in values_of(CacheReader(tmp_path / copy)).items():
            np.testing.assert_array_equal(values, codes[name])


def test_a_store_of_other_values_has_another_identity(tmp_path: Path, store: Path) -> None:
    recode(store, tmp_path / "b.zarr", dtype="uint8")
    identity = CacheReader(tmp_path / "b.zarr").feature_identity
    assert identity["recoded"][0]["dtype"] == {"x4": "int8", "x8": "uint8"}
    assert {key: identity[key] for key in FEATURE_IDENTITY} == FEATURE_IDENTITY
    with pytest.raises(CacheMismatch, match="recoded"):
        CacheReader([store, tmp_path / "b.zarr"])


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path, store: Path) -> None:
    one = recode(store, tmp_path / "b.zarr", dtype="uint8", codec="blosc", workers=1)
    four = recode(store, tmp_path / "c.zarr", dtype="uint8", codec="blosc", workers=4)
    assert one.errors == four.errors
    assert store_bytes(tmp_path / "b.zarr") == store_bytes(tmp_path / "c.zarr")


def test_progress_counts_chunks_of_both_passes(tmp_path: Path, store: Path) -> None:
    told: list[tuple[str, int, int]] = []
    recode(store, tmp_path / "b.zarr", dtype="uint8", progress=lambda *each: told.append(each))
    assert told == [
        (what, done, SPEC.num_chunks)
        for what in ("survey", "recode")
        for done in range(1, SPEC.num_chunks + 1)
    ]


def test_a_value_beyond_float16_is_refused_by_row_and_level(tmp_path: Path) -> None:
    spec = make_spec(6, dtype="float32")
    with open_writer(tmp_path / "a.zarr", spec) as writer:
        for chunk in writer.missing_chunks():
            content = make_chunk(spec, writer.chunk_rows(chunk))
            if chunk == 1:
                content.features["x8"][1, 0, 0, 0, 0] = 70000
            writer.write_chunk(chunk, content)
    with pytest.raises(CacheError, match=r"row 5 of level x8 has the value 70000"):
        recode(tmp_path / "a.zarr", tmp_path / "b.zarr", dtype="float16")
    assert not (tmp_path / "b.zarr").exists()
    assert not recode(tmp_path / "a.zarr", tmp_path / "b.zarr", dtype="uint8").is_exact


@pytest.mark.parametrize("target", [".", "inside.zarr", "../a.zarr"])
def test_recoding_in_place_is_refused(store: Path, target: str) -> None:
    before = store_bytes(store)
    with pytest.raises(CacheError, match="cannot be recoded in place"):
        recode(store, store / target, dtype="uint8")
    assert store_bytes(store) == before


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"inner_rows": 2}, "inner_rows is 1"),
        ({"shard_rows": 3}, "power of two"),
        ({"codec": "zstd", "inner_rows": 3}, "does not divide"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(
    tmp_path: Path, store: Path, layout: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CacheError, match=reason):
        recode(store, tmp_path / "b.zarr", **layout)
    assert not (tmp_path / "b.zarr").exists()
