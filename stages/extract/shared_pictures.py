"""Pictures that several rows show, decoded once: a frame with several persons."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import Dataset

KEPT_PICTURES = 4
"""Decoded pictures held at most. Rows of one picture are neighbours where clips are single frames;
elsewhere they are as far apart as a clip is long, and nothing is gained."""


class SharedPictures:
    """`load_image` of a dataset, once per picture that several of the rows show. Thread-safe."""

    def __init__(self, dataset: Dataset, rows: Iterable[int]) -> None:
        """Count how many of `rows` show each picture."""
        self._dataset = dataset
        keys = {row: dataset.picture_key(row) for row in rows}
        times = Counter(keys.values())
        self._keys = {row: key for row, key in keys.items() if times[key] > 1}
        self._start()

    def load(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of `row`; not to be written to. Raises FrameError."""
        key = self._keys.get(row)
        if key is None:
            return self._dataset.load_image(row)
        with self._lock:
            future = self._kept.get(key)
            is_first = future is None
            if future is None:
                future = self._kept[key] = Future()
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_PICTURES:
                self._kept.popitem(last=False)
        if is_first:
            try:
                future.set_result(self._dataset.load_image(row))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def __getstate__(self) -> dict[str, Any]:
        return {"_dataset": self._dataset, "_keys": self._keys}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Future[NDArray[np.uint8]]] = OrderedDict()
