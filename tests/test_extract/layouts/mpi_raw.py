"""MPI-INF-3DHP as distributed: MATLAB 5 cells, Skeletool calibration, AVI, HDF5 of MATLAB 7.3."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import scipy.io

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.mpi_people import (
    JOINTS_28,
    OUTDOORS,
    OUTDOORS_DISTORTION,
    STUDIO,
    camera_pose,
    flat,
    intrinsics,
    mpi_person_mm,
    opencv_px,
    scaled_to_universal,
)
from tests.test_extract.layouts.people import Float64, picture, pinhole_px, write_picture

NUM_CAMERAS = 14
VIDEO_SIZE = (48, 64)


def train_joints(camera: int, num_frames: int) -> Float64:
    """Camera-frame joints [F, 28, 3]; each camera sees the person somewhere else."""
    people = np.stack([mpi_person_mm(frame, JOINTS_28) for frame in range(num_frames)])
    return people + np.array([30.0 * camera, 0.0, 15.0 * camera])


def write_annotations(path: Path, num_frames: int, cameras: tuple[int, ...]) -> None:
    """annot.mat with 14 cells per variable, short ones for cameras that are not asked for."""
    cells = {
        name: np.empty((NUM_CAMERAS, 1), dtype=object)
        for name in ("annot2", "annot3", "univ_annot3")
    }
    for camera in range(NUM_CAMERAS):
        joints = train_joints(camera, num_frames if camera in cameras else 1)
        fx, fy, cx, cy = intrinsics(camera)
        cells["annot2"][camera, 0] = flat(pinhole_px(joints, (fx, fy), (cx, cy)))
        cells["annot3"][camera, 0] = flat(joints)
        cells["univ_annot3"][camera, 0] = flat(scaled_to_universal(joints))
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        path,
        {
            **cells,
            "cameras": np.arange(NUM_CAMERAS)[None],
            "frames": np.arange(num_frames)[:, None],
        },
    )
    content = bytearray(path.read_bytes())
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)  # scipy writes the time there
    path.write_bytes(content)


def write_calibration(path: Path, numbers: tuple[int, ...] = tuple(range(NUM_CAMERAS))) -> None:
    """camera.calibration: a title, then seven lines per camera."""
    lines = ["Skeletool Camera Calibration File V1.0"]
    for number in numbers:
        fx, fy, cx, cy = intrinsics(number)
        rotation, position = camera_pose(number)
        intrinsic = [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        extrinsic = [*np.column_stack([rotation, position]).ravel(), 0, 0, 0, 1]
        lines += [
            f"name          {number}",
            "  sensor      10 10",
            "  size        2048 2048",
            "  animated    0",
            "  intrinsic   " + " ".join(repr(float(value)) for value in intrinsic) + " ",
            "  extrinsic   " + " ".join(repr(float(value)) for value in extrinsic) + " ",
            "  radial      0",
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_video(path: Path, num_frames: int, seed: int, fps: int = 25) -> None:
    """An AVI with a key frame first and frames that depend on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=Fraction(fps))
        stream.height, stream.width = VIDEO_SIZE
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 4
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.codec_context.thread_count = 1
        for frame in range(num_frames):
            shown = picture(VIDEO_SIZE, seed + frame)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def write_test_sequence(folder: Path, num_frames: int, valid: tuple[int, ...]) -> None:
    """annot_data.mat as HDF5 shows MATLAB's (2, 17, 1, n), and pictures from 1."""
    outdoors = folder.name in ("TS5", "TS6")
    joints = np.stack([mpi_person_mm(frame) for frame in range(num_frames)])
    if outdoors:
        points = opencv_px(joints, OUTDOORS_DISTORTION, OUTDOORS)
    else:
        points = pinhole_px(joints, STUDIO[:2], STUDIO[2:])
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot2"] = points[:, None]
        file["annot3"] = joints[:, None]
        file["univ_annot3"] = scaled_to_universal(joints)[:, None]
        file["valid_frame"] = np.isin(np.arange(num_frames), valid).astype(float)[:, None]
        file["activity_annotation"] = (1.0 + np.arange(num_frames) // 2)[:, None]
    for frame in range(num_frames):
        name = f"img_{frame + 1:06d}.jpg"
        write_picture(folder / "imageSequence" / name, (54, 96) if outdoors else (64, 64), frame)


def write(root: Path) -> None:
    for subject in ("S1", "S8"):
        for number, sequence in enumerate(("Seq1", "Seq2")):
            folder = root / subject / sequence
            write_annotations(folder / "annot.mat", 3, (0, 8))
            write_calibration(folder / "camera.calibration")
            for camera in (0, 8):
                write_video(
                    folder / "imageSequence" / f"video_{camera}.avi", 3, 10 * camera + number
                )
    for subject in ("TS1", "TS6"):
        write_test_sequence(root / "mpi_inf_3dhp_test_set" / subject, 4, (1, 3))


_ANNOTATIONS = (
    "S1/Seq2/annot.mat",
    "S8/Seq1/camera.calibration",
    "mpi_inf_3dhp_test_set/TS6/annot_data.mat",
)

CASES = (
    LayoutCase(
        "mpi-inf-3dhp",
        write,
        annotations=_ANNOTATIONS,
        picture="S1/Seq1/imageSequence/video_0.avi",
        options={"cameras": [0, 8]},
    ),
    LayoutCase(
        "mpi-inf-3dhp",
        write,
        annotations=_ANNOTATIONS,
        picture="S1/Seq1/imageSequence/video_0.avi",
        options={"cameras": [0, 8], "labels": "univ_annot3"},
        projects=False,
        label="universal",
    ),
)
