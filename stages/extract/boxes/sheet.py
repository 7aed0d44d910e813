"""A contact sheet: some frames of a folder with the boxes and tracks of a table drawn in."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.table import BoxTable
from stages.extract.datasets.base import FrameError

_COLUMNS, _ROWS = 4, 3
_TILE_PX = (240, 360)  # (H, W)
_CAPTION_PX = 22
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.4
_GOLDEN = 0.618034  # neighbouring tracks get hues far apart


def draw_sheet(
    table: BoxTable, read: Callable[[str, int], NDArray[np.uint8]], path: Path
) -> tuple[str, ...]:
    """Write a PNG of up to twelve evenly spaced frames that have boxes; return their captions.

    Args:
        table: the boxes.
        read: returns the picture of a file and frame, [H, W, 3] RGB; may raise FrameError.
        path: of the PNG.
    """
    rows_of: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, (file, frame) in enumerate(zip(table.files, table.frames.tolist(), strict=True)):
        rows_of[file, frame].append(row)
    places = list(rows_of)
    chosen = np.unique(np.linspace(0, len(places) - 1, _COLUMNS * _ROWS).round().astype(int))
    height, width = _TILE_PX[0] + _CAPTION_PX, _TILE_PX[1]
    num_columns = min(_COLUMNS, len(chosen))
    num_rows = -(-len(chosen) // num_columns)
    sheet = np.full((num_rows * height, num_columns * width, 3), 255, dtype=np.uint8)
    captions = []
    for tile, position in enumerate(chosen):
        file, frame = places[position]
        top, left = tile // num_columns * height, tile % num_columns * width
        caption = file if frame < 0 else f"{file} frame {frame}"
        captions.append(caption)
        part = sheet[top : top + height, left : left + width]
        _caption(part, caption)
        try:
            picture = read(file, frame)
        except FrameError as error:
            _caption(part[_CAPTION_PX:], error.status.name.lower())
            continue
        _draw(part[_CAPTION_PX:], picture, table, rows_of[file, frame])
    encoded = cv2.imencode(".png", sheet[..., ::-1])[1]
    path.write_bytes(encoded.tobytes())
    return tuple(captions)


def _draw(
    tile: NDArray[np.uint8], picture: NDArray[np.uint8], table: BoxTable, rows: list[int]
) -> None:
    scale = min(tile.shape[0] / picture.shape[0], tile.shape[1] / picture.shape[1])
    size = (max(int(picture.shape[1] * scale), 1), max(int(picture.shape[0] * scale), 1))
    shown = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    for row in rows:
        left, top, right, bottom = (round(v) for v in (table.boxes_px[row] * scale).tolist())
        colour = _colour(table.tracks[row])
        cv2.rectangle(shown, (left, top), (right, bottom), colour, 2)
        label = f"{table.tracks[row]} {table.scores[row]:.2f}"
        (wide, high), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
        cv2.rectangle(shown, (left, top), (left + wide + 4, top + high + 6), colour, cv2.FILLED)
        at = (left + 2, top + high + 3)
        cv2.putText(shown, label, at, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    tile[: shown.shape[0], : shown.shape[1]] = shown


def _caption(tile: NDArray[np.uint8], text: str) -> None:
    shown = text if len(text) <= 46 else "..." + text[-43:]
    cv2.putText(tile, shown, (4, 15), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def _colour(track: str) -> tuple[int, int, int]:
    number = int(track) if track.isdecimal() else sum(track.encode())
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.75, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)
