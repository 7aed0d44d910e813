"""Pictures that several persons share are decoded once, in little memory."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import FrameStatus
from stages.extract.chunks import ExtractConfig, extract
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import FrameError
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.shared_pictures import KEPT_PICTURES, SharedPictures
from tests.test_extract.studio import DotDetector


class Counted:
    """Every `persons` rows show one picture; loads are counted."""

    def __init__(self, persons: int) -> None:
        self.persons = persons
        self.loads: list[int] = []
        self._lock = threading.Lock()

    def picture_key(self, row: int) -> int:
        return row // self.persons

    def load_image(self, row: int) -> NDArray[np.uint8]:
        with self._lock:
            self.loads.append(row)
        if row // self.persons == 1:
            raise FrameError(FrameStatus.MISSING, "gone")
        return np.full((2, 2, 3), row // self.persons, dtype=np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {"persons": self.persons}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def load_all(pictures: SharedPictures, rows: range, threads: int) -> None:
    def load(row: int) -> None:
        if row // 3 == 1:
            with pytest.raises(FrameError, match="gone"):
                pictures.load(row)
        else:
            assert (pictures.load(row) == row // 3).all()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(load, rows))


@pytest.mark.parametrize("threads", [1, 3])
def test_neighbours_share_one_decoding_also_of_a_missing_picture(threads: int) -> None:
    dataset = Counted(persons=3)
    pictures = SharedPictures(dataset, range(30))  # type: ignore[arg-type]
    load_all(pictures, range(30), threads)
    assert len(dataset.loads) == 10
    assert len(pictures._kept) <= KEPT_PICTURES
    copy = pickle.loads(pickle.dumps(pictures))
    load_all(copy, range(30), threads)


def test_pictures_of_one_row_are_not_kept() -> None:
    pictures = SharedPictures(Counted(persons=1), (0, 2, 3))  # type: ignore[arg-type]
    assert [int(pictures.load(row)[0, 0, 0]) for row in (0, 2, 3)] == [0, 2, 3]
    assert not pictures._kept


def test_shared_pictures_do_not_change_a_store(dataset: Human36m, tmp_path: Path) -> None:
    class Alone(Human36m):
        def load_image(self, row: int) -> NDArray[np.uint8]:
            return super().load_image(row // 3 * 3)

        def picture_key(self, row: int) -> Any:
            return row

    class Shared(Alone):
        def picture_key(self, row: int) -> Any:
            return row // 3

    config = ExtractConfig(batch_size=4, shard_rows=4, loader_workers=3)
    for name, source in (("a", Shared(dataset._root)), ("b", Alone(dataset._root))):
        extract(source, DotDetector(), CropConfig(), tmp_path / f"{name}.zarr", config)
    files = [path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()]
    for path in files:
        other = tmp_path / "b.zarr" / path.relative_to(tmp_path / "a.zarr")
        assert path.read_bytes() == other.read_bytes()
