"""What person detectors as ONNX files return, told from shapes, and the boxes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.onnx_options import LayoutName, OnnxPeopleOptions
from stages.extract.boxes.tracks import overlaps
from stages.extract.detectors.base import DetectorError

Float64 = NDArray[np.float64]
Shape = tuple[int | None, ...]  # None: any size

STRIDES = (8, 16, 32)
_BOX, _BOX_AND_SCORE = 4, 5


@dataclass(frozen=True)
class Layout:
    """Which layout, and the names of the outputs that are read."""

    name: LayoutName
    outputs: tuple[str, ...]


def recognise(
    outputs: Mapping[str, Shape], input_size: tuple[int, int], layout: LayoutName | None = None
) -> Layout:
    """Return the layout of the outputs of a file.

    Args:
        outputs: shapes by name.
        input_size: (H, W) px.
        layout: what the user says it is; only the outputs to read are then looked for.

    Raises:
        DetectorError: naming the shapes and the layouts that are known.
    """
    num_cells = count_cells(input_size)
    found: list[Layout] = []
    boxes = [name for name, shape in outputs.items() if _fits(shape, (None, None, _BOX_AND_SCORE))]
    labels = [name for name, shape in outputs.items() if len(shape) == 2]
    if len(boxes) == 1 and len(labels) == 1:
        found.append(Layout("end_to_end", (boxes[0], labels[0])))
    for name, shape in outputs.items():
        if len(shape) != 3 or (found and name in found[0].outputs):
            continue
        _, middle, last = shape
        if middle is None and last is None and layout in ("yolox", "yolov8"):
            found.append(Layout(layout, (name,)))  # what the file leaves open was said
        elif _may_be(middle, num_cells) and (last or 0) > _BOX_AND_SCORE and last != num_cells:
            found.append(Layout("yolox", (name,)))
        elif _may_be(last, num_cells) and (middle or 0) > _BOX and middle != num_cells:
            found.append(Layout("yolov8", (name,)))
    chosen = [each for each in found if layout in (None, each.name)]
    if len(chosen) != 1:
        shapes = ", ".join(f"{name} {_shown(shape)}" for name, shape in outputs.items())
        why = f"is not {layout}" if layout else "has no layout that is known"
        if len(chosen) > 1:
            why = f"may be {' or '.join(each.name for each in chosen)}"
        raise DetectorError(
            f"people.onnx: the output {shapes} {why}, for an input of {input_size[0]} x "
            f"{input_size[1]} px. Known are end_to_end: [1, N, 5] and labels [1, N]; yolox: "
            f"[1, {num_cells}, 5 + classes]; yolov8: [1, 4 + classes, {num_cells}]. Set "
            "people.onnx_options.layout or input_size if they were mistaken, or write "
            "people.detector=module:function."
        )
    return chosen[0]


def count_cells(input_size: tuple[int, int]) -> int:
    """Return A, the cells of the grids of all strides."""
    return sum((input_size[0] // stride) * (input_size[1] // stride) for stride in STRIDES)


def read_boxes(
    layout: Layout,
    values: Sequence[NDArray[Any]],
    input_size: tuple[int, int],
    options: OnnxPeopleOptions,
) -> Float64:
    """Return the persons `[P, 5]` x1, y1, x2, y2 px of the input and score.

    Raises:
        DetectorError: the outputs are not of the shapes of the layout.
    """
    first: Float64 = np.asarray(values[0], dtype=np.float64)
    if layout.name == "end_to_end":
        _require(first, (1, None, _BOX_AND_SCORE), layout)
        labels = np.asarray(values[1])
        _require(labels, (1, first.shape[1]), layout)
        kept = (labels[0] == options.person_class) & (first[0, :, 4] >= options.min_score)
        persons: Float64 = first[0][kept]
        return persons
    num_cells = count_cells(input_size)
    if layout.name == "yolox":
        _require(first, (1, num_cells, None), layout)
        table, first_class = first[0], _BOX_AND_SCORE
        _require_class(table.shape[1] - first_class, options)
        scores = table[:, 4] * table[:, first_class + options.person_class]
        cells, strides = _grid(input_size)
        centre = (table[:, :2] + cells) * strides
        with np.errstate(over="ignore"):
            size = np.exp(table[:, 2:4]) * strides
    else:
        _require(first, (1, None, num_cells), layout)
        table, first_class = first[0].T, _BOX
        _require_class(table.shape[1] - first_class, options)
        scores = table[:, first_class + options.person_class]
        centre, size = table[:, :2], table[:, 2:4]
    kept = scores >= options.min_score
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    boxes: Float64 = np.column_stack([corners, scores])[kept]
    return np.take(boxes, suppress(boxes, options.nms_overlap), axis=0)


def suppress(boxes: Float64, max_overlap: float) -> NDArray[np.intp]:
    """Return which of the boxes `[P, 5]` stay, the surest first, when none overlaps a surer one."""
    left = np.argsort(-boxes[:, 4], kind="stable")
    stay = []
    while len(left):
        stay.append(left[0])
        shared = overlaps(boxes[left[:1], :4], boxes[left[1:], :4])[0]
        left = left[1:][shared <= max_overlap]
    return np.array(stay, dtype=np.intp)


def _grid(input_size: tuple[int, int]) -> tuple[Float64, Float64]:
    """Return column and row `[A, 2]` of the cells, row by row, and their strides `[A, 1]`."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: input_size[0] // stride, : input_size[1] // stride]
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(strides).astype(np.float64)


def _require_class(num_classes: int, options: OnnxPeopleOptions) -> None:
    if options.person_class >= num_classes:
        raise DetectorError(
            f"people.onnx_options.person_class is {options.person_class}, but the file has "
            f"{num_classes} classes, from 0 on."
        )


def _require(values: NDArray[Any], expected: Shape, layout: Layout) -> None:
    if not _fits(values.shape, expected) or len(values.shape) != len(expected):
        raise DetectorError(
            f"people.onnx returned {_shown(values.shape)} where {layout.name} has "
            f"{_shown(expected)}. Set people.onnx_options.layout or input_size."
        )


def _fits(shape: Shape, expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        wanted is None or size in (None, wanted)
        for size, wanted in zip(shape, expected, strict=True)
    )


def _may_be(size: int | None, wanted: int) -> bool:
    return size is None or size == wanted


def _shown(shape: Shape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
