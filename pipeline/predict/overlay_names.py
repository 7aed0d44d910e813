"""What the overlays of a prediction are called."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from pipeline.predict.config import PredictConfig
from pipeline.predict.poses import Poses
from stages.extract.datasets.filed import FiledDataset
from stages.extract.datasets.folder_sources import PICTURE_SUFFIXES
from stages.extract.datasets.videos import SUFFIXES as VIDEO_SUFFIXES


def overlay_files(
    poses: Poses, dataset: FiledDataset, config: PredictConfig
) -> dict[tuple[str, int | None], str]:
    """Return the file of every overlay by (video or folder, frame), None for the film of all.

    They are called after what they show, without its suffix; with it where two would be one file.
    """
    names: dict[tuple[str, int | None], tuple[PurePosixPath, str]] = {}
    for row, (file, frame) in enumerate(zip(poses.files, poses.frames.tolist(), strict=True)):
        if is_film(file, config):
            name = PurePosixPath(dataset.name if file == "." else file)
            names[file, None] = name, "-3d.mp4"
        else:
            name = PurePosixPath(dataset.picture_key(row)[0])
            in_video = name.suffix.lower() in VIDEO_SUFFIXES
            names[file, frame] = name, f"-{frame:06d}-3d.png" if in_video else "-3d.png"
    short = {key: f"{_stem(name)}{ending}" for key, (name, ending) in names.items()}
    uses = Counter(each.lower() for each in short.values())
    return {
        key: short[key] if uses[short[key].lower()] == 1 else f"{name}{ending}"
        for key, (name, ending) in names.items()
    }


def _stem(name: PurePosixPath) -> PurePosixPath:
    """Return a name without the suffix of a video or picture; folders have none."""
    known = name.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)
    return name.with_suffix("") if known else name


def is_film(file: str, config: PredictConfig) -> bool:
    """Return whether the overlay of a video or folder is a film."""
    return config.overlay == "video" or (config.overlay == "auto" and is_video(file))


def is_video(file: str) -> bool:
    """Return whether this names a video."""
    return file.lower().endswith(VIDEO_SUFFIXES)
