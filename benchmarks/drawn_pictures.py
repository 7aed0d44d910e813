"""Pictures and a video on disk of the size of Human3.6M's, for benchmarks of stage 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 1000
QUALITY = 95
FPS = 25


def draw(num_pictures: int, side_px: int = SIDE_PX) -> Iterator[NDArray[np.uint8]]:
    """Yield smooth noise that drifts, uint8 [H, W, 3] BGR; a JPEG of it has about 200 kB."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side_px + num_pictures, side_px, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    stretched = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    for start in range(num_pictures):
        yield np.ascontiguousarray(stretched[start : start + side_px])


def write_pictures(folder: Path, num_pictures: int, side_px: int = SIDE_PX) -> list[Path]:
    """Write JPEGs and return their paths, in order of names."""
    folder.mkdir(parents=True)
    paths = []
    for number, picture in enumerate(draw(num_pictures, side_px)):
        paths.append(folder / f"{number:06d}.jpg")
        if not cv2.imwrite(str(paths[-1]), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
            raise OSError(f"{paths[-1]} cannot be written")
    return paths


def write_video(path: Path, num_pictures: int, side_px: int = SIDE_PX) -> Path:
    """Write an H.264 video and return its path."""
    import av

    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = side_px
        stream.pix_fmt = "yuv420p"
        for picture in draw(num_pictures, side_px):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path
