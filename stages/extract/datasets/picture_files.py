"""Where the pictures of a dataset's rows are, how large they are, and what identifies them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.pictures import picture_size
from stages.extract.datasets.videos import video_info

NO_VIDEO = -1
_HEADER_THREADS = 16
_NUM_HASHED_PICTURES = 64
_HASHED_VIDEO_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Where the picture of each row is.

    Args:
        files: paths below the root, each once.
        file_of_row: `[N]` position in `files`.
        frame_of_row: `[N]` 0-based frame of a video, `NO_VIDEO` for a picture file; None if all
            are picture files.
    """

    files: tuple[str, ...]
    file_of_row: NDArray[np.int32]
    frame_of_row: NDArray[np.int32] | None = None

    @classmethod
    def from_paths(
        cls, paths: Sequence[str], frames: NDArray[np.int32] | None = None
    ) -> PictureFiles:
        """One path per row, repeats allowed."""
        positions: dict[str, int] = {}
        codes = [positions.setdefault(path, len(positions)) for path in paths]
        return cls(tuple(positions), np.array(codes, dtype=np.int32), frames)

    def of(self, row: int) -> tuple[str, int]:
        """Path below the root, and frame of the video or `NO_VIDEO`."""
        frame = NO_VIDEO if self.frame_of_row is None else int(self.frame_of_row[row])
        return self.files[self.file_of_row[row]], frame


def picture_sizes(root: Path, pictures: PictureFiles) -> NDArray[np.int32]:
    """Return (H, W) of each row's picture from its file's header, (0, 0) where it is missing.

    Raises:
        DatasetError: there are videos and PyAV is not installed.
    """
    frames = pictures.frame_of_row
    if frames is None:
        frames = np.full(len(pictures.file_of_row), NO_VIDEO, dtype=np.int32)
    videos = set(pictures.file_of_row[frames != NO_VIDEO].tolist())

    def look(number: int) -> tuple[int, int, int]:
        path = root / pictures.files[number]
        return _video_size(path) if number in videos else (*picture_size(path), 0)

    with ThreadPoolExecutor(_HEADER_THREADS) as pool:  # network disks answer slowly
        found = np.array(list(pool.map(look, range(len(pictures.files)))), dtype=np.int32)
    found = found[pictures.file_of_row]
    sizes = found[:, :2]
    sizes[frames >= found[:, 2]] = 0  # after a video's end; pictures have frame -1 and length 0
    return np.ascontiguousarray(sizes)


def _video_size(path: Path) -> tuple[int, int, int]:
    """Return height, width and number of frames, zeros for a missing or damaged video."""
    if not path.is_file():
        return 0, 0, 0
    try:
        info = video_info(path)
    except DatasetError:
        if importlib.util.find_spec("av") is None:
            raise
        return 0, 0, 0  # bad rows, as with damaged pictures
    return *info.size, info.num_frames


def hash_pictures(root: Path, pictures: PictureFiles) -> str:
    """Return what identifies the pictures: bytes of 64 evenly spaced rows, sizes of all videos.

    Of a video its first and last MiB are read, as it may be too long to read as a whole.
    """
    hashed = hashlib.sha256()
    rows = np.linspace(0, len(pictures.file_of_row) - 1, _NUM_HASHED_PICTURES).round().astype(int)
    for row in np.unique(rows):
        name, frame = pictures.of(int(row))
        path = root / name
        if not path.is_file():
            hashed.update(b"missing")
        elif frame == NO_VIDEO:
            hashed.update(path.read_bytes())
        else:
            hashed.update(_ends(path))
    if pictures.frame_of_row is not None:
        for number in np.unique(pictures.file_of_row[pictures.frame_of_row != NO_VIDEO]):
            path = root / pictures.files[number]
            size = path.stat().st_size if path.is_file() else -1
            hashed.update(f"{pictures.files[number]} {size}".encode())
    return hashed.hexdigest()


def _ends(path: Path) -> bytes:
    """Return size, first and last bytes of a video, which may be too long to read as a whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HASHED_VIDEO_BYTES)
        file.seek(max(size - _HASHED_VIDEO_BYTES, 0))
        return size.to_bytes(8, "little") + head + file.read(_HASHED_VIDEO_BYTES)
