"""Pictures as a video file. The only file that writes with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnwritableTarget
from stages.extract.datasets.video_index import import_av

_CODECS = ("libx264", "mpeg4")


class Film:
    """An mp4 that grows by one frame at a time; it has its name only when it is complete.

    Raises:
        DatasetError: PyAV is not installed.
        UnwritableTarget: the file cannot be written.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        self._path, self._fps = path, fps
        self._temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Appends a picture [H, W, 3] RGB; all have one size."""
        av = import_av(self._path)
        # Yuv420p has one colour for two by two px.
        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        try:
            if self._container is None:
                self._begin(av, picture)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except OSError as error:
            raise self._unwritable(error) from error

    def _begin(self, av: Any, picture: NDArray[np.uint8]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._temporary), mode="w")
        codec = next(name for name in _CODECS if name in av.codecs_available)
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.height, self._stream.width = picture.shape[:2]
        self._stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
            self._container.close()
            if kind is None:
                self._temporary.replace(self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> UnwritableTarget:
        return UnwritableTarget(
            f"{self._path}: cannot be written ({error.strerror or error}). Give --out another"
            " folder, or --set predict.overlay=none."
        )
