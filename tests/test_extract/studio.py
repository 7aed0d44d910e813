"""A tiny dataset on disk in mmpose's Human3.6M layout, and detectors whose answers are known."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cache import LevelSpec, Skeleton, get_skeleton
from stages.extract.detectors.base import Detection

SIZE = (120, 160)
H36M = get_skeleton("H36M17")
CLIPS = (
    ("train", "S1", "S1_Walking_1.54138969"),
    ("train", "S8", "S8_Walking_1.54138969"),
    ("test", "S9", "S9_Sitting.55011271"),
)
FRAMES = (1, 6, 11)


def joint_colours() -> NDArray[np.uint8]:
    """One colour per joint, the same for the two joints of a left/right pair, [J, 3]."""
    levels = (0, 128, 255)
    palette = [(r, g, b) for r in levels for g in levels for b in levels if (r, g, b) != (0, 0, 0)]
    colours = np.array(palette[: H36M.num_joints], dtype=np.uint8)
    colours[list(H36M.right)] = colours[list(H36M.left)]
    return colours


def draw_person(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A black picture with a dot per joint, left joints right of their counterparts."""
    cells = rng.permutation(7 * 5)[: H36M.num_joints]
    joints = np.stack([20 + 20 * (cells % 7), 15 + 20 * (cells // 7)], axis=-1).astype(float)
    for left, right in zip(H36M.left, H36M.right, strict=True):
        if joints[left, 0] == joints[right, 0]:
            joints[left, 0] += 3
            joints[right, 0] -= 3
        if joints[left, 0] < joints[right, 0]:
            joints[[left, right]] = joints[[right, left]]
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    for (x, y), colour in zip(joints.astype(int), joint_colours(), strict=True):
        image[y - 2 : y + 3, x - 2 : x + 3] = colour
    return image, joints


def write_layout(root: Path, seed: int = 0) -> None:
    """Write pictures (PNG bytes are lossless; names say .jpg as the layout wants) and labels."""
    rng = np.random.default_rng(seed)
    cameras: dict[tuple[str, str], dict[str, Any]] = {}
    parts: dict[str, dict[str, list[Any]]] = {}
    for split, subject, clip in CLIPS:
        camera = clip.rsplit(".", 1)[1]
        cameras[subject, camera] = {
            "R": np.eye(3),
            "T": np.array([[0.0], [0.0], [-1.0]]),
            "f": np.array([[300.0], [300.0]]),
            "c": np.array([[80.0], [60.0]]),
            "k": np.zeros((3, 1)),
            "p": np.zeros((2, 1)),
        }
        for frame in FRAMES:
            image, joints = draw_person(rng)
            name = f"{subject}/{clip}/{clip}_{frame:06d}.jpg"
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
            points = np.concatenate([(joints - [80, 60]) / 300 * 3, np.full((17, 1), 3.0)], axis=1)
            side = (joints.max(0) - joints.min(0)).max() * 1.2
            rows = parts.setdefault(
                split, {k: [] for k in ("imgname", "center", "scale", "part", "S")}
            )
            rows["imgname"].append(name)
            rows["center"].append((joints.max(0) + joints.min(0)) / 2)
            rows["scale"].append(side / 200)
            rows["part"].append(np.concatenate([joints, np.ones((17, 1))], axis=1))
            rows["S"].append(np.concatenate([points, np.ones((17, 1))], axis=1))
    folder = root / "annotation_body3d" / "fps10"
    folder.mkdir(parents=True)
    for split, rows in parts.items():
        np.savez(
            folder / f"h36m_{split}.npz", **{key: np.array(value) for key, value in rows.items()}
        )
    (root / "annotation_body3d" / "cameras.pkl").write_bytes(pickle.dumps(cameras))


class DotDetector:
    """Finds the dots of `draw_person`; of a pair, the joint further right is the left one."""

    input_size = (256, 192)
    skeleton: Skeleton = H36M
    levels = (LevelSpec("x16", 3, 16, 12, 16), LevelSpec("x32", 4, 8, 6, 32))

    def __init__(self, poison: float | None = None) -> None:
        self.batches: list[int] = []
        self._poison = poison

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        self.batches.append(len(crops))
        keypoints = np.stack([self._joints(crop) for crop in crops]).astype(np.float32)
        x16 = np.stack([cv2.resize(c, (12, 16), interpolation=cv2.INTER_AREA) for c in crops])
        x32 = np.zeros((len(crops), 8, 6, 4), dtype=np.float32)
        x32[..., 0] = crops.reshape(len(crops), -1).mean(axis=1)[:, None, None]
        if self._poison is not None:
            x32[:, 2, 3, 1] = np.where(x32[:, 0, 0, 0] > 0, self._poison, 0)
        return Detection(keypoints, {"x16": x16.astype(np.float32), "x32": x32})

    def identity(self) -> dict[str, Any]:
        return {"kind": "dots"}

    def _joints(self, crop: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = np.zeros((17, 3))
        for joint, colour in enumerate(joint_colours()):
            ys, xs = np.nonzero(np.abs(crop.astype(int) - colour).max(axis=-1) < 30)
            if not len(xs):
                continue
            members = np.ones(len(xs), dtype=bool)
            if joint in H36M.left or joint in H36M.right:
                order = np.sort(xs)
                gap = int(np.argmax(np.diff(order)))
                middle = (order[gap] + order[gap + 1]) / 2
                members = xs > middle if joint in H36M.left else xs < middle
            found[joint] = xs[members].mean(), ys[members].mean(), 1.0
        return found
