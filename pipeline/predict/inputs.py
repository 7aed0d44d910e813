"""What the input of a prediction is: a picture, a video or a folder, and the persons in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, PipelineError, UnwritableTarget
from pipeline.predict.files import POSES_FILE, read_npz
from stages.extract.boxes.files import write_boxes
from stages.extract.boxes.find import FindProgress, FoundPeople, find_people
from stages.extract.boxes.people import PeopleConfig, PersonDetector, detector_identity
from stages.extract.crops import BoxSource
from stages.extract.datasets.folder import Folder
from stages.extract.datasets.folder_sources import PICTURE_SUFFIXES, Source, find_sources
from stages.extract.datasets.videos import SUFFIXES as VIDEO_SUFFIXES
from stages.extract.datasets.videos import video_info, video_times_s

FALLBACK_FPS = 25.0


@dataclass(frozen=True)
class Input:
    """What is to be lifted."""

    root: Path
    only: str | None
    """Name of the one file in `root`; None for the whole folder."""

    @property
    def name(self) -> str:
        """What outputs are called after."""
        return self.root.resolve().name if self.only is None else Path(self.only).stem

    @property
    def path(self) -> Path:
        """Where it is, whatever the working directory."""
        root = self.root.resolve()
        return root if self.only is None else root / self.only

    def sources(self) -> tuple[Source, ...]:
        """Return its videos and folders of pictures; raises DatasetError if there are none."""
        return find_sources(self.root, self.only)

    def fps(self, source: str, given: float | None) -> float:
        """Return the frames per second of a video or folder: its own, else `given`, else 25."""
        if source.lower().endswith(VIDEO_SUFFIXES):
            own = video_info(self.root / source).fps
            if own:
                return own
        return given or FALLBACK_FPS

    def times_s(
        self, source: str, frames: NDArray[np.int64], given_fps: float | None
    ) -> NDArray[np.float64]:
        """Return when frames are shown, s since the first of the video or folder.

        A video's own times, which need not be even; without any, by `fps`.
        """
        if source.lower().endswith(VIDEO_SUFFIXES):
            times_s = video_times_s(self.root / source)
            if times_s is not None:
                return times_s[frames]
        return frames / self.fps(source, given_fps)


def find_input(path: Path) -> Input:
    """Return the input; raises PipelineError if there is no such picture, video or folder."""
    if path.is_dir():
        return Input(path, None)
    if path.is_file():
        if not path.name.lower().endswith((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)):
            raise PipelineError(
                f"{path}: its name is not that of a picture ({' '.join(PICTURE_SUFFIXES)}) or a"
                f" video ({' '.join(VIDEO_SUFFIXES)}). Convert it, or name it after what it is."
            )
        return Input(path.parent, path.name)
    raise PipelineError(f"{path}: there is no such picture, video or folder. Check the path.")


def refuse_output_inside(given: Input, out: Path) -> None:
    """Raise UnwritableTarget where what is written would be read as input the next time."""
    if given.only is None and out.absolute().resolve().is_relative_to(given.root.resolve()):
        raise UnwritableTarget(
            f"{out} is inside {given.root}, where its pictures would be input of the next"
            " prediction. Give --out a place outside."
        )


def refuse_output_of_another(given: Input, out: Path) -> None:
    """Raise UnwritableTarget where a folder that nobody named has the poses of another input."""
    file = out / POSES_FILE
    if not file.is_file():
        return
    try:
        other = read_npz(file)["about"].get("path")
    except PipelineError:
        return
    if other is not None and other != str(given.path):
        raise UnwritableTarget(
            f"{out} has the poses of {other}, which would be lost. Give --out another folder."
        )


def folder_of(
    given: Input, *, boxes: Path | None, min_score: float, stride: int
) -> tuple[Folder, BoxSource]:
    """Return the dataset of the input, and whose boxes it has; without boxes, whole frames."""
    dataset = Folder(
        given.root,
        only=given.only,
        name=given.name,
        boxes=None if boxes is None else str(boxes.absolute()),
        min_score=min_score,
        frame_stride=stride,
    )
    source: BoxSource = "full" if boxes is None else (dataset.box_origin or "imported")
    return dataset, source


def write_people(
    given: Input,
    detector: PersonDetector,
    config: PeopleConfig,
    path: Path,
    *,
    progress: Callable[[FindProgress], None],
    stop: Callable[[], bool],
) -> FoundPeople | None:
    """Write the box file of the persons that a detector finds, and return them; None if stopped.

    A stopped search goes on from where it was. Raises PipelineError if there is nobody.
    """
    journal = path.with_name(path.name + ".journal")
    found = find_people(
        given.root,
        given.sources(),
        detector,
        config,
        journal,
        found_by=detector_identity(detector, config.detector),
        progress=progress,
        stop=stop,
    )
    if not found.complete:
        return None
    if not len(found.table):
        raise PipelineError(
            f"{given.root if given.only is None else given.root / given.only}: no person was found"
            f" in {found.num_frames} frames. {_why_nobody(found, config)}"
        )
    write_boxes(path, found.table, "written by posecache predict")
    journal.unlink()
    return found


def _why_nobody(found: FoundPeople, config: PeopleConfig) -> str:
    if not found.num_boxes or config.link == "none":
        return "Give boxes (--boxes FILE), or lower people.tracks.min_score."
    return (
        f"Its {found.num_boxes} boxes are unsure, or follow each other too shortly to be a person"
        f" (people.tracks.min_score, min_length {config.tracks.min_length}). For pictures that are"
        " no sequence: --set people.link=none."
    )


def left_out_note(found: FoundPeople, config: PeopleConfig) -> str | None:
    """Return a sentence on the boxes that are no person's, None if there are none."""
    left_out = found.num_boxes - len(found.table)
    if not left_out:
        return None
    link = "" if config.link == "none" else " For pictures that are no sequence: people.link=none."
    return (
        f"{left_out} of {found.num_boxes} boxes were left out as unsure or seen too shortly"
        f" (people.tracks).{link}"
    )


def looks_for_people(config: PeopleConfig) -> bool:
    """Return whether a person detector is named."""
    return any(_named(config, key) for key in ("config", "detector", "onnx", "mmdet_config"))


def _named(config: Any, key: str) -> bool:
    return getattr(config, key, None) is not None


def parse_intrinsics(text: str) -> Sequence[float]:
    """Return fx, fy, cx, cy in px of `FX,FY,CX,CY`; raises ConfigError."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ConfigError(
            f"--intrinsics {text}: expected FX,FY,CX,CY in px of the picture, e.g."
            " 1145,1143,512,515."
        )
    return numbers
