"""Overlays of a prediction: a video for each video, a picture for each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnwritableTarget
from pipeline.predict.config import PredictConfig
from pipeline.predict.drawing import (
    Person,
    Picture,
    Space,
    draw_people,
    place_people,
    write_banner,
)
from pipeline.predict.film import Film
from pipeline.predict.poses import Poses
from stages.extract.datasets.base import Dataset, FrameError
from stages.extract.datasets.videos import SUFFIXES as VIDEO_SUFFIXES

_TURN_S = 8.0
"""Seconds of a full turn of the camera around the poses."""
_BANNER = "NOT FOR REAL PEOPLE: trained on rendered people only"


def write_overlays(
    poses: Poses,
    dataset: Dataset,
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
    total = len({(file, int(f)) for file, f in zip(poses.files, poses.frames, strict=True)})
    done = 0
    for file in dict.fromkeys(poses.files):
        rows = np.flatnonzero(np.array(poses.files) == file)
        in_video = file.lower().endswith(VIDEO_SUFFIXES)
        as_video = config.overlay == "video" or (config.overlay == "auto" and in_video)
        painter = _Painter(poses, dataset, config, turning=as_video)
        stem = Path(file).with_suffix("").as_posix() if file != "." else out.name
        if as_video:
            target = out / f"{stem}-3d.mp4"
            stride = max(int(np.diff(np.unique(poses.frames[rows])).min(initial=10**9)), 1)
            step = 1 if stride == 10**9 else stride
            with Film(target, fps=fps(file) / step) as film:
                for picture in painter.pictures(rows):
                    film.add(picture)
                    done += 1
                    if progress is not None:
                        progress(done, total)
            files.append(target)
            continue
        for row, picture in zip(_first_rows(poses, rows), painter.pictures(rows), strict=True):
            target = _picture_file(out, dataset, poses, row)
            _write_picture(picture, target)
            files.append(target)
            done += 1
            if progress is not None:
                progress(done, total)
    return tuple(files)


class _Painter:
    """Draws the frames of one video or folder."""

    def __init__(
        self, poses: Poses, dataset: Dataset, config: PredictConfig, *, turning: bool
    ) -> None:
        self._poses, self._dataset, self._config = poses, dataset, config
        self._turning = turning
        warned = any(note.startswith("NOT FOR REAL") for note in poses.notes)
        self._banner = _BANNER if warned else None

    def pictures(self, rows: NDArray[np.intp]) -> Iterator[Picture]:
        """Yields a picture per frame, all of one size if the turning view is drawn."""
        poses = self._poses
        frames = [rows[poses.frames[rows] == frame] for frame in np.unique(poses.frames[rows])]
        everybody = [self._people(members) for members in frames]
        height = self._config.overlay_height
        bodies = [person.joints_mm for people in everybody for person in people]
        space = Space(poses.skeleton, bodies, size=height)
        size: tuple[int, int] | None = None
        for members, people in zip(frames, everybody, strict=True):
            shown = self._picture(int(members[0]), people, size)
            size = (shown.shape[0], shown.shape[1])
            shown_mm = [person.joints_mm for person in people]
            if self._turning:
                angle = 360.0 * float(poses.time_s[members[0]]) / _TURN_S
                views = [space.draw(shown_mm, azimuth=angle)]
            else:
                size = None
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

    def _picture(self, row: int, people: list[Person], size: tuple[int, int] | None) -> Picture:
        height = self._config.overlay_height
        try:
            image = self._dataset.load_image(row)
        except FrameError:
            return np.full((height, size[1] if size else height, 3), 60, dtype=np.uint8)
        shown = draw_people(
            image,
            people,
            self._poses.skeleton,
            height=height,
            min_score=self._config.min_joint_score,
        )
        if size is not None and shown.shape[:2] != size:
            # All frames of a film have one size; pictures of a folder need not.
            shown = np.asarray(cv2.resize(shown, (size[1], size[0])), dtype=np.uint8)
        return shown


def _first_rows(poses: Poses, rows: NDArray[np.intp]) -> list[int]:
    frames = poses.frames[rows]
    return [int(rows[frames == frame][0]) for frame in np.unique(frames)]


def _picture_file(out: Path, dataset: Dataset, poses: Poses, row: int) -> Path:
    item = dataset.plan().index["item"].words()[row]
    name = Path(item.split("#")[0])
    frame = f"-{poses.frames[row]:06d}" if name.suffix.lower() in VIDEO_SUFFIXES else ""
    return out / name.with_name(f"{name.stem}{frame}-3d.png")


def _write_picture(picture: Picture, path: Path) -> None:
    encoded, content = cv2.imencode(".png", picture[..., ::-1])
    assert encoded
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.tobytes())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UnwritableTarget(
            f"{path}: cannot be written ({error.strerror or error}). Give --out another folder."
        ) from error
