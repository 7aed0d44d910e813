from __future__ import annotations

import os
import pickle
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import CacheMismatch, CacheMissing, CacheReader, CacheWriter
from cache.derived.merge import merge
from cache.errors import CacheUnreachable, CacheWriteError
from pipeline.errors import exit_code
from stages.extract.attempts import HOPELESS_TRIES, TRIES, Attempts, ChunksFailed
from stages.extract.chunks import (
    ChunkPart,
    ExtractConfig,
    ExtractProgress,
    extract,
    open_job,
    plan_chunks,
)
from stages.extract.crops import CropConfig
from stages.extract.datasets import FrameError
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.tasks import ExtractRequest, extract_chunk
from tests.test_cache.factory import store_bytes
from tests.test_extract.studio import DotDetector, write_layout

CONFIG = ExtractConfig(batch_size=4, shard_rows=2)  # 9 rows: five chunks, the last one shorter
CROP = CropConfig()


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def whole_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one pass over the whole dataset, which no test changes."""
    root = tmp_path_factory.mktemp("whole")
    write_layout(root / "tiny")  # the same bytes every time
    extract(Human36m(root / "tiny"), DotDetector(), CROP, root / "whole.zarr", CONFIG)
    return root / "whole.zarr"


@pytest.fixture
def whole(whole_made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_made, tmp_path / "whole.zarr"))


def request_for(
    layout: Path, store: Path, config: ExtractConfig = CONFIG, crop: CropConfig = CROP
) -> bytes:
    return pickle.dumps(
        ExtractRequest(str(store), partial(Human36m, layout), DotDetector, crop, config, "token")
    )


def opened(dataset: Human36m, store: Path) -> None:
    open_job(dataset, DotDetector(), CROP, store, CONFIG)


@pytest.mark.parametrize("num_chunks", [1, 5, 65, 100_000])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_are_contiguous_disjoint_and_nearly_equal(num_chunks: int, count: int) -> None:
    parts = [ChunkPart(number, count).chunks(num_chunks) for number in range(1, count + 1)]
    assert [chunk for part in parts for chunk in part] == list(range(num_chunks))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("number", "count"), [(0, 2), (3, 2), (1, 0)])
def test_a_part_that_does_not_exist_is_refused(number: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"part {number}/{count}"):
        ChunkPart(number, count)


def test_all_parts_in_one_store_are_the_whole_store(
    dataset: Human36m, tmp_path: Path, whole: Path
) -> None:
    store = tmp_path / "a.zarr"
    first = extract(dataset, DotDetector(), CROP, store, CONFIG, part=ChunkPart(2, 2))
    assert (first.chunks_done, first.chunks_missing) == (3, 2)
    planned = plan_chunks(dataset, DotDetector(), CROP, store, CONFIG, part=ChunkPart(1, 2))
    assert planned.missing == (0, 1)
    second = extract(dataset, DotDetector(), CROP, store, CONFIG, part=ChunkPart(1, 2))
    assert (second.chunks_done, second.chunks_skipped, second.chunks_missing) == (2, 3, 0)
    assert store_bytes(store) == store_bytes(whole)


def test_parts_in_stores_of_their_own_merge_to_the_whole_store(
    dataset: Human36m, tmp_path: Path, whole: Path
) -> None:
    stores = [tmp_path / f"part{number}.zarr" for number in (1, 2, 3)]
    for number, store in enumerate(stores, start=1):
        extract(dataset, DotDetector(), CROP, store, CONFIG, part=ChunkPart(number, 3))
    assert merge(stores, tmp_path / "merged.zarr").ok
    assert store_bytes(tmp_path / "merged.zarr") == store_bytes(whole)


def test_a_stop_keeps_the_chunks_that_were_begun(
    dataset: Human36m, tmp_path: Path, whole: Path
) -> None:
    store, asked = tmp_path / "a.zarr", iter([False, False, True])
    summary = extract(dataset, DotDetector(), CROP, store, CONFIG, stop=lambda: next(asked))
    assert (summary.chunks_done, summary.chunks_missing) == (2, 3)
    extract(dataset, DotDetector(), CROP, store, CONFIG)
    assert store_bytes(store) == store_bytes(whole)


def test_chunks_to_redo_are_extracted_again_and_no_other(dataset: Human36m, whole: Path) -> None:
    before = store_bytes(whole)
    untouched = (whole / "status" / "c.0").stat().st_mtime_ns
    shard = whole / "features" / "x16" / "c.3.0.0.0.0"
    shard.write_bytes(b"damaged")
    summary = extract(dataset, DotDetector(), CROP, whole, CONFIG, redo=[3])
    assert (summary.chunks_done, summary.chunks_skipped) == (1, 4)
    assert store_bytes(whole) == before
    assert (whole / "status" / "c.0").stat().st_mtime_ns == untouched


def test_a_store_of_another_crop_keeps_the_chunks_that_were_to_be_redone(
    dataset: Human36m, whole: Path
) -> None:
    with pytest.raises(CacheMismatch, match="crop"):
        extract(dataset, DotDetector(), CropConfig(padding=1.0), whole, CONFIG, redo=[3])
    assert CacheReader(whole).complete


def test_single_chunks_in_any_order_give_the_same_bytes_as_one_pass(
    dataset: Human36m, layout: Path, tmp_path: Path, whole: Path
) -> None:
    store = tmp_path / "a.zarr"
    opened(dataset, store)
    request = request_for(layout, store)
    results = [extract_chunk(request, chunk) for chunk in (4, 1, 0, 3, 2, 1)]
    assert [result.written for result in results] == [True] * 5 + [False]
    assert [result.num_rows for result in results] == [1, 2, 2, 2, 2, 2]
    assert store_bytes(store) == store_bytes(whole)


def test_threads_of_one_process_share_what_they_need(
    dataset: Human36m, layout: Path, tmp_path: Path, whole: Path
) -> None:
    store = tmp_path / "a.zarr"
    opened(dataset, store)
    request = request_for(layout, store)
    threads = [threading.Thread(target=extract_chunk, args=(request, k)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store_bytes(store) == store_bytes(whole)


def test_a_worker_that_does_not_see_the_store_makes_none(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheMissing, match="all machines share"):
        extract_chunk(request_for(layout, tmp_path / "elsewhere.zarr"), 0)
    assert not (tmp_path / "elsewhere.zarr").exists()


def test_a_worker_with_other_settings_is_refused_before_it_writes(
    dataset: Human36m, layout: Path, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    opened(dataset, store)
    with pytest.raises(CacheMismatch, match=r"crop\.padding"):
        extract_chunk(request_for(layout, store, crop=CropConfig(padding=1.0)), 0)


def test_strict_refuses_a_bad_frame_in_a_worker_too(
    dataset: Human36m, layout: Path, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    (layout / "images" / dataset.plan().index["item"].words()[5]).unlink()
    opened(Human36m(layout), store)
    request = request_for(layout, store, CONFIG.model_copy(update={"strict": True}))
    assert extract_chunk(request, 0).written
    with pytest.raises(FrameError, match=r"Row 5 .*missing"):
        extract_chunk(request, 2)


class Breaks(Human36m):
    """Raises what nobody foresaw at some rows, as many times as told each."""

    def __init__(self, root: Path, times: dict[int, int]) -> None:
        super().__init__(root)
        self._times = times

    def load_image(self, row: int) -> NDArray[np.uint8]:
        if self._times.get(row, 0) > 0:
            self._times[row] -= 1
            raise ConnectionResetError(f"planted at row {row}")
        return super().load_image(row)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_chunk_that_fails_is_tried_again(
    layout: Path, tmp_path: Path, whole: Path, loader_workers: int
) -> None:
    config = CONFIG.model_copy(update={"loader_workers": loader_workers})
    breaks, seen = Breaks(layout, {0: TRIES - 1, 5: 1}), list[ExtractProgress]()
    store = tmp_path / "a.zarr"
    summary = extract(breaks, DotDetector(), CROP, store, config, progress=seen.append)
    assert (summary.chunks_done, summary.chunks_missing) == (5, 0)
    assert max(each.rows_done for each in seen) < seen[-1].num_rows == 9
    assert store_bytes(store) == store_bytes(whole)


def test_chunks_that_fail_at_every_try_are_named_and_cost_no_other(
    dataset: Human36m, layout: Path, tmp_path: Path, whole: Path
) -> None:
    breaks, store = Breaks(layout, {2: 99, 8: 99}), tmp_path / "a.zarr"
    with pytest.raises(ChunksFailed, match="2 chunks failed") as caught:
        extract(breaks, DotDetector(), CROP, store, CONFIG)
    assert "chunk 1 (rows 2-3): ConnectionResetError: planted at row 2" in str(caught.value)
    assert "chunk 4 (rows 8-8): ConnectionResetError: planted at row 8" in str(caught.value)
    assert "All other chunks are committed" in str(caught.value)
    assert exit_code(caught.value) == 3
    again = extract(dataset, DotDetector(), CROP, store, CONFIG)
    assert (again.chunks_done, again.chunks_skipped) == (2, 3)
    assert store_bytes(store) == store_bytes(whole)


def test_when_nothing_works_not_every_chunk_is_tried(layout: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"shard_rows": 1, "loader_workers": 0})
    breaks = Breaks(layout, dict.fromkeys(range(9), 99))
    with pytest.raises(ChunksFailed, match="8 chunks failed") as caught:
        extract(breaks, DotDetector(), CROP, tmp_path / "a.zarr", config)
    assert "chunk 0 (rows 0-0)" in str(caught.value)
    assert "1 chunk not tried" in str(caught.value)
    assert sum(99 - left for left in breaks._times.values()) == HOPELESS_TRIES


def test_an_error_that_no_other_chunk_would_escape_ends_the_work_at_once(
    dataset: Human36m, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    def full(_writer: CacheWriter, chunk: int, _content: object) -> bool:
        calls.append(chunk)
        raise CacheWriteError("disk full")

    monkeypatch.setattr(CacheWriter, "write_chunk", full)
    with pytest.raises(CacheWriteError, match="disk full"):
        extract(dataset, DotDetector(), CROP, tmp_path / "a.zarr", CONFIG)
    assert calls == [0]


def test_a_server_that_does_not_answer_is_asked_again_and_a_full_disk_is_not() -> None:
    attempts = Attempts([0])
    attempts.failed(attempts.take(), CacheUnreachable("no answer"))
    assert attempts.waiting == (0,)
    with pytest.raises(CacheWriteError):
        attempts.failed(attempts.take(), CacheWriteError("full"))


def test_another_number_of_threads_is_another_store(dataset: Human36m, whole: Path) -> None:
    config = CONFIG.model_copy(update={"threads": 2})
    with pytest.raises(CacheMismatch, match="threads"):
        extract(dataset, DotDetector(), CROP, whole, config)


def test_a_task_repeated_elsewhere_reads_no_picture_of_a_committed_chunk(
    dataset: Human36m, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "a.zarr"
    opened(dataset, store)
    request = request_for(layout, store)
    assert extract_chunk(request, 1).written

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was read again")

    monkeypatch.setattr(Human36m, "load_image", refuse)
    assert not extract_chunk(request, 1).written
