"""The folder that a command of the table runs in, and how its wrong inputs are made."""

from __future__ import annotations

import fcntl
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

STORE, RUN = "data/made.zarr", "runs/made"
SHIPPED = Path(__file__).parents[2] / "stages/extract/detectors/shipped/synthetic"
HTML = "<!DOCTYPE html><html><title>404: Not Found</title></html>\n"


class Place:
    """A folder, and copies of finished stores and a finished run to put into it.

    Args:
        root: the folder.
        made: folder with the stores and the run that `tests.test_errors.made` makes.
    """

    def __init__(self, root: Path, made: Path) -> None:
        self.root = root
        self._held: list[IO[str]] = []
        self._made = made

    def hold(self, name: str) -> None:
        """Lock a file as another process would, until `close`."""
        lock = (self / name).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        self._held.append(lock)

    def close(self) -> None:
        """Let go of what is held."""
        while self._held:
            self._held.pop().close()

    def __truediv__(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def folder(self, name: str) -> Path:
        """An empty folder."""
        (self / name).mkdir()
        return self / name

    def text(self, name: str, content: str = "") -> Path:
        """A file of text."""
        (self / name).write_text(content)
        return self / name

    def store(self, name: str = STORE, *, kind: str = "made") -> Path:
        """A copy of a store: `made`, or of `coco` joints, of `other` weights, `flat` without 3D."""
        shutil.copytree(self._made / f"{kind}.zarr", self / name)
        return self / name

    def run(self, name: str = RUN) -> Path:
        """A copy of the run of the store, which lies beside it."""
        if not (self / STORE).exists():
            self.store()
        shutil.copytree(self._made / "run", self / name)
        return self / name

    def picture(self, name: str = "pictures/a.png") -> Path:
        """A grey picture."""
        cv2.imwrite(str(self / name), np.full((64, 48, 3), 128, dtype=np.uint8))
        return self / name

    def boxes(self, content: str, name: str = "boxes.csv") -> None:
        """A picture, and a box file beside it."""
        self.picture()
        self.text(f"pictures/{name}", content)

    def video(self, name: str = "pictures/a.mp4") -> Path:
        """A video of eight grey frames."""
        import av

        with av.open(str(self / name), "w") as out:
            stream: Any = out.add_stream("mpeg4", rate=10)
            stream.width, stream.height = 64, 48
            for shade in range(8):
                grey = np.full((48, 64, 3), 30 * shade, np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                    out.mux(packet)
            out.mux(stream.encode(None))
        return self / name


def cut(path: Path, num_bytes: int) -> None:
    """Keep the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:num_bytes])


def flip(path: Path, position: int = 50) -> None:
    """Change a bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file says."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def tree(root: Path) -> dict[str, int | None]:
    """Checksum of every file below a folder, None for folders."""
    return {
        path.relative_to(root).as_posix(): zlib.crc32(path.read_bytes()) if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }
