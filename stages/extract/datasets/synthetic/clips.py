"""One clip: a person in clothes doing something in a room, the same for all cameras."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from stages.extract.datasets.synthetic.actions import ACTIONS, move
from stages.extract.datasets.synthetic.kinematics import BodyPose, pose_body
from stages.extract.datasets.synthetic.people import (
    Clothes,
    Colour,
    Person,
    draw_clothes,
    draw_colour,
    draw_person,
)
from stages.extract.datasets.synthetic.primitives import RoundCones, dress
from stages.extract.datasets.synthetic.render import draw_picture, hit_distances
from stages.extract.datasets.synthetic.scene import Scene, draw_background, draw_scene

Array = NDArray[np.float64]

_OWN_LIMB_MM = 130.0
"""A surface nearer to the camera than its joint by more than this hides the joint."""


@dataclass(frozen=True)
class Clip:
    """T frames of one person."""

    person: Person
    clothes: Clothes
    stool: Colour | None
    scene: Scene
    pose: BodyPose

    @cached_property
    def _world_cones(self) -> list[RoundCones]:
        return [
            dress(self.pose, frame, self.person, self.clothes, self.stool)
            for frame in range(len(self.pose.joints_mm))
        ]

    def cones(self, frame: int, camera: Camera) -> RoundCones:
        """The body of one frame in the camera's frame, mm."""
        return self._world_cones[frame].in_frame(camera.R, camera.t_mm)

    def joints_3d_mm(self, camera: Camera) -> Array:
        """Joints [T, 17, 3] in the camera's frame."""
        return self.pose.joints_mm @ camera.R.T + camera.t_mm

    def visible(self, camera: Camera) -> NDArray[np.bool_]:
        """[T, 17]: whether no part of the body but the joint's own limb is before the joint."""
        joints = self.joints_3d_mm(camera)
        seen = np.ones(joints.shape[:2], dtype=bool)
        distance = np.linalg.norm(joints, axis=-1)
        rays = joints / distance[..., None]
        for frame in range(len(joints)):
            shapes = self.cones(frame, camera).shape_of(slice(None))
            nearest = hit_distances(*shapes, rays[frame, :, None]).min(axis=1)
            seen[frame] = nearest > distance[frame] - _OWN_LIMB_MM
        return seen


def draw_clip(
    action: str, times_s: Array, person_rng: np.random.Generator, rng: np.random.Generator
) -> Clip:
    """A clip of `action` at `times_s` [T]: the person by `person_rng`, all else by `rng`."""
    person = draw_person(person_rng)
    clothes, scene = draw_clothes(rng), draw_scene(rng)
    stool = draw_colour(rng) if ACTIONS[action].stool else None
    angles, position = move(ACTIONS[action], times_s, rng)
    return Clip(person, clothes, stool, scene, pose_body(angles, person.bones, position))


class ClipView:
    """A clip seen by one camera: the empty room is drawn once, then a picture per frame."""

    def __init__(self, clip: Clip, camera: Camera, directions: Array) -> None:
        """`directions` [S, S, 3] are the camera's `pixel_rays`."""
        self._clip, self._camera = clip, camera
        centre = -camera.R.T @ camera.t_mm
        world = directions.reshape(-1, 3) @ camera.R
        self._background = draw_background(clip.scene, centre, world)
        self._rays = directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def picture(self, frame: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture [S, S, 3] RGB of one frame; `rng` is the sensor noise."""
        camera = self._camera
        return draw_picture(
            self._clip.cones(frame, camera),
            self._rays,
            float(camera.K[0, 0]),
            camera.K[:2, 2],
            camera.R,
            camera.t_mm,
            self._clip.scene,
            self._background,
            rng,
        )
