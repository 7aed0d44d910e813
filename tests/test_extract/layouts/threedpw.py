"""3DPW: pickles as Python 2 wrote them, a moving camera, two people in one of the sequences."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.people import Float64, person_mm, pinhole_px, write_picture

FOCAL, CENTRE = (1961.1, 1969.2), (540.0, 960.0)
SIZE = (96, 54)
NUM_FRAMES = 4

# Joints of SMPL by the joint of the standing person in whose place they are.
_SMPL_FROM_HUMAN36M = (
    0, 4, 1, 7, 5, 2, 7, 6, 3, 8, 6, 3, 8, 11, 14, 10, 11, 14, 12, 15, 13, 16, 13, 16,
)  # fmt: skip


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's `str`, which Python 3 cannot tell apart."""

    def save_raw(self, value: bytes) -> None:
        if len(value) < 256:
            self.write(b"U" + bytes([len(value)]) + value)
        else:
            self.write(b"T" + struct.pack("<i", len(value)) + value)

    def save_text(self, value: str) -> None:
        self.save_raw(value.encode("latin1"))

    dispatch = {**pickle._Pickler.dispatch, bytes: save_raw, str: save_text}  # noqa: RUF012


def python2_pickle(content: object) -> bytes:
    """Protocol 2, with numpy's modules called as they were then."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def camera_pose(frame: int) -> Float64:
    """World to camera [4, 4], metres; it turns and walks."""
    turn = 0.1 * frame
    pose = np.eye(4)
    pose[0, 0] = pose[2, 2] = np.cos(turn)
    pose[0, 2], pose[2, 0] = np.sin(turn), -np.sin(turn)
    pose[:3, 3] = [0.2 * frame, 0.1, 1.0 + 0.3 * frame]
    return pose


def smpl_mm(frame: int, person: int) -> Float64:
    """Camera-frame joints [24, 3], mm, no two in one place."""
    joints = person_mm(frame)[list(_SMPL_FROM_HUMAN36M)]
    joints += np.arange(24)[:, None] * [0.0, 2.0, 3.0]
    return joints + np.array([700.0 * person, 0.0, 200.0 * person])


def openpose(frame: int, person: int) -> Float64:
    """OpenPose's [3, 18]: joint j at x = 100 j, so that every joint can be told."""
    joints = np.arange(18.0)
    return np.stack([100 * joints + person, 50 + joints + frame, 0.05 * (1 + joints)])


def write_sequence(
    root: Path, split: str, sequence: str, num_people: int, **changes: Any
) -> dict[str, Any]:
    """Write a sequence's pickle and pictures; `changes` replace entries. Returns the content."""
    poses = np.stack([camera_pose(frame) for frame in range(NUM_FRAMES)])
    positions = []
    for person in range(num_people):
        frames = []
        for frame in range(NUM_FRAMES):
            pose = poses[frame]
            in_world = (smpl_mm(frame, person) / 1000 - pose[:3, 3]) @ pose[:3, :3]
            frames.append(in_world.ravel())
        positions.append(np.array(frames))
    valid = [np.ones(NUM_FRAMES, dtype=np.int64) for _ in range(num_people)]
    found = [
        np.stack([openpose(frame, person) for frame in range(NUM_FRAMES)])
        for person in range(num_people)
    ]
    valid[0][1] = 0
    found[-1][2] = 0
    content = {
        "sequence": sequence,
        "genders": ["m", "f"][:num_people],
        "betas": [np.linspace(-1, 1, 300) for _ in range(num_people)],
        "poses2d": found,
        "jointPositions": positions,
        "img_frame_ids": np.arange(NUM_FRAMES) * 2,
        "cam_poses": poses,
        "campose_valid": valid,
        "cam_intrinsics": np.array(
            [[FOCAL[0], 0, CENTRE[0]], [0, FOCAL[1], CENTRE[1]], [0, 0, 1.0]]
        ),
        **changes,
    }
    path = root / "sequenceFiles" / split / f"{sequence}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(content))
    for frame in range(NUM_FRAMES):
        write_picture(root / "imageFiles" / sequence / f"image_{frame:05d}.jpg", SIZE, frame)
    return content


def projected_px(frame: int, person: int) -> Float64:
    """Where the joints of `smpl_mm` are in the picture."""
    return pinhole_px(smpl_mm(frame, person), FOCAL, CENTRE)


def write(root: Path) -> None:
    write_sequence(root, "train", "courtyard_arguing_00", 2)
    write_sequence(root, "validation", "courtyard_basketball_01", 1)
    write_sequence(root, "test", "downtown_walking_00", 1)


CASES = (
    LayoutCase("3dpw", write, picture="imageFiles/courtyard_arguing_00/image_00000.jpg"),
    LayoutCase(
        "3dpw",
        write,
        picture="imageFiles/courtyard_arguing_00/image_00000.jpg",
        options={"skeleton": "SMPL24", "rows": "all"},
        label="smpl",
    ),
)
