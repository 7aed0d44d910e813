"""Pictures of round cones in a room by analytic ray casting in numpy.

Per pixel the nearest hit of the ray with a round cone is found in closed form inside the cone's
bounding box; light, cast shadows on floor and body, and sensor noise follow. All in millimetres in
the camera frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.primitives import Pattern, RoundCones
from stages.extract.datasets.synthetic.scene import Background, Scene

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_SOFT_EDGE_MM = 25.0
_SHADOW_DEPTH = 0.85


def hit_distances(
    start: Array, end: Array, start_radius: Array, end_radius: Array, rays: Array
) -> Array:
    """Distances along unit `rays` [..., 3] from the origin to round cones; inf where missed.

    Ends [..., 3] and radii [...] broadcast against the rays. A round cone is the hull of two
    spheres. With a = origin - start, b = end - start and r = start_radius - end_radius, its side
    satisfies a quadratic in the distance; hits beyond the side belong to one of the spheres.
    """
    axis = end - start
    slope = start_radius - end_radius
    along, start_dot = np.vecdot(rays, axis), -np.vecdot(rays, start)
    axis_sq, axis_a, a_sq = np.vecdot(axis, axis), -np.vecdot(axis, start), np.vecdot(start, start)
    end_dot, b_sq = start_dot - along, np.vecdot(end, end)
    span = axis_sq - slope**2
    k2 = span - along**2
    k1 = span * start_dot - axis_a * along + along * slope * start_radius
    k0 = span * a_sq - axis_a**2 + 2 * axis_a * slope * start_radius - axis_sq * start_radius**2
    discriminant = k1**2 - k0 * k2
    with np.errstate(divide="ignore", invalid="ignore"):
        side = (-np.sqrt(discriminant) - k1) / k2
        place = axis_a - start_radius * slope + side * along
        first = -start_dot - np.sqrt(start_dot**2 - a_sq + start_radius**2)
        second = -end_dot - np.sqrt(end_dot**2 - b_sq + end_radius**2)
        side = np.where((place > 0) & (place < span) & (side > 0), side, np.inf)
    distance: Array = np.fmin(np.fmin(first, second), side)
    return np.where(np.isnan(distance), np.inf, distance)


def _bounding_box(
    cones: RoundCones, index: int, focal: float, centre: Array, side: int
) -> tuple[slice, slice]:
    """Rows and columns that the cone can touch; 12 % wider than its two spheres, for distortion."""
    ends = np.stack((cones.start[index], cones.end[index]))
    radii = np.array((cones.start_radius[index], cones.end_radius[index]))
    depth = np.maximum(ends[:, 2] - radii, 200.0)
    middle = focal * ends[:, :2] / np.maximum(ends[:, 2:], 200.0)
    reach = (focal * radii / depth)[:, None]
    low = (middle - reach).min(axis=0)
    high = (middle + reach).max(axis=0)
    margin = 3.0 + 0.06 * np.maximum(np.abs(low), np.abs(high))
    low = np.clip(np.floor(low - margin + centre), 0, side).astype(int)
    high = np.clip(np.ceil(high + margin + centre) + 1, 0, side).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def cast(
    cones: RoundCones, rays: Array, focal: float, centre: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Nearest hit of unit `rays` [S, S, 3]: distance [S, S] (inf: none) and cone number [S, S]."""
    side = rays.shape[0]
    nearest = np.full((side, side), np.inf)
    owner = np.full((side, side), -1, dtype=np.int64)
    for index in range(len(cones.start)):
        rows, columns = _bounding_box(cones, index, focal, centre, side)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        distance = hit_distances(*cones.shape_of(index), rays[rows, columns])
        closer = distance < nearest[rows, columns]
        nearest[rows, columns][closer] = distance[closer]
        owner[rows, columns][closer] = index
    return nearest, owner


def _axis_place(cones: RoundCones, owner: NDArray[np.int64], points: Array) -> tuple[Array, Array]:
    """Where [0, 1] along their cones the surface points lie, and the unit normals there."""
    start = cones.start[owner]
    axis = cones.end[owner] - start
    slope = (cones.start_radius - cones.end_radius)[owner]
    axis_sq = np.maximum((axis**2).sum(axis=1), 1e-9)
    offset = points - start
    span = np.maximum(axis_sq - slope**2, 1e-9)
    projected = (axis * offset).sum(axis=1)
    tilt = slope * np.sqrt(np.maximum((offset**2).sum(axis=1) - projected**2 / axis_sq, 0))
    place = np.clip((projected - tilt * np.sqrt(axis_sq / span)) / axis_sq, 0.0, 1.0)
    normal = offset - place[:, None] * axis
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return place, normal


def _albedo(
    cones: RoundCones, owner: NDArray[np.int64], place: Array, normal: Array
) -> NDArray[np.float32]:
    colour = cones.colour[owner].copy()
    pattern = cones.pattern[owner]
    striped = pattern == Pattern.STRIPES
    if striped.any():
        length = np.linalg.norm(cones.end - cones.start, axis=1)[owner[striped]]
        odd = np.floor(place[striped] * length / cones.stripe_mm) % 2 == 1
        numbers = np.flatnonzero(striped)[odd]
        colour[numbers] = cones.second_colour[owner[numbers]]
    panel = np.vecdot(normal, cones.front[owner]) > cones.front_cut[owner]
    colour[panel] = cones.front_colour[owner[panel]]
    face = np.flatnonzero(pattern == Pattern.FACE)
    if len(face):
        forward, left, up = (normal[face] @ cones.head_axes).T
        hair = (forward < 0.1) | (up > 0.72)
        colour[face[hair]] = cones.second_colour[owner[face[hair]]]
        height = place[face]
        eyes = (
            (forward > 0.5) & (np.abs(np.abs(left) - 0.38) < 0.17) & (np.abs(height - 0.62) < 0.13)
        )
        colour[face[eyes & ~hair]] = (0.06, 0.05, 0.05)
        mouth = (forward > 0.6) & (np.abs(left) < 0.3) & (np.abs(height - 0.12) < 0.07)
        colour[face[mouth & ~hair]] *= np.float32(0.55)
    return colour


