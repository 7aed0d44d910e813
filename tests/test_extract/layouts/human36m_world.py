"""A few invented Human3.6M sequences and an invented calibration, for writers of every layout.

Written from the formulas of the published files, not with the readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np

from tests.test_extract.layouts.people import Float64, human36m_px, person_mm, picture

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
HEIGHTS = (1002, 1000, 1000, 1002)
WIDTH = 1000
NUM_FRAMES = 4
VIDEO_FRAMES = (6, 8, 7, 16)
"""Videos are longer than the labels, each by another number of frames."""
RAW_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


@dataclass(frozen=True)
class Scene:
    """One sequence: the metadata's numbers and the name that its files have."""

    subject: int
    action: int
    subaction: int
    base_name: str

    @property
    def folder(self) -> str:
        return f"S{self.subject}"

    def world_mm(self) -> Float64:
        """Joints [F, 17, 3] in the world, z up."""
        people = np.stack([person_mm(frame, distance_mm=0) for frame in range(NUM_FRAMES)])
        world = people[..., [0, 2, 1]] * [1, 1, -1] + [0, 0, 900]
        return world + np.array([10.0 * self.action, 15.0 * self.subject, 5.0 * self.subaction])

    def camera_mm(self, camera: int) -> Float64:
        """Joints [F, 17, 3] in the camera's frame."""
        rotation, centre = extrinsics(self.subject, camera)
        return (self.world_mm() - centre) @ rotation.T

    def px(self, camera: int) -> Float64:
        """Joints [F, 17, 2] in the picture, distorted."""
        return human36m_px(self.camera_mm(camera), *intrinsics(camera))


SCENES = (
    Scene(1, 4, 1, "Eating 2"),
    Scene(1, 12, 1, "TakingPhoto 1"),
    Scene(8, 14, 1, "Walking 1"),
    Scene(9, 10, 1, "SittingDown"),
    Scene(9, 10, 2, "SittingDown 1"),
    Scene(11, 2, 1, "Directions 1"),
    Scene(11, 2, 2, "Directions"),
)


def angles(subject: int, camera: int) -> Float64:
    """Three angles, rad; the first turns the upright world into a camera's frame."""
    return np.array([np.pi / 2 + 0.05 * camera, 0.02 * camera - 0.01 * subject, 0.2 * camera - 0.3])


def extrinsics(subject: int, camera: int) -> tuple[Float64, Float64]:
    """World-to-camera rotation, and the camera's centre in the world (mm)."""
    a, b, c = angles(subject, camera)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rotation = rx @ ry @ rz
    return rotation, np.array([100.0, 50.0, 900.0]) - (4500.0 + 100 * camera) * rotation[2]


def intrinsics(camera: int) -> tuple[Float64, Float64, Float64, Float64]:
    """f, c in px, radial k (3), tangential p (2)."""
    return (
        np.array([1145.0 + camera, 1143.5 - camera]),
        np.array([512.5 - camera, 515.25 + 2 * camera]),
        np.array([-0.2, 0.24, -0.003 - 0.001 * camera]),
        np.array([-0.0009 - 0.0002 * camera, -0.0014 + 0.0004 * camera]),
    )


def metadata_xml(scenes: tuple[Scene, ...] = SCENES) -> str:
    """metadata.xml with the table of these sequences and the calibration of S1 .. S11."""
    rows = [["Action", "subaction", *(f"S{subject}" for subject in range(1, 12))]]
    rows.append(["1", "1", *["_ALL 1"] * 11])
    for numbers in sorted({(scene.action, scene.subaction) for scene in scenes}):
        names = {s.subject: s.base_name for s in scenes if (s.action, s.subaction) == numbers}
        rows.append([*map(str, numbers), *(names.get(s, "unused") for s in range(1, 12))])
    rows.append(["Action", "subaction", *["Somebody"] * 11])
    rows.append(["", "", *["[1002 1000;1000 1000;1000 1000;1002 1000]"] * 11])
    table = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    w0 = [
        value
        for camera in range(4)
        for subject in range(1, 12)
        for value in (*angles(subject, camera), *extrinsics(subject, camera)[1])
    ]
    for camera in range(4):
        w0 += np.concatenate(intrinsics(camera)).tolist()
    calibration = " ".join(repr(float(number)) for number in w0)
    return f"<?xml version='1.0'?><a><mapping>{table}</mapping><w0>[{calibration}]</w0></a>"


def mmpose_cameras() -> dict[tuple[str, str], dict[str, Any]]:
    """cameras.pkl: camera to world, metres, and the height that two pictures do not have."""
    cameras = {}
    for subject in range(1, 12):
        for camera, name in enumerate(CAMERA_IDS):
            rotation, centre = extrinsics(subject, camera)
            f, c, k, p = (values[:, None] for values in intrinsics(camera))
            cameras[f"S{subject}", name] = {
                "R": rotation.T, "T": centre[:, None] / 1000, "f": f, "c": c, "k": k, "p": p,
                "w": 1000, "h": 1000, "name": f"camera{camera + 1}", "id": name,
            }  # fmt: skip
    return cameras


def toolbox_cameras() -> dict[tuple[int, int], tuple[Any, ...]]:
    """camera_data.pkl: world to camera, mm, cameras from 1."""
    return {
        (subject, camera + 1): (
            extrinsics(subject, camera)[0],
            extrinsics(subject, camera)[1][:, None],
            *(values[:, None] for values in intrinsics(camera)),
            CAMERA_IDS[camera],
        )
        for subject in (1, 5, 6, 7, 8, 9, 11)
        for camera in range(4)
    }


def of_32(joints: Float64) -> Float64:
    """Raw joints [F, 32, D]: what is not among the 17 is far away."""
    raw = np.full((len(joints), 32, joints.shape[-1]), 7777.0)
    raw[:, RAW_JOINTS] = joints
    return raw


def write_cdf(path: Path, joints: Float64) -> None:
    """A cdf file with the variable Pose [1, F, 32 D], float32."""
    from cdflib.cdfwrite import CDF

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the writer adds to a file that is there
    pose = of_32(joints).reshape(1, len(joints), -1).astype(np.float32)
    file = CDF(str(path))
    file.write_var(
        {
            "Variable": "Pose",
            "Data_Type": 44,  # CDF_FLOAT
            "Num_Elements": 1,
            "Rec_Vary": True,
            "Dim_Sizes": list(pose.shape[1:]),
            "Compress": 0,  # gzip would note the time
        },
        var_data=pose,
    )
    file.close()


def write_video(path: Path, num_frames: int, size: tuple[int, int] = (48, 64)) -> None:
    """A 50 Hz mp4; every frame is another picture."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(50))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(size, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def video_size(camera: int) -> tuple[int, int]:
    """(H, W) of a small stand-in; two cameras have two rows more, as the real ones."""
    return HEIGHTS[camera] - 952, 64


@cache
def jpeg(height: int) -> bytes:
    """A picture of that many rows; the same for all rows, to be quick."""
    small = picture((height // 2, WIDTH // 2), seed=height)
    image = np.zeros((height, WIDTH, 3), dtype=np.uint8)
    image[: height // 2, : WIDTH // 2] = small
    return cv2.imencode(".jpg", image)[1].tobytes()
