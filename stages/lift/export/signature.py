"""What an exported lifter is called with: names, axes, types and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lifter import LIFTERS
from lifter.config import LifterConfig
from stages.lift.runs.identity import LevelShape, TrainedOn

MapDtype = Literal["float32", "float16"]

BATCH, ROWS = "batch", "rows"
KEYPOINTS, REFERENCES, WINDOW_ROWS = "keypoints_2d", "reference_points", "window_rows"
OUTPUT = "joints_3d_m"
_REACH = 1.2
"""Random points lie up to a tenth of the crop outside of it, where maps end."""


@dataclass(frozen=True)
class Port:
    """One input or output: a name in `axes` is a size that may change from call to call."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]
    meaning: str

    def describe(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {**asdict(self), "axes": list(self.axes)}


@dataclass(frozen=True)
class Signature:
    """All that goes in, in the order of the calls, and what comes out."""

    inputs: tuple[Port, ...]
    output: Port

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the inputs that are maps, or points read in maps, finest level first."""
        others = (KEYPOINTS, REFERENCES, WINDOW_ROWS)
        return tuple(port.name for port in self.inputs if port.name not in others)


def signature_of(
    config: LifterConfig,
    trained_on: TrainedOn,
    *,
    batch: int | None = None,
    map_dtype: MapDtype = "float32",
) -> Signature:
    """Returns how the lifter of a run is called.

    Args:
        config: the lifter.
        trained_on: its data, which say joints and maps.
        batch: samples of every call; None: any number.
        map_dtype: of the maps; whatever it is, sums are float32.
    """
    kind, joints = LIFTERS[config.name], trained_on.num_joints
    samples: int | str = BATCH if batch is None else batch
    window = (config.num_frames,) if kind.reads_windows else ()
    rows = samples
    if window and trained_on.levels:
        # Frames that windows share are given once.
        rows = ROWS if batch is None else batch * config.num_frames
    frames = "frames of the window, the oldest first, " if window else ""
    inputs = [
        Port(KEYPOINTS, "float32", (samples, *window, joints, 2), f"{frames}2D joints, screen")
    ]
    if trained_on.levels:
        of_rows = "one per frame among all windows" if window else "one per sample"
        inputs.append(
            Port(REFERENCES, "float32", (rows, joints, 2), f"2D joints, unit frame, {of_rows}")
        )
        inputs += [_map_port(level, trained_on, rows, map_dtype) for level in trained_on.levels]
        if window:
            which = "which of the rows each frame of each window is"
            inputs.append(Port(WINDOW_ROWS, "int64", (samples, *window), which))
    predicted = window if kind.predicts_windows else ()
    whose = "of every frame" if predicted else "of the target frame" if window else "of the frame"
    output = Port(OUTPUT, "float32", (samples, *predicted, joints, 3), f"3D joints {whose}, metres")
    return Signature(tuple(inputs), output)


def random_inputs(
    signature: Signature, *, batch: int, seed: int
) -> dict[str, NDArray[Any]]:  # by name
    """Returns inputs of `batch` samples for trying a lifter; some points lie outside the crop.

    The frames of windows overlap: two windows share all but one frame.
    """
    rng = np.random.default_rng(seed)
    window = next((port.axes[1] for port in signature.inputs if port.name == WINDOW_ROWS), 1)
    frames = int(window)
    sizes: Mapping[str, int] = {BATCH: batch, ROWS: batch + frames - 1}
    made: dict[str, NDArray[Any]] = {}
    for port in signature.inputs:
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in port.axes)
        if port.name == WINDOW_ROWS:
            made[port.name] = np.arange(batch)[:, None] + np.arange(frames)
        elif port.name in (KEYPOINTS, REFERENCES):
            made[port.name] = rng.uniform(-_REACH, _REACH, size=shape).astype(port.dtype)
        else:
            made[port.name] = rng.normal(size=shape).astype(port.dtype)
    if WINDOW_ROWS in made:  # where windows share a row, all have its keypoints
        seen = rng.uniform(-_REACH, _REACH, size=(batch + frames - 1, *made[KEYPOINTS].shape[2:]))
        made[KEYPOINTS] = seen.astype(np.float32)[made[WINDOW_ROWS]]
    return made


def _map_port(level: LevelShape, trained_on: TrainedOn, rows: int | str, dtype: MapDtype) -> Port:
    if trained_on.points is not None:
        axes: tuple[int | str, ...] = (rows, trained_on.num_joints, level.channels)
        return Port(f"points_{level.name}", dtype, axes, f"what {level.name} shows at the joints")
    axes = (rows, level.height, level.width, level.channels)
    return Port(f"map_{level.name}", dtype, axes, f"maps of stride {level.stride}, channels last")
