"""Frames of video files by number, exactly; the owner of PyAV."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.schema import FrameStatus
from stages.extract.datasets.base import DatasetError, FrameError

OPEN_VIDEOS = 4
"""Decoders kept open by one reader; each holds some frames of its video."""
SKIPPED_FRAMES = 32
"""Up to this far ahead decoding on is cheaper than looking for a key frame."""
KEPT_FRAMES = 8
"""Decoded frames kept per video: several persons share one, and threads come a little out of
order."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, found by demuxing it (containers' own counts are wrong)."""

    num_frames: int
    fps: float | None
    """Average rate; None where the file does not tell."""
    size: tuple[int, int]
    """(H, W) px."""


def video_info(path: Path) -> VideoInfo:
    """Return what a video holds; raises DatasetError if it is no readable video."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        times = _frame_times(container, path)
        rate = stream.average_rate
        return VideoInfo(len(times), float(rate) if rate else None, (stream.height, stream.width))


class VideoPictures:
    """Reads frames of videos, fast where they are asked for in order. Threads may share it.

    Picklable; a copy opens the files anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _Decoder] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        del state
        self.__init__()  # type: ignore[misc]

    def read(self, path: Path, frame: int) -> NDArray[np.uint8]:
        """Return frame `frame` (from 0, in order of display), uint8 [H, W, 3] RGB.

        Raises:
            FrameError: the file is missing, no video, damaged there, or has fewer frames.
        """
        with self._lock:
            decoder = self._open.pop(path, None)
            if decoder is None:
                while len(self._open) >= OPEN_VIDEOS:
                    self._open.popitem(last=False)[1].close()
                decoder = _Decoder(path)
            self._open[path] = decoder
            return decoder.read(frame)


class _Decoder:
    """One open video, standing somewhere."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FrameError(FrameStatus.MISSING, f"Video {path} does not exist.")
        try:
            with _opened(path) as container:
                self._times = _frame_times(container, path)
            self._container = _opened(path)
        except DatasetError as error:
            raise FrameError(FrameStatus.UNREADABLE, str(error)) from error
        self._path = path
        self._number_at = {time: number for number, time in enumerate(self._times)}
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._frames: Any = self._container.decode(self._stream)
        self._next = 0
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def close(self) -> None:
        self._container.close()

    def read(self, number: int) -> NDArray[np.uint8]:
        import av

        if number in self._kept:
            return self._kept[number]
        if not 0 <= number < len(self._times):
            raise FrameError(
                FrameStatus.MISSING,
                f"Video {self._path} has {len(self._times)} frames, frame {number} is not there.",
            )
        try:
            return self._decode_to(number)
        except (av.FFmpegError, StopIteration) as error:
            self._next = len(self._times)  # whatever comes next starts from a key frame
            raise FrameError(
                FrameStatus.TRUNCATED, f"Video {self._path} is damaged at frame {number}: {error}."
            ) from error

    def _decode_to(self, number: int) -> NDArray[np.uint8]:
        if number < self._next or number > self._next + SKIPPED_FRAMES:
            self._container.seek(self._times[number], stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
        while True:
            frame = next(self._frames)
            found = self._number_at[frame.pts]
            self._next = found + 1
            if found == number or number - found <= KEPT_FRAMES // 2:
                self._keep(found, frame.to_ndarray(format="rgb24"))
            if found == number:
                return self._kept[number]
            if found > number:
                raise StopIteration(f"frame {found} came instead")

    def _keep(self, number: int, picture: NDArray[np.uint8]) -> None:
        picture.flags.writeable = False
        self._kept[number] = picture
        while len(self._kept) > KEPT_FRAMES:
            self._kept.popitem(last=False)


def _opened(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise DatasetError(
            f"{path}: reading videos needs PyAV. Install it: pip install -c constraints.txt av."
        ) from error
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{path} is not a video that FFmpeg reads: {error}.") from error
    if not container.streams.video:
        container.close()
        raise DatasetError(f"{path} has no video stream.")
    return container


def _frame_times(container: Any, path: Path) -> list[int]:
    """Return the presentation time of every frame, ascending, without decoding any."""
    times = sorted(
        packet.pts
        for packet in container.demux(container.streams.video[0])
        if packet.size and packet.pts is not None
    )
    if not times:
        raise DatasetError(f"{path} holds no frame with a time.")
    return times
