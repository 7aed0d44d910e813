"""MPI-INF-3DHP in mmpose's files: flat npz, camera pickles, all pictures in one folder."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.mpi_people import (
    STUDIO,
    camera_pose,
    intrinsics,
    mpi_person_mm,
)
from tests.test_extract.layouts.people import Float64, pinhole_px, write_picture

TRAIN_CLIPS = (("S1", "Seq1", 0), ("S1", "Seq1", 8), ("S1", "Seq2", 0), ("S8", "Seq1", 4))
NUM_FRAMES = 2
PICTURE_SIZE = (64, 48)
LIMIT_PX = 2048


def world_person_mm(frame: int) -> Float64:
    """The person [17, 3] in the world of `camera_pose`, whose y points up."""
    return (mpi_person_mm(frame) - [0.0, 0.0, 4000.0]) * [1, -1, -1] + [0.0, 900.0, -1000.0]


def annotate(name: str, joints_mm: Float64, k: tuple[float, ...]) -> dict[str, Any]:
    """One row; visibility tells whether 2048 x 2048 px hold the joint."""
    points = pinhole_px(joints_mm, (k[0], k[1]), (k[2], k[3]))
    low, high = points.min(axis=0), points.max(axis=0)
    inside = ((points >= 0) & (points < LIMIT_PX)).all(axis=1, keepdims=True).astype(float)
    return {
        "imgname": name,
        "center": (low + high) / 2,
        "scale": 1.2 * (high - low).max() / 200,
        "part": np.concatenate([points, inside], axis=1),
        "S": np.concatenate([joints_mm * 0.001, inside], axis=1),
    }


def columns(k: tuple[float, ...]) -> dict[str, Any]:
    """Focal lengths and principal point as columns."""
    return {"f": np.array([[k[0]], [k[1]]]), "c": np.array([[k[2]], [k[3]]])}


def train_rows() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows, and cameras with R, T in metres and the height that lost its last digit."""
    rows, cameras = [], {}
    for subject, sequence, camera in TRAIN_CLIPS:
        key = f"{subject}_{sequence}_Cam{camera}"
        rotation, position = camera_pose(camera)
        cameras[key] = columns(intrinsics(camera)) | {
            "R": rotation,
            "T": position[:, None] * 0.001,
            "w": 2048,
            "h": 204.0,
            "name": f"train_cam_{camera}",
        }
        for frame in range(NUM_FRAMES):
            joints = world_person_mm(frame) @ rotation.T + position
            rows.append(annotate(f"{key}_{frame + 1:06d}.jpg", joints, intrinsics(camera)))
    return rows, cameras


def held_out_rows() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of two sequences, one person partly outside the picture; cameras have f and c only."""
    rows, cameras = [], {}
    for subject, shift_mm in (("TS1", 0.0), ("TS2", -2700.0)):
        size = {"w": 2048, "h": 2048, "name": f"test_cam_{subject[2:]}"}
        cameras[subject] = columns(STUDIO) | size
        for frame in (4, 9):
            joints = mpi_person_mm(frame) + np.array([shift_mm, 0.0, 0.0])
            rows.append(annotate(f"{subject}_{frame:06d}.jpg", joints, STUDIO))
    return rows, cameras


def write(root: Path) -> None:
    (root / "annotations").mkdir()
    for name, camera_name, (rows, cameras) in (
        ("mpi_inf_3dhp_train.npz", "cameras_train.pkl", train_rows()),
        ("mpi_inf_3dhp_test_valid.npz", "cameras_test.pkl", held_out_rows()),
    ):
        np.savez(
            root / "annotations" / name,
            **{key: np.array([row[key] for row in rows]) for key in rows[0]},
        )
        (root / "annotations" / camera_name).write_bytes(pickle.dumps(cameras, protocol=4))
        for seed, row in enumerate(rows):
            write_picture(root / "images" / row["imgname"], PICTURE_SIZE, seed)


CASES = (
    LayoutCase(
        "mpi-inf-3dhp-mmpose",
        write,
        annotations=(
            "annotations/mpi_inf_3dhp_train.npz",
            "annotations/mpi_inf_3dhp_test_valid.npz",
            "annotations/cameras_train.pkl",
            "annotations/cameras_test.pkl",
        ),
        picture="images/S1_Seq1_Cam0_000001.jpg",
    ),
)
