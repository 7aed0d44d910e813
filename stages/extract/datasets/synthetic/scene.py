"""The room of a clip: floor, walls and light, drawn per clip and never tied to a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.people import Colour, draw_colour

Array = NDArray[np.float64]
Image = NDArray[np.float32]

WALL_MM = 7000.0
CEILING_MM = 4200.0


@dataclass(frozen=True)
class Texture:
    """A surface: two colours mixed by tiles, stripes or smooth waves of a given size."""

    first: Colour
    second: Colour
    kind: int
    size_mm: float
    angle: float
    waves: Array
    """[4, 3]: frequency (1/mm) in two directions and phase of four cosines."""

    def paint(self, points_mm: Array) -> Image:
        """Colours [N, 3] at surface coordinates [N, 2] mm."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        across = (points_mm[:, 0] * cosine + points_mm[:, 1] * sine) / self.size_mm
        along = (points_mm[:, 1] * cosine - points_mm[:, 0] * sine) / self.size_mm
        if self.kind == 0:
            mix = (np.floor(across) + np.floor(along)) % 2
        elif self.kind == 1:
            mix = np.floor(across) % 2
        else:
            mix = np.zeros(len(points_mm))
        phase = points_mm @ self.waves[:, :2].T + self.waves[:, 2]
        clouds = 0.5 + 0.125 * np.cos(phase).sum(axis=1)
        mix = 0.65 * mix + 0.35 * clouds if self.kind < 2 else clouds
        weight = mix.astype(np.float32)[:, None]
        painted: Image = self.first * (1 - weight) + self.second * weight
        return painted


@dataclass(frozen=True)
class Scene:
    """Everything of a clip's picture that is not the person."""

    floor: Texture
    walls: tuple[Texture, Texture, Texture, Texture]
    light: Array
    """Unit vector [3] from the floor to the light."""
    sun: float
    ambient: float
    noise: float
    """Standard deviation of the sensor noise, 8-bit levels."""
    blur_px: float
    exposure: float


def _draw_texture(rng: np.random.Generator, contrast: float) -> Texture:
    first = draw_colour(rng, saturation=0.55)
    other = draw_colour(rng, saturation=0.55)
    return Texture(
        first=first,
        second=first * (1 - contrast) + other * contrast,
        kind=int(rng.integers(3)),
        size_mm=float(rng.uniform(180, 900)),
        angle=float(rng.uniform(0, np.pi)),
        waves=np.column_stack((rng.normal(0, 0.003, size=(4, 2)), rng.uniform(0, 6.3, size=4))),
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """A room with its light."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(35, 75))
    return Scene(
        floor=_draw_texture(rng, float(rng.uniform(0.15, 0.7))),
        walls=tuple(_draw_texture(rng, float(rng.uniform(0.1, 0.8))) for _ in range(4)),  # type: ignore[arg-type]
        light=np.array(
            (
                np.cos(azimuth) * np.cos(height),
                np.sin(azimuth) * np.cos(height),
                np.sin(height),
            )
        ),
        sun=float(rng.uniform(0.5, 0.95)),
        ambient=float(rng.uniform(0.3, 0.55)),
        noise=float(rng.uniform(0.8, 3.0)),
        blur_px=float(rng.uniform(0.35, 0.7)),
        exposure=float(rng.uniform(0.85, 1.2)),
    )


@dataclass(frozen=True)
class Background:
    """The empty room seen by one camera."""

    colour: Image  # [H * W, 3] linear, lit, without the person's shadow
    floor_pixels: NDArray[np.int64]  # [F] flat pixel numbers that show the floor
    floor_points_mm: Array  # [F, 3] world


def draw_background(scene: Scene, centre_mm: Array, directions: Array) -> Background:
    """The room seen from `centre_mm` along world `directions` [H * W, 3]."""
    colour = np.empty((len(directions), 3), dtype=np.float32)
    with np.errstate(divide="ignore"):
        to_floor = np.where(directions[:, 2] < 0, -centre_mm[2] / directions[:, 2], np.inf)
        to_wall = np.stack(
            [
                np.where(
                    sign * directions[:, axis] > 0,
                    (sign * WALL_MM - centre_mm[axis]) / directions[:, axis],
                    np.inf,
                )
                for axis, sign in ((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0))
            ]
        )
    wall = to_wall.argmin(axis=0)
    wall_distance = np.take_along_axis(to_wall, wall[None], axis=0)[0]
    on_floor = to_floor < wall_distance
    floor_pixels = np.flatnonzero(on_floor)
    floor_points = centre_mm + to_floor[floor_pixels, None] * directions[floor_pixels]
    lit = scene.ambient + scene.sun * scene.light[2]
    colour[floor_pixels] = scene.floor.paint(floor_points[:, :2]) * np.float32(lit)
    for number, (axis, sign) in enumerate(((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0))):
        pixels = np.flatnonzero(~on_floor & (wall == number))
        points = centre_mm + wall_distance[pixels, None] * directions[pixels]
        facing = max(0.0, -sign * scene.light[axis])
        lit = scene.ambient + scene.sun * facing
        surface = points[:, (1 - axis, 2)]
        colour[pixels] = scene.walls[number].paint(surface) * np.float32(lit)
    return Background(colour, floor_pixels, floor_points)
