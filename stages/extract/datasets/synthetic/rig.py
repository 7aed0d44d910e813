"""Calibrated cameras of the drawn studio: four around the room as in Human3.6M, or unseen ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera, project

Array = NDArray[np.float64]


def look_at(
    name: str,
    position_mm: Array,
    target_mm: Array,
    focal_px: float,
    image_side: int,
    rng: np.random.Generator,
) -> Camera:
    """A camera at `position_mm` whose optical axis meets `target_mm`, with a slight roll."""
    forward = target_mm - position_mm
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.deg2rad(rng.normal(0.0, 0.7))
    turned = np.cos(roll) * right + np.sin(roll) * down
    rotation = np.stack((turned, np.cross(forward, turned), forward))
    centre = (image_side - 1) / 2 + rng.uniform(-4.0, 4.0, size=2)
    intrinsics = np.array(
        (
            (focal_px, 0.0, centre[0]),
            (0.0, focal_px * rng.uniform(0.997, 1.003), centre[1]),
            (0.0, 0.0, 1.0),
        )
    )
    distortion = (
        rng.uniform(-0.24, -0.17),
        rng.uniform(0.16, 0.25),
        rng.uniform(-0.002, 0.002),
        rng.uniform(-0.002, 0.002),
        0.0,
    )
    return Camera(
        name=name,
        K=intrinsics,
        R=rotation,
        t_mm=-rotation @ position_mm,
        distortion=distortion,
        distortion_model="human36m",
        fps=50.0,
    )


def draw_rig(subject: str, image_side: int, unseen: bool, rng: np.random.Generator) -> list[Camera]:
    """The four cameras of one subject, or one per subject of the `unseen` kind.

    Rigs of different subjects differ a little, as if recalibrated. An unseen camera stands between
    the usual directions, nearer or farther and higher or lower than any of the four.
    """
    cameras = []
    for number in range(4):
        azimuth = np.deg2rad(45 + 90 * number + rng.normal(0, 6))
        distance = rng.uniform(4300, 5100)
        height = rng.uniform(1350, 1700)
        field = rng.uniform(2600, 2800)
        if unseen:
            azimuth += np.deg2rad(rng.choice((-1, 1)) * rng.uniform(30, 45))
            distance = rng.choice((rng.uniform(3300, 3900), rng.uniform(5500, 6200)))
            height = rng.choice((rng.uniform(800, 1150), rng.uniform(1900, 2400)))
        position = np.array((distance * np.cos(azimuth), distance * np.sin(azimuth), height))
        target = np.array((*rng.uniform(-120, 120, size=2), rng.uniform(880, 1000)))
        focal = image_side * distance / field
        kind = "u" if unseen else "c"
        camera = look_at(f"{subject}_{kind}{number}", position, target, focal, image_side, rng)
        cameras.append(camera)
    return cameras


def pixel_rays(camera: Camera, image_side: int) -> Array:
    """Camera-frame directions [side, side, 3], z = 1, that project onto the pixel centres."""
    columns, rows = np.meshgrid(np.arange(image_side), np.arange(image_side))
    pixels = np.stack((columns, rows), axis=-1).astype(np.float64)
    focal = np.array((camera.K[0, 0], camera.K[1, 1]))
    directions = np.ones((image_side, image_side, 3))
    directions[..., :2] = (pixels - camera.K[:2, 2]) / focal
    for _ in range(6):
        directions[..., :2] += (pixels - project(directions, camera)) / focal
    return directions
