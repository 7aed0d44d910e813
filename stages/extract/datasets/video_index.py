"""Which frames a video file codes, found from its packets without decoding them.

Containers' own counts, rates and durations are not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError

_REORDERED = 2  # a damaged packet without time may be displayed this many frames earlier
_STEPS_COMPARED = 32
_INDEXED_VIDEOS = 256


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Which frames a file codes, from its packets."""

    num_frames: int
    num_promised: int
    """Frames that the container says it has; more than there are in a file that was cut off."""
    times: NDArray[np.int64] | None
    """Presentation time of every frame, ascending; None: frames can only be counted."""
    keys: NDArray[np.int64]
    """Numbers of the frames that a decoder can start from, ascending."""
    damaged: frozenset[int]
    """Frames whose packets, or those they build on, are cut short."""

    def number(self, time: int | None) -> int | None:
        """Return which frame is shown at a presentation time, None if there is none."""
        if self.times is None or time is None:
            return None
        at = int(np.searchsorted(self.times, time))
        return at if at < self.num_frames and self.times[at] == time else None

    def key_before(self, number: int) -> int:
        """Return the latest key frame that is not behind `number`."""
        at = int(np.searchsorted(self.keys, number, side="right")) - 1
        return int(self.keys[at]) if at >= 0 else 0


def import_av(path: Path) -> Any:
    """Return the module `av`; raises DatasetError naming `path` if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise DatasetError(
            f"{path}: reading videos needs PyAV. Install it: pip install -c constraints.txt av."
        ) from error
    return av


def open_video(path: Path) -> Any:
    """Return PyAV's container of a file; raises DatasetError if FFmpeg cannot read it."""
    av = import_av(path)
    try:
        # The protocol is named, or a colon in a file's name would be read as one.
        return av.open(f"file:{path}")
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise DatasetError(f"{path} is not a video that FFmpeg reads ({reason}).") from error


def video_stream(container: Any, path: Path) -> Any:
    """Return the video stream that players show; raises DatasetError if there is none."""
    stream = container.streams.best("video")
    if stream is None:
        raise DatasetError(f"{path} has no video stream.")
    return stream


def video_index(path: Path) -> VideoIndex:
    """Return the index of a file; it is read anew when the file has changed.

    Raises:
        DatasetError: it is no readable video, or PyAV is not installed.
    """
    state = path.stat()
    return _read_index(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=_INDEXED_VIDEOS)
def _read_index(path: Path, _size_bytes: int, _changed_ns: int) -> VideoIndex:
    av = import_av(path)
    packets: list[_Packet] = []
    num_hidden = 0
    with open_video(path) as container:
        stream = video_stream(container, path)
        num_promised = int(stream.frames)
        # AVI holds no times; FFmpeg makes them up in the order of decoding.
        invented = container.format.name == "avi" and stream.codec_context.has_b_frames
        try:
            for packet in container.demux(stream):
                if packet.is_discard:  # lies before the start that an edit list sets
                    num_hidden += 1
                elif packet.size:
                    packets.append(_Packet.of(packet))
        except (av.FFmpegError, OSError):
            num_promised = max(num_promised, num_hidden + len(packets) + 1)
    if not packets:
        raise DatasetError(f"{path} holds no frame.")
    num_promised = max(num_promised - num_hidden, 0)
    if invented or len({packet.time for packet in packets} - {None}) < len(packets):
        return _counted_index(packets, num_promised)
    return _timed_index(packets, num_promised)


class _Packet(NamedTuple):
    time: int | None
    decoding_time: int | None
    is_key: bool
    is_cut: bool

    @classmethod
    def of(cls, packet: Any) -> _Packet:
        return cls(packet.pts, packet.dts, bool(packet.is_keyframe), bool(packet.is_corrupt))


def _counted_index(packets: list[_Packet], num_promised: int) -> VideoIndex:
    cut = next((i for i, packet in enumerate(packets) if packet.is_cut), len(packets) + _REORDERED)
    lost = range(max(cut - _REORDERED, 0), len(packets))
    return VideoIndex(len(packets), num_promised, None, np.zeros(0, np.int64), frozenset(lost))


def _timed_index(packets: list[_Packet], num_promised: int) -> VideoIndex:
    coded_times = np.array([packet.time for packet in packets], dtype=np.int64)
    order = np.argsort(coded_times)
    times, number = coded_times[order], np.argsort(order)
    damaged, broken = set(), False
    for packet_number, packet in zip(number.tolist(), packets, strict=True):
        broken = packet.is_cut or (broken and not packet.is_key)
        if broken:
            damaged.add(packet_number)
    damaged.update(_unsure_numbers(times, packets, num_promised))
    keys = np.sort(number[[packet.is_key for packet in packets]])
    return VideoIndex(len(packets), num_promised, times, keys, frozenset(damaged))


def _unsure_numbers(
    times: NDArray[np.int64], packets: list[_Packet], num_promised: int
) -> NDArray[np.intp]:
    """Return the last frames of a cut file that lost ones may have been displayed before.

    Lost packets would be decoded, and so displayed, after the last packet's decoding time.
    """
    last = packets[-1].decoding_time
    if last is None:
        return np.zeros(0, dtype=np.intp)
    tail: NDArray[np.intp] = np.flatnonzero(times > last)
    if num_promised == 0 and len(times) > 2:  # no count to compare with: a hole shows it
        steps = np.diff(times)
        is_cut = bool((steps[-len(tail) - 1 :] > 1.5 * np.median(steps[-_STEPS_COMPARED:])).any())
    else:
        is_cut = num_promised > len(times)
    return tail if is_cut or packets[-1].is_cut else tail[:0]
