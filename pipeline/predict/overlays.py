"""Overlays of a prediction: a video for each video, a picture for each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.predict.config import PredictConfig
from pipeline.predict.drawing import (
    Person,
    Picture,
    Space,
    draw_people,
    overlay_width,
    place_people,
    write_banner,
)
from pipeline.predict.film import Film
from pipeline.predict.overlay_names import is_film, is_video, overlay_files
from pipeline.predict.poses import Poses
from pipeline.runs.directories import write_bytes
from stages.extract.datasets.base import FrameError
from stages.extract.datasets.filed import FiledDataset
from stages.extract.datasets.picture_files import NO_VIDEO

_TURN_S = 8.0
"""Seconds of a full turn of the camera around the poses."""
_GREY = 60
_BANNER = "NOT FOR REAL PEOPLE: trained on rendered people only"


def write_overlays(
    poses: Poses,
    dataset: FiledDataset,
    out: Path,
    config: PredictConfig,
    *,
    fps: Callable[[str], float],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write the overlays below `out` and return their files.

    Args:
        poses: what to draw.
        dataset: its pictures, row by row.
        out: a folder.
        config: which overlays, and how large.
        fps: frames per second of a video or folder, by name.
        progress: called with the frames drawn, and how many there are.

    Raises:
        UnwritableTarget: a file cannot be written.
        DatasetError: PyAV is missing, and a video is to be written.
    """
    if config.overlay == "none":
        return ()
    files: list[Path] = []
    named = overlay_files(poses, dataset, config)
    rows_of = {file: np.flatnonzero(np.array(poses.files) == file) for file in set(poses.files)}
    shown = {
        file: _shown_frames(poses.frames[rows_of[file]], file, config)
        for file in dict.fromkeys(poses.files)
    }
    total = sum(map(len, shown.values()))
    done = 0
    for file, frames in shown.items():
        rows = rows_of[file]
        as_video = is_film(file, config)
        painter = _Painter(poses, dataset, config, turning=as_video)
        if as_video:
            target = out / named[file, None]
            with Film(target, fps=fps(file) / _step(frames)) as film:
                for picture in painter.pictures(rows, frames):
                    film.add(picture)
                    done += 1
                    if progress is not None:
                        progress(done, total)
            files.append(target)
            continue
        for frame, picture in zip(frames, painter.pictures(rows, frames), strict=True):
            target = out / named[file, int(frame)]
            _write_picture(picture, target)
            files.append(target)
            done += 1
            if progress is not None:
                progress(done, total)
    return tuple(files)


class _Painter:
    """Draws the frames of one video or folder."""

    def __init__(
        self, poses: Poses, dataset: FiledDataset, config: PredictConfig, *, turning: bool
    ) -> None:
        self._poses, self._dataset, self._config = poses, dataset, config
        self._turning = turning
        warned = any(note.startswith("NOT FOR REAL") for note in poses.notes)
        self._banner = _BANNER if warned else None

    def pictures(self, rows: NDArray[np.intp], frames: NDArray[np.int64]) -> Iterator[Picture]:
        """Yields a picture per frame, all of one size if the turning view is drawn.

        `rows` are of one video or folder, `frames` ascend; frames without a row show nobody.
        """
        poses = self._poses
        members_of: dict[int, list[int]] = {int(frame): [] for frame in frames}
        for row in rows.tolist():
            members_of[int(poses.frames[row])].append(row)
        times = dict(zip(poses.frames[rows].tolist(), poses.time_s[rows].tolist(), strict=True))
        times_s = np.interp(frames, sorted(times), [times[frame] for frame in sorted(times)])
        everybody = [self._people(np.array(each, dtype=np.intp)) for each in members_of.values()]
        height = self._config.overlay_height
        bodies = [person.joints_mm for people in everybody for person in people]
        space = Space(poses.skeleton, bodies, size=height)
        size = self._film_size(rows) if self._turning else None
        for frame, time_s, people in zip(frames.tolist(), times_s, everybody, strict=True):
            name, number = self._dataset.picture_key(next(iter(members_of[frame]), int(rows[0])))
            shown = self._picture(name, frame if number != NO_VIDEO else number, people, size)
            shown_mm = [person.joints_mm for person in people]
            if self._turning:
                angle = 360.0 * float(time_s) / _TURN_S
                views = [space.draw(shown_mm, azimuth=angle)]
            else:
                space = Space(poses.skeleton, shown_mm, size=height)
                views = [space.draw(shown_mm, azimuth=azimuth) for azimuth in (0.0, 70.0)]
            whole = np.concatenate([shown, *views], axis=1)
            yield whole if self._banner is None else write_banner(whole, self._banner)

    def _people(self, members: NDArray[np.intp]) -> list[Person]:
        poses = self._poses
        good = members[poses.usable[members]]
        if not len(good):
            return []
        roots = None if poses.root_mm is None else poses.root_mm[good]
        placed = place_people(poses.joints_3d_mm[good], poses.boxes_px[good], roots)
        return [
            Person(poses.people[row], poses.keypoints_px[row], poses.boxes_px[row], joints)
            for row, joints in zip(good, placed, strict=True)
        ]

    def _picture(
        self, name: str, frame: int, people: list[Person], size: tuple[int, int] | None
    ) -> Picture:
        height = self._config.overlay_height
        try:
            image = self._dataset.load_picture(name, frame)
        except FrameError:
            return np.full((height, size[1] if size else height, 3), _GREY, dtype=np.uint8)
        shown = draw_people(
            image,
            people,
            self._poses.skeleton,
            height=height,
            min_score=self._config.min_joint_score,
        )
        if size is not None and shown.shape[:2] != size:
            # All frames of a film have one size; pictures of a folder need not.
            return _fitted(shown, size)
        return shown

    def _film_size(self, rows: NDArray[np.intp]) -> tuple[int, int]:
        """Return (H, W) of the picture in a film: as wide as the first one that can be read."""
        height, sizes = self._config.overlay_height, self._poses.image_size[rows]
        known = sizes[(sizes > 0).all(axis=1)]
        return height, overlay_width(known[0], height) if len(known) else height


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture in the middle of a grey one of (H, W), as large as fits."""
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(1, int(side * scale)) for side in picture.shape[:2])
    fitted = np.full((*size, 3), _GREY, dtype=np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    fitted[top : top + height, left : left + width] = small
    return fitted


def _shown_frames(frames: NDArray[np.int64], file: str, config: PredictConfig) -> NDArray[np.int64]:
    """Return the frames of a video or folder that are shown, ascending.

    A film of a video has those without a person between them, too: it runs as fast as the video.
    """
    there = np.unique(frames)
    if len(there) < 2 or not (is_film(file, config) and is_video(file)):
        return there
    return np.arange(int(there[0]), int(there[-1]) + 1, _step(there))


def _step(frames: NDArray[np.int64]) -> int:
    """Return from how many to how many frames these are, ascending; 1 of a single one."""
    return int(np.gcd.reduce(np.diff(frames))) if len(frames) > 1 else 1


def _write_picture(picture: Picture, path: Path) -> None:
    encoded, content = cv2.imencode(".png", picture[..., ::-1])
    assert encoded
    write_bytes(path, content.tobytes())
