from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import CacheReader, CacheSpec, LevelSpec, RowPlan, verify
from cache.plan import INDEX_COLUMNS
from cache.schema import chunk_arrays
from tests.test_cache.factory import (
    array_rows,
    make_chunk,
    make_plan,
    make_spec,
    open_writer,
    store_bytes,
    write_store,
)

SIZES = st.integers(1, 7)


@st.composite
def specs(draw: st.DrawFn) -> CacheSpec:
    levels = tuple(
        LevelSpec(f"x{2**i}", draw(SIZES), draw(SIZES), draw(SIZES), 2**i)
        for i in range(draw(st.integers(1, 3)))
    )
    return make_spec(
        draw(st.integers(1, 20)),
        levels=levels,
        shard_rows=2 ** draw(st.integers(0, 5)),
        views=draw(st.sampled_from([("plain",), ("plain", "flipped")])),
        dtype=draw(st.sampled_from(["float16", "float32"])),
        keypoint_sources=draw(st.sampled_from([("detector", "gt"), ("gt",), ("imported:cpn",)])),
        skeleton=draw(st.sampled_from(["H36M17", "WHOLEBODY133"])),
    )


@settings(max_examples=10, deadline=None)
@given(specs(), st.data())
def test_any_layout_reads_back_equal_through_the_reader_and_through_zarr(
    spec: CacheSpec, data: st.DataObject
) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, spec.num_rows - 1), max_size=12)), dtype=int)
    views = np.array([data.draw(st.integers(0, spec.num_views - 1)) for _ in rows], dtype=int)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        with open_writer(path, spec) as writer:
            for chunk in data.draw(st.permutations(writer.missing_chunks())):
                numbers = writer.chunk_rows(chunk)
                assert writer.write_chunk(chunk, make_chunk(spec, numbers))
        reader, group = CacheReader(path), zarr.open_group(str(path), mode="r")
        batch = reader.read(rows, view=views)
        for level in spec.levels:
            expected = array_rows(spec, f"features/{level.name}", np.arange(spec.num_rows))
            np.testing.assert_array_equal(batch[level.name], expected[rows, views])
            assert batch[level.name].dtype == spec.dtype
        for name in chunk_arrays(spec, "H36M17"):
            array: Any = group[name]
            expected = array_rows(spec, name, np.arange(spec.num_rows))
            np.testing.assert_array_equal(array[...], expected)
            assert array.dtype == expected.dtype
        for view in range(spec.num_views):
            for source in spec.keypoint_sources:
                np.testing.assert_array_equal(
                    reader.keypoints(source, view, rows=rows),
                    array_rows(spec, f"keypoints/{source}", np.arange(spec.num_rows))[rows, view],
                )
        assert verify(path).ok


def assert_same_plan(reader: CacheReader, plan: RowPlan) -> None:
    for name, values in plan.label_arrays().items():
        np.testing.assert_array_equal(reader.labels(name), values)
        assert reader.labels(name).dtype == values.dtype
    for name in INDEX_COLUMNS:
        np.testing.assert_array_equal(reader.index(name).codes, plan.index[name].codes)
        assert reader.index(name).vocabulary == plan.index[name].vocabulary
    np.testing.assert_array_equal(reader.image_size(), plan.image_size)


def test_plan_reads_back_equal(tmp_path: Path) -> None:
    plan = make_plan(22)
    reader = CacheReader(write_store(tmp_path / "a.zarr", make_spec(22)))
    assert_same_plan(reader, plan)
    assert reader._parts[0].table.plan().fingerprint() == plan.fingerprint()
    for stored, camera in zip(reader.cameras(), plan.cameras, strict=True):
        assert (stored.name, stored.fps) == (camera.name, camera.fps)
        np.testing.assert_array_equal(stored.K, camera.K)
        np.testing.assert_array_equal(stored.t_mm, camera.t_mm)


def test_optional_labels_read_back_equal(tmp_path: Path) -> None:
    plan = make_plan(5)
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    plan = replace(plan, visible=~plan.valid, boxes_px=boxes, cameras=())
    reader = CacheReader(write_store(tmp_path / "a.zarr", make_spec(5), plan=plan))
    assert_same_plan(reader, plan)
    assert reader.cameras() == ()


def test_zarr_lists_every_array_without_a_warning(tmp_path: Path) -> None:
    path = write_store(tmp_path / "a.zarr", make_spec(9))
    members = dict(zarr.open_group(str(path), mode="r").members(max_depth=None))
    assert {"features/x4", "keypoints/gt", "crop/affine", "status", "commit", "cameras/K"} <= set(
        members
    )
    commit: Any = members["commit"]
    assert commit[...].tolist() == [1, 1, 1]


def test_two_extractions_give_the_same_bytes(tmp_path: Path) -> None:
    spec = make_spec(10)
    first = write_store(tmp_path / "a.zarr", spec)
    second = write_store(tmp_path / "other" / "b.zarr", spec, chunks=[2, 0, 1])
    assert store_bytes(first) == store_bytes(second)
