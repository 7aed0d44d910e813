"""What a folder of pictures and videos shows: each video, and each folder of pictures, a clip."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.picture_files import NO_VIDEO
from stages.extract.datasets.videos import SUFFIXES as VIDEO_SUFFIXES
from stages.extract.datasets.videos import video_info

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Source:
    """One video or one folder of pictures.

    Args:
        name: path below the root, `.` for pictures in the root itself.
        pictures: paths below the root in natural order; None for a video.
        num_frames: frames of the video, or number of pictures.
    """

    name: str
    pictures: tuple[str, ...] | None
    num_frames: int

    def place(self, frame: int) -> tuple[str, int]:
        """Return the file of a frame, and its number there or `NO_VIDEO`."""
        return (self.name, frame) if self.pictures is None else (self.pictures[frame], NO_VIDEO)


def find_sources(root: Path, only: str | None = None) -> tuple[Source, ...]:
    """Return what is below `root`, in natural order of names; hidden files are left out.

    Linked folders are part of it. Videos are counted by reading all their packets. `only` is the
    name of the one file in `root` that is wanted.

    Raises:
        DatasetError: nothing is there, a folder cannot be listed, or files that look like videos
            are none; all are named.
    """
    if not root.is_dir():
        why = "it is a file" if root.exists() else "there is nothing of that name"
        raise DatasetError(
            f"{root} is not a folder: {why}. Set dataset.root to the folder that holds your "
            "pictures and videos."
        )
    sources: list[Source] = []
    unreadable: list[str] = []
    for folder, names in _folders(root) if only is None else [(root, (only,))]:
        pictures = [name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]
        below = folder.relative_to(root)
        if pictures:
            paths = tuple((below / name).as_posix() for name in pictures)
            sources.append(Source(below.as_posix(), paths, len(paths)))
        for name in names:
            if not name.lower().endswith(VIDEO_SUFFIXES):
                continue
            try:
                num_frames = video_info(folder / name).num_frames
            except DatasetError as error:
                unreadable.append(str(error))
                continue
            sources.append(Source((below / name).as_posix(), None, num_frames))
    if len(unreadable) == 1:
        raise DatasetError(f"{unreadable[0]} Mend it or move it away.")
    if unreadable:
        raise DatasetError(
            f"{len(unreadable)} videos below {root} cannot be read; mend or move them away:"
            + "".join(f"\n  {line}" for line in unreadable)
        )
    if not sources:
        raise DatasetError(
            f"{root} holds no pictures ({' '.join(PICTURE_SUFFIXES)}) and no videos "
            f"({' '.join(VIDEO_SUFFIXES)}). Put some there, or set dataset.root to another folder."
        )
    return tuple(sources)


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that orders numbers in names by value: `frame2` before `frame10`."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def _folders(root: Path) -> list[tuple[Path, Sequence[str]]]:
    found: list[tuple[Path, Sequence[str]]] = []
    for folder, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        # A link to a folder that it is in has no end.
        here = Path(folder).resolve()
        above = {here, *here.parents}
        folders[:] = sorted(
            (f for f in folders if f[0] != "." and Path(folder, f).resolve() not in above),
            key=natural_key,
        )
        visible = [name for name in names if not name.startswith(".")]
        found.append((Path(folder), sorted(visible, key=natural_key)))
    return found


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename} cannot be listed: {error.strerror}.") from error
