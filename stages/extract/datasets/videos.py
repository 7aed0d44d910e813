"""Frames of video files by number, exactly; the owner of PyAV.

Frames count from 0 in order of display, over all pictures that the file codes: containers' own
counts, rates and durations are not believed. Where packets carry no usable times (raw streams, AVI
with B-frames) frames are counted while decoding. Pictures are turned upright as the file's display
matrix says, as players and OpenCV do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.schema import FrameStatus
from stages.extract.datasets.base import DatasetError, FrameError
from stages.extract.datasets.video_index import (
    VideoIndex,
    import_av,
    open_video,
    video_index,
    video_stream,
)

SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"),
    *(".mts", ".m2ts", ".flv", ".3gp", ".ogv"),
)
"""Names of files that are taken for videos."""
OPEN_VIDEOS = 4
"""Decoders kept open by one reader; each holds some frames of its video."""
SKIPPED_FRAMES = 8
"""A key frame this few frames ahead is reached by decoding on: a seek empties the decoder."""
KEPT_FRAMES = 16
"""Decoded frames kept per video, because threads come a little out of order."""
KEPT_BYTES = 2**27
"""Kept frames of one video take at most this much memory (two are always kept)."""
KEPT_PICTURES = 3
"""RGB pictures kept per video: several persons share one."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, found by demuxing it."""

    num_frames: int
    fps: float | None
    """Average rate; None where the file does not tell."""
    size: tuple[int, int]
    """(H, W) px of the upright picture."""


def video_info(path: Path) -> VideoInfo:
    """Return what a video holds; raises DatasetError if it is no readable video."""
    import_av(path)
    index = video_index(path)
    with open_video(path) as container:
        stream = video_stream(container, path)
        rate = stream.average_rate
        first = next(_frames(container, stream), None)
        size = (stream.height, stream.width) if first is None else _upright_size(first)
        return VideoInfo(index.num_frames, float(rate) if rate else None, size)


def video_times_s(path: Path) -> NDArray[np.float64] | None:
    """Return when each frame is shown, s since the first; None where the file does not tell.

    Frames need not be evenly spaced: phones film slower in the dark. Raises DatasetError if it is
    no readable video.
    """
    times = video_index(path).times
    if times is None:
        return None
    with open_video(path) as container:
        unit = video_stream(container, path).time_base
    return None if unit is None else np.asarray((times - times[:1]) * float(unit))


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
        """Return frame `frame` (from 0, in order of display), uint8 [H, W, 3] RGB, read-only.

        Raises:
            DatasetError: PyAV is not installed.
            FrameError: the file is missing, no video, damaged there, or has fewer frames.
        """
        import_av(path)
        with self._lock:
            decoder = self._open.pop(path, None) or _Decoder(path)
            self._open[path] = decoder
            # Not closed here: another thread may be reading. The last reference closes the file.
            while len(self._open) > OPEN_VIDEOS:
                self._open.popitem(last=False)
        return decoder.read(frame)


