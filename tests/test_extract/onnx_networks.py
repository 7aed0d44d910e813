"""Small ONNX files that find a red block, with the outputs of usual person detectors.

They read the picture as it is fed to them: in which channel red is, and how much white is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (64, 96)  # H, W of the input
NUM_CELLS = 8 * 12 + 4 * 6 + 2 * 3
SCORE, LESS = 0.9, 0.7
PICTURE = [1, 3, *SIZE]


class Graph:
    """Nodes and constants of a network that grows step by step."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def add(self, kind: str, *inputs: str, called: str | None = None, **options: Any) -> str:
        output = called or f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **options))
        return output

    def number(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def joined(self, *values: str, axis: int, called: str | None = None) -> str:
        return self.add("Concat", *values, axis=axis, called=called)

    def save(
        self,
        path: Path,
        outputs: dict[str, Sequence[Any]],
        *,
        picture: Sequence[Any] = PICTURE,
        integers: Sequence[str] = (),
    ) -> Path:
        ports = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, shape
            )
            for name, shape in (("picture", picture), *outputs.items())
        ]
        graph = helper.make_graph(self._nodes, "made", ports[:1], ports[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path


def find_red(graph: Graph, *, red: int, white: float) -> tuple[list[str], str]:
    """Adds what finds x1, y1, x2, y2 of the red block, each [1, 1], and the score [1, 1]."""
    channels = [
        graph.add("Gather", "picture", graph.constant(index, np.int64), axis=1)
        for index in (red, 2 - red)
    ]  # [1, H, W]
    redder = graph.add("Sub", *channels)
    is_red = graph.number(graph.add("Greater", redder, graph.constant(0.5 * white)))
    ends = []
    for axis in (1, 2):
        line = graph.add("ReduceMax", is_red, axes=[axis], keepdims=0)  # [1, W], then [1, H]
        first = graph.number(graph.add("ArgMax", line, axis=1))
        last = graph.number(graph.add("ArgMax", line, axis=1, select_last_index=1))
        ends.append((first, graph.add("Add", last, graph.constant(1.0))))
    (x1, x2), (y1, y2) = ends
    found = graph.add("ReduceMax", is_red, axes=[1, 2], keepdims=0)  # [1]
    score = graph.add("Unsqueeze", found, graph.constant([1], np.int64))
    return [x1, y1, x2, y2], graph.add("Mul", score, graph.constant(SCORE))


def middle_and_size(graph: Graph, corners: Sequence[str]) -> list[str]:
    x1, y1, x2, y2 = corners
    half = graph.constant(0.5)
    return [
        graph.add("Mul", graph.add("Add", x1, x2), half),
        graph.add("Mul", graph.add("Add", y1, y2), half),
        graph.add("Sub", x2, x1),
        graph.add("Sub", y2, y1),
    ]


def end_to_end(
    path: Path, *, red: int = 2, white: float = 255.0, picture: Sequence[Any] = PICTURE
) -> Path:
    """The block is a person; there is a sure thing of class 1, and a person that is not sure."""
    graph = Graph()
    corners, score = find_red(graph, red=red, white=white)
    person = graph.joined(*corners, score, axis=1)  # [1, 5]
    person = graph.add("Unsqueeze", person, graph.constant([1], np.int64))
    others = graph.constant([[[1, 1, 40, 40, 0.99], [2, 2, 30, 30, 0.1]]])
    graph.joined(person, others, axis=1, called="dets")
    graph.add("Identity", graph.constant([[0, 1, 0]], np.int64), called="labels")
    outputs = {"dets": ["batch", "number", 5], "labels": ["batch", "number"]}
    return graph.save(path, outputs, picture=picture, integers=["labels"])


def yolov8(path: Path, *, red: int = 0, white: float = 1.0) -> Path:
    """The block is found twice, one px apart; there is a sure thing of class 1 in its place."""
    graph = Graph()
    corners, score = find_red(graph, red=red, white=white)
    zero = graph.constant([[0.0]])
    column = graph.joined(*middle_and_size(graph, corners), score, zero, zero, axis=1)  # [1, 7]
    person = graph.add("Unsqueeze", column, graph.constant([2], np.int64))  # [1, 7, 1]
    factor = np.ones((1, 7, 1))
    factor[0, 4] = LESS / SCORE
    moved = np.zeros((1, 7, 1))
    moved[0, 0] = 1
    less = graph.add("Mul", person, graph.constant(factor))
    less = graph.add("Add", less, graph.constant(moved))
    rest = np.zeros((1, 7, NUM_CELLS - 2))
    rest[0, :, 3] = [40, 30, 20, 20, 0, 0.99, 0]
    graph.joined(graph.constant(rest), less, person, axis=2, called="output0")
    return graph.save(path, {"output0": [1, 7, NUM_CELLS]})


def yolox(path: Path, *, red: int = 2, white: float = 255.0, surest: int = 8) -> Path:
    """The block is found in the first cell of stride 8 and in the last of stride 32."""
    graph = Graph()
    corners, score = find_red(graph, red=red, white=white)
    x, y, width, height = middle_and_size(graph, corners)
    classes = graph.constant([[1.0, 0.0, 0.0]])
    rows = {}
    for stride, (column, row) in {8: (0, 0), 32: (2, 1)}.items():
        step = graph.constant(float(stride))
        place = [
            graph.add("Sub", graph.add("Div", at, step), graph.constant(float(cell)))
            for at, cell in ((x, column), (y, row))
        ]
        size = [graph.add("Log", graph.add("Div", each, step)) for each in (width, height)]
        factor = 1.0 if stride == surest else LESS / SCORE
        sure = graph.add("Mul", score, graph.constant(factor))
        line = graph.joined(*place, *size, sure, classes, axis=1)  # [1, 8]
        rows[stride] = graph.add("Unsqueeze", line, graph.constant([1], np.int64))
    rest = graph.constant(np.zeros((1, NUM_CELLS - 2, 8)))
    graph.joined(rows[8], rest, rows[32], axis=1, called="output")
    return graph.save(path, {"output": [1, NUM_CELLS, 8]})
