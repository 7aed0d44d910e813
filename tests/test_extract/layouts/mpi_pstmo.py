"""MPI-INF-3DHP as two npz files with a dictionary each, which np.savez pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.mpi_people import (
    STUDIO,
    intrinsics,
    mpi_person_mm,
    scaled_to_universal,
)
from tests.test_extract.layouts.people import Float64, pinhole_px, write_picture

# fx, fy, cx, cy of the studio's cameras 0 and 4, as published with the preparation.
NOMINAL = {
    0: (1497.693, 1497.103, 1024.704, 1051.394),
    4: (1490.952, 1491.108, 987.6075, 1019.069),
    8: STUDIO,
}
CAMERAS = (0, 4, 8)
NUM_FRAMES = 3


def people(camera: int) -> Float64:
    """Camera-frame joints [F, 17, 3] of annot3."""
    joints = np.stack([mpi_person_mm(frame) for frame in range(NUM_FRAMES)])
    return joints + np.array([25.0 * camera, 0.0, 12.0 * camera])


def entry(camera: int, k: tuple[float, ...]) -> dict[str, Any]:
    """2D of the true person and 3D of the scaled one, absolute, as the files hold them."""
    joints = people(camera)
    return {
        "data_2d": pinhole_px(joints, (k[0], k[1]), (k[2], k[3])).astype(np.float32),
        "data_2d_crop": np.zeros((NUM_FRAMES, 17, 2)),
        "data_3d": scaled_to_universal(joints).astype(np.float32),
    }


def write(root: Path) -> None:
    train: dict[str, Any] = {}
    for subject, number, fps in (("S1", 1, 25), ("S1", 2, 50), ("S8", 1, 25)):
        by_camera = {str(camera): entry(camera, intrinsics(camera)) for camera in CAMERAS}
        train[f"{subject} Seq{number}"] = [by_camera, fps]
        for camera in CAMERAS:
            folder = f"s_{int(subject[1]):02d}_seq_{number:02d}_ca_{camera:02d}"
            for frame in range(1, NUM_FRAMES + 1):
                path = root / "images" / folder / f"{folder}_{frame:06d}.jpg"
                write_picture(path, (64, 64), 100 * camera + frame)
    test = {
        subject: entry(0, STUDIO) | {"valid": np.array([0.0, 1.0, 1.0])}
        for subject in ("TS1", "TS5")
    }
    for subject in test:
        for frame in range(1, NUM_FRAMES + 1):
            write_picture(root / "images" / subject / f"{subject}_{frame:06d}.jpg", (54, 96), frame)
    np.savez(root / "data_train_3dhp.npz", data=np.array(train))
    np.savez(root / "data_test_3dhp.npz", data=np.array(test))


CASES = (
    LayoutCase(
        "mpi-inf-3dhp-pstmo",
        write,
        annotations=("data_train_3dhp.npz", "data_test_3dhp.npz"),
        picture="images/s_01_seq_01_ca_00/s_01_seq_01_ca_00_000001.jpg",
        options={"cameras": list(CAMERAS)},
        projects=False,
    ),
)