class _Decoder:
    """One video, standing somewhere; opened at the first read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._container: Any = None
        self._stream: Any = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0
        self._exact = True  # nothing was lost since the last key frame
        self._recent: OrderedDict[int, Any] = OrderedDict()
        self._pictures: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._lost: set[int] = set()

    def read(self, number: int) -> NDArray[np.uint8]:
        with self._lock:
            if number in self._pictures:
                return self._pictures[number]
            index = self._opened_index()
            if not 0 <= number < index.num_frames:
                raise self._absent(number, index)
            frame = self._recent.get(number)
            if frame is None and number not in self._lost | index.damaged:
                frame = self._frame(number, index)
            if frame is None:
                self._lost.add(number)
                raise FrameError(
                    FrameStatus.TRUNCATED, f"Video {self._path} is damaged at frame {number}."
                )
            return self._picture(number, frame)

    def _absent(self, number: int, index: VideoIndex) -> FrameError:
        if 0 <= number < index.num_promised:
            return FrameError(
                FrameStatus.TRUNCATED,
                f"Video {self._path} ends after {index.num_frames} of {index.num_promised} frames; "
                f"frame {number} is lost.",
            )
        return FrameError(
            FrameStatus.MISSING,
            f"Video {self._path} has {index.num_frames} frames, frame {number} is not there.",
        )

    def _opened_index(self) -> VideoIndex:
        if not self._path.is_file():
            raise FrameError(FrameStatus.MISSING, f"Video {self._path} does not exist.")
        try:
            index = video_index(self._path)
            if self._container is None:
                self._rewind()
        except (DatasetError, OSError) as error:
            raise FrameError(FrameStatus.UNREADABLE, str(error)) from error
        return index

    def _frame(self, number: int, index: VideoIndex) -> Any:
        """Return the frame, None where it is damaged."""
        key = 0 if index.times is None else index.key_before(number)
        sought = number < self._next or key > self._next + SKIPPED_FRAMES
        if sought and not self._seek(number, key, index):
            self._rewind()
            sought = False
        frame = self._decode_to(number, index)
        if frame is None and sought:  # some streams give less after a seek than from the start
            self._rewind()
            frame = self._decode_to(number, index)
        return frame

    def _decode_to(self, number: int, index: VideoIndex) -> Any:
        for frame in self._frames:
            found = self._next if index.times is None else index.number(frame.pts)
            if found is None:
                continue
            self._next = found + 1
            if frame.is_corrupt or found in index.damaged:
                self._exact = False
            elif frame.key_frame and index.times is not None:
                self._exact = True
            if self._exact:
                self._keep(found, frame)
            if found >= number:
                return frame if found == number and self._exact else None
        self._next = index.num_frames + 1  # the decoder is empty; whatever comes next seeks
        return None

    def _seek(self, number: int, key: int, index: VideoIndex) -> bool:
        """Stand at a key frame not behind `number`; False where the file cannot do that."""
        if index.times is None or key == 0:
            return False
        av = import_av(self._path)
        try:
            self._container.seek(int(index.times[key]), stream=self._stream, backward=True)
            packets = self._container.demux(self._stream)
            first = next((packet for packet in packets if packet.is_keyframe), None)
        except (av.FFmpegError, OSError):
            return False
        landed = None if first is None else index.number(first.pts)
        if landed is None or landed > number:
            return False
        self._frames = self._watched(chain([first], packets))
        self._next, self._exact = landed, True
        return True

    def _rewind(self) -> None:
        # Opened anew: raw streams cannot seek to their start.
        self._container = open_video(self._path)
        self._stream = video_stream(self._container, self._path)
        self._stream.thread_type = "AUTO"
        self._frames = self._watched(self._container.demux(self._stream))
        self._next, self._exact = 0, True

    def _watched(self, packets: Iterator[Any]) -> Iterator[Any]:
        for frame in _decoded(packets, self._stream, self._path):
            if frame is None:
                self._exact = False
            else:
                yield frame

    def _keep(self, number: int, frame: Any) -> None:
        self._recent[number] = frame
        size_bytes = max(frame.width * frame.height * 3 // 2, 1)
        while len(self._recent) > max(min(KEPT_FRAMES, KEPT_BYTES // size_bytes), 2):
            self._recent.popitem(last=False)

    def _picture(self, number: int, frame: Any) -> NDArray[np.uint8]:
        turned = np.rot90(frame.to_ndarray(format="rgb24"), k=_quarter_turns(frame))
        picture = np.ascontiguousarray(turned)
        picture.flags.writeable = False
        self._pictures[number] = picture
        while len(self._pictures) > KEPT_PICTURES:
            self._pictures.popitem(last=False)
        return picture


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    for frame in _decoded(container.demux(stream), stream, Path(container.name)):
        if frame is not None:
            yield frame


def _decoded(packets: Iterator[Any], stream: Any, path: Path) -> Iterator[Any]:
    """Yield the frames of packets, None where a packet could not be decoded."""
    av = import_av(path)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):  # cut off: hand out what the decoder still holds
            packet = None
            yield None
        try:
            frames = stream.codec_context.decode(None) if packet is None else packet.decode()
        except av.error.EOFError:
            return  # it was emptied by the demuxer's last, empty packet
        except (av.FFmpegError, OSError):
            yield None
            frames = []
        yield from frames
        if packet is None:
            return


def _quarter_turns(frame: Any) -> int:
    """Return how often a frame is turned by 90 degrees, counterclockwise, to be upright."""
    return int(round(frame.rotation / 90) % 4)


def _upright_size(frame: Any) -> tuple[int, int]:
    size = (int(frame.height), int(frame.width))
    return size[::-1] if _quarter_turns(frame) % 2 else size