def shadow(cones: RoundCones, points: Array, light: Array, clearance: float) -> Array:
    """Share of the light [N] that the cones keep from `points` [N, 3]; `light` is a unit vector.

    Points and axes are looked at along the light: a point is in shadow where its distance from a
    cone's axis is below the radius there and the axis lies nearer to the light by
    `clearance` radii, so that a limb does not shade itself.
    """
    helper = np.eye(3)[np.abs(light).argmin()]
    across = np.cross(light, helper)
    across /= np.linalg.norm(across)
    plane = np.stack((across, np.cross(light, across), light), axis=1)
    across_1, across_2, depth = np.ascontiguousarray((points @ plane).T)
    starts, ends = cones.start @ plane, cones.end @ plane
    dark = np.zeros(len(points))
    for index in range(len(starts)):
        start, axis = starts[index], ends[index] - starts[index]
        radii = cones.start_radius[index], cones.end_radius[index]
        reach = max(radii) + _SOFT_EDGE_MM
        low = np.minimum(start, ends[index]) - reach
        high = np.maximum(start, ends[index]) + reach
        near = np.flatnonzero(
            (across_1 > low[0])
            & (across_1 < high[0])
            & (across_2 > low[1])
            & (across_2 < high[1])
            & (depth < high[2])
        )
        if not len(near):
            continue
        offset_1, offset_2 = across_1[near] - start[0], across_2[near] - start[1]
        flat_sq = max(axis[0] ** 2 + axis[1] ** 2, 1e-6)
        place = np.clip((offset_1 * axis[0] + offset_2 * axis[1]) / flat_sq, 0.0, 1.0)
        gap = np.hypot(offset_1 - place * axis[0], offset_2 - place * axis[1])
        radius = radii[0] + place * (radii[1] - radii[0])
        above = start[2] + place * axis[2] - depth[near] > radius * clearance
        amount = np.clip((radius - gap) / _SOFT_EDGE_MM + 0.5, 0.0, 1.0) * above
        dark[near] = np.maximum(dark[near], amount)
    return dark


def draw_picture(
    cones: RoundCones,
    rays: Array,
    focal: float,
    centre: Array,
    rotation: Array,
    translation: Array,
    scene: Scene,
    background: Background,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """The picture [S, S, 3] RGB of camera-frame `cones` in the room, `X_cam = R X_world + t`."""
    side = rays.shape[0]
    nearest, owner = cast(cones, rays, focal, centre)
    colour = background.colour.copy()
    _darken_floor(colour, cones, background, rotation, translation, scene)
    pixels = np.flatnonzero(owner.reshape(-1) >= 0)
    if len(pixels):
        light = rotation @ scene.light
        owners = owner.reshape(-1)[pixels]
        points = rays.reshape(-1, 3)[pixels] * nearest.reshape(-1)[pixels, None]
        place, normal = _axis_place(cones, owners, points)
        albedo = _albedo(cones, owners, place, normal)
        facing = np.maximum(normal @ light, 0.0)
        blocked = shadow(cones, points + 4.0 * normal, light, clearance=1.0)
        sky = 0.75 + 0.25 * (normal @ (rotation @ (0.0, 0.0, 1.0)))
        rim = 0.75 - 0.25 * (normal * rays.reshape(-1, 3)[pixels]).sum(axis=1)
        lit = scene.ambient * sky * rim + scene.sun * facing * (1 - _SHADOW_DEPTH * blocked)
        colour[pixels] = albedo * lit[:, None].astype(np.float32)
    exposed = (colour * np.float32(scene.exposure)).reshape(side, side, 3)
    picture: Image = cv2.GaussianBlur(exposed, (3, 3), scene.blur_px).astype(np.float32)
    picture = np.sqrt(np.clip(picture, 0.0, 1.0)) * np.float32(255.0)
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(scene.noise)
    levels: NDArray[np.uint8] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return levels


def _darken_floor(
    colour: Image,
    cones: RoundCones,
    background: Background,
    rotation: Array,
    translation: Array,
    scene: Scene,
) -> None:
    world = cones.in_frame(rotation.T, -rotation.T @ translation)
    ends = np.concatenate((world.start, world.end))
    landing = ends[:, :2] - ends[:, 2:] * scene.light[:2] / scene.light[2]
    low, high = landing.min(axis=0) - 250.0, landing.max(axis=0) + 250.0
    points = background.floor_points_mm
    near = np.flatnonzero(((points[:, :2] > low) & (points[:, :2] < high)).all(axis=1))
    dark = shadow(world, points[near], scene.light, clearance=0.0)
    direct = scene.sun * scene.light[2] / (scene.ambient + scene.sun * scene.light[2])
    kept = 1.0 - _SHADOW_DEPTH * direct * dark
    colour[background.floor_pixels[near]] *= kept[:, None].astype(np.float32)
