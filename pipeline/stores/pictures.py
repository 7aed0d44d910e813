"""One frame of a store as a picture: its joints, and where each feature level is strong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cache import CacheReader, FrameStatus
from cache.fingerprint import diff_identities
from pipeline.errors import ConfigError, PipelineError, UnwritableTarget
from pipeline.stores.panels import Frame, draw_joints, draw_level
from stages.extract.datasets import DatasetError, FrameError, build_dataset

_PANEL_INCHES = 3.1
_DPI = 110


@dataclass(frozen=True)
class ShownFrame:
    """What was drawn.

    Args:
        path: of the picture.
        row: of the store.
        item: name of the frame.
        view: `plain` or `flipped`.
        status: name of the row's `FrameStatus`.
        no_picture: why the dataset's picture is not in it, None if it is.
        detector_error_px: mean distance of the detector's joints from valid labels, in px of the
            dataset's picture; None where there is no detector or no such joint.
        level_rms: root mean square of all values of each level.
    """

    path: Path
    row: int
    item: str
    view: str
    status: str
    no_picture: str | None
    detector_error_px: float | None
    level_rms: dict[str, float]


def find_row(reader: CacheReader, *, row: int | None = None, item: str | None = None) -> int:
    """Return the row asked for by number or by item; with neither, the first usable one.

    Raises:
        ConfigError: both are given.
        PipelineError: there is no such row, or none is written yet.
    """
    if row is not None and item is not None:
        raise ConfigError("--row and --item both name a frame: give one of them.")
    committed = reader.committed()
    if item is not None:
        row = _row_of(reader, item)
    if row is not None:
        if not 0 <= row < len(reader):
            raise PipelineError(
                f"{reader.locations[0]}: has no row {row}; rows run from 0 to {len(reader) - 1}."
            )
        if not committed[row]:
            raise PipelineError(
                f"{reader.locations[0]}: row {row} is not written yet. Run the command that made "
                "the store; it goes on where it was stopped."
            )
        return row
    rows = np.flatnonzero(committed)
    usable = rows[reader.status(rows=rows) == FrameStatus.OK]
    if not usable.size:
        raise PipelineError(f"{reader.locations[0]}: no usable row is written yet.")
    return int(usable[0])


def load_picture(
    reader: CacheReader, row: int, dataset: Mapping[str, Any] | None
) -> NDArray[np.uint8] | str:
    """Return the picture of a row, uint8 [H, W, 3] RGB, or why there is none.

    Args:
        reader: of the store.
        row: of the store.
        dataset: its `name`, `options` and, on disk, `root`; None if nobody knows.
    """
    if dataset is None:
        return "nothing beside the store says which dataset it is of"
    root = dataset.get("root")
    try:
        source = build_dataset(
            dataset["name"], **({} if root is None else {"root": root}), **dataset["options"]
        )
    except DatasetError as error:
        return f"{error} Its folder can be given: --set dataset.root=DIR"
    stored = {
        # Keypoints from files are beside the pictures, and the files may be gone.
        key: value
        for key, value in reader.content_identity.items()
        if key != "keypoint_files"
    }
    if apart := diff_identities(stored, source.content_identity()):
        return f"the dataset is not the one of the store: {apart[0]}"
    try:
        return source.load_image(row)
    except FrameError as error:
        return str(error)


def draw_frame(
    reader: CacheReader, row: int, path: Path, *, view: int, picture: NDArray[np.uint8] | str
) -> ShownFrame:
    """Draw a row of a view: joints in the picture and in the crop, then a map per level.

    A level's map shows at each cell the root mean square over its channels. Its cells lie where the
    detector computed them, `stride` crop px apart with the first one on crop px (0, 0).

    Args:
        reader: of the store.
        row: of the store, written.
        path: of the PNG.
        view: position in `reader.views`.
        picture: uint8 [H, W, 3] RGB of the dataset, or why there is none.

    Raises:
        UnwritableTarget: there is no writing at `path`.
    """
    frame = Frame(reader, row, view, None if isinstance(picture, str) else picture)
    maps = {
        name: _energy(maps[0], reader.scales(name))
        for name, maps in reader.read([row], view=view).items()
    }
    columns = max(len(maps), 3)
    figure = Figure(figsize=(_PANEL_INCHES * columns, 9.4), layout="constrained")
    places = figure.add_gridspec(2, 1, height_ratios=(5.0, 4.0))
    top, bottom = (figure.add_subfigure(places[line]) for line in range(2))
    figure.suptitle(frame.title(), fontsize="medium")
    draw_joints(top, frame)
    axes = bottom.subplots(1, len(maps), squeeze=False)[0]
    for level_axes, (name, energy) in zip(axes, maps.items(), strict=True):
        draw_level(bottom, level_axes, frame, reader.levels[name], energy)
    bottom.suptitle("root mean square over the channels of each level, laid over the crop")
    _save(figure, path)
    return ShownFrame(
        path=path,
        row=row,
        item=frame.item,
        view=reader.views[view],
        status=frame.status,
        no_picture=picture if isinstance(picture, str) else None,
        detector_error_px=frame.detector_error_px(),
        level_rms={name: float(np.sqrt(np.square(each).mean())) for name, each in maps.items()},
    )


def _row_of(reader: CacheReader, item: str) -> int:
    column = reader.index("item")
    words = column.words()
    if item not in words:
        near = [word for word in words if item in word][:3]
        hint = f" Some that contain it: {', '.join(near)}." if near else f" The first: {words[0]}."
        raise PipelineError(f"{reader.locations[0]}: has no item {item!r}.{hint}")
    return words.index(item)


def _energy(maps: NDArray[Any], scales: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Root mean square over the channels, `[H, W]`."""
    values = maps.astype(np.float32)
    if scales is not None:
        values *= scales
    return np.asarray(np.sqrt(np.square(values).mean(axis=-1)), dtype=np.float32)


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_figure(path, format="png", dpi=_DPI)
    except OSError as error:
        raise UnwritableTarget(
            f"{path}: cannot be written ({error.strerror}). Name another file with --out."
        ) from error
