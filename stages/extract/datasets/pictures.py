"""Picture files: sizes from headers, and decoding that notices truncated files."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.schema import FrameStatus
from stages.extract.datasets.base import FrameError

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1 = 0xE1
_EXIF_START = b"Exif\0\0"
_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)  # of Exif's orientations, those that exchange width and height
_HEADER_BYTES = 4096


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture, uint8 [H, W, 3] RGB; raises FrameError with the reason if unusable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FrameError(FrameStatus.MISSING, f"Picture {path} does not exist.") from error
    except OSError as error:
        raise FrameError(
            FrameStatus.UNREADABLE, f"Picture {path} cannot be read: {error}."
        ) from error
    if is_truncated(content):
        raise FrameError(
            FrameStatus.TRUNCATED, f"Picture {path} ends early ({len(content)} bytes)."
        )
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FrameError(
            FrameStatus.UNREADABLE, f"Picture {path} is not a picture that OpenCV reads."
        )
    return np.asarray(image, dtype=np.uint8)


def is_truncated(content: bytes) -> bool:
    """Return True for a JPEG or PNG without its end marker, which decoders fill up with grey."""
    tail = content[-64:].rstrip(b"\0")
    if content.startswith(_JPEG_START):
        return not tail.endswith(_JPEG_END)
    if content.startswith(_PNG_START):
        return not tail.endswith(_PNG_END)
    return not content


def picture_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture, (0, 0) where the file is missing or is none.

    Of a JPEG or PNG only the header is read; others, e.g. WebP, are decoded. It is the size of what
    `read_picture` returns, turned upright as a JPEG's Exif data say.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            if head.startswith(_PNG_START) and len(head) >= 24:
                width, height = struct.unpack(">II", head[16:24])
                return height, width
            if not head.startswith(_JPEG_START):
                return _decoded_size(head + file.read())
            size = _jpeg_size(head)
            if size is None:  # large metadata before the frame header
                size = _jpeg_size(head + file.read())
            return size or (0, 0)
    except OSError:
        return 0, 0


def _decoded_size(content: bytes) -> tuple[int, int]:
    image = None
    if content:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    return (0, 0) if image is None else (image.shape[0], image.shape[1])


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    position, lies = 2, False
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack(">HH", content[position + 5 : position + 9])
            return (width, height) if lies else (height, width)
        length = int(struct.unpack(">H", content[position + 2 : position + 4])[0])
        segment = content[position + 4 : position + 2 + length]
        if marker == _APP1 and segment.startswith(_EXIF_START):
            lies = _exif_orientation(segment.removeprefix(_EXIF_START)) in _LYING
        position += 2 + length
    return None


def _exif_orientation(tiff: bytes) -> int:
    """Return the orientation of Exif's first directory, 1 (upright) where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    start = int(struct.unpack(f"{order}I", tiff[4:8])[0])
    count = int.from_bytes(tiff[start : start + 2], "little" if order == "<" else "big")
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _kind, _count, value = struct.unpack(f"{order}HHIH", tiff[entry : entry + 10])
        if tag == _ORIENTATION:
            return int(value)
    return 1
