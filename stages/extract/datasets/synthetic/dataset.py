"""Embedded dataset `synthetic`: frame i is drawn on demand, the same from any process, from a seed.

People of the detector's training, the lifter's training, validation and test are disjoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera, project
from cache.imported import ImportedKeypoints
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.synthetic.actions import ACTIONS
from stages.extract.datasets.synthetic.clips import Clip, ClipView, draw_clip
from stages.extract.datasets.synthetic.rig import draw_rig, pixel_rays

SOURCE_FPS = 50.0
RENDERER_VERSION = 1
"""Raised whenever the same seed gives other pictures or labels."""


@dataclass(frozen=True)
class Pool:
    """People of one split: `num_subjects` persons with `clips_each` clips of `frames` frames."""

    prefix: str
    num_subjects: int
    clips_each: int
    frames: int
    cameras: int = 4
    unseen_cameras: bool = False


LIFTER_POOLS: Mapping[str, Pool] = {
    "train": Pool("T", 48, 3, 5),
    "validation": Pool("V", 10, 2, 4),
    "test": Pool("E", 16, 2, 5),
    "test_new_cameras": Pool("E", 16, 1, 5, unseen_cameras=True),
}
DETECTOR_POOLS: Mapping[str, Pool] = {
    "train": Pool("D", 80, 13, 2),
    "validation": Pool("W", 8, 13, 2),
}


@dataclass(frozen=True)
class _Take:
    """One clip seen by one camera: the rows `first_row` .. `first_row + frames`."""

    split: str
    subject: str
    person_number: int
    clip_number: int
    camera: int
    first_row: int


class Synthetic:
    """Drawn people in a studio with four calibrated cameras, H36M-17 joints.

    Labels: 2D in image px, 3D in mm in the camera frame, self-occlusion, cameras. Rows are ordered
    by split, subject, clip, camera, frame. Equal arguments give equal bytes.

    Args:
        name: name in tables and of the store.
        pools: split -> `Pool`, or the mapping of its fields as a config file has it.
        seed: seed of all people, rooms, movements and noise.
        image_side: width and height of a picture, px.
        frame_step: frames of the 50 Hz movement between two rows of a clip.
    """

    cpu_bound = True
    box_origin = None  # none come along: they follow from the labels

    def __init__(
        self,
        name: str = "synthetic",
        pools: Mapping[str, Pool | Mapping[str, Any]] = LIFTER_POOLS,
        *,
        seed: int = 0,
        image_side: int = 256,
        frame_step: int = 10,
    ) -> None:
        self.name = name
        self._pools = {
            split: pool if isinstance(pool, Pool) else Pool(**pool) for split, pool in pools.items()
        }
        self._seed, self._side, self._step = seed, image_side, frame_step
        self._cameras: list[Camera] = []
        self._takes: list[_Take] = []
        self._lay_out()
        self._make_caches()

    def _make_caches(self) -> None:
        self._view_of_take = lru_cache(maxsize=2)(self._draw_view)
        self._rays_of_camera = lru_cache(maxsize=4)(self._solve_rays)

    def _lay_out(self) -> None:
        row = 0
        for split, pool in self._pools.items():
            for number in range(pool.num_subjects):
                subject = f"{pool.prefix}{number + 1:03d}"
                rig_rng = self._rng("rig", pool.prefix, number, int(pool.unseen_cameras))
                rig = draw_rig(subject, self._side, pool.unseen_cameras, rig_rng)[: pool.cameras]
                first_camera = len(self._cameras)
                self._cameras.extend(rig)
                for clip in range(pool.clips_each):
                    for camera in range(len(rig)):
                        take = _Take(split, subject, number, clip, first_camera + camera, row)
                        self._takes.append(take)
                        row += pool.frames
        self._num_rows = row

    def _rng(self, purpose: str, *keys: str | int) -> np.random.Generator:
        words = [self._seed, RENDERER_VERSION]
        for key in (purpose, *keys):
            words.extend(key.encode() if isinstance(key, str) else [key])
        return np.random.default_rng(np.random.SeedSequence(words))

    def _action_of(self, take: _Take) -> str:
        names = tuple(ACTIONS)
        return names[(take.person_number + 5 * take.clip_number) % len(names)]

    def _clip_of(self, take: _Take) -> Clip:
        pool = self._pools[take.split]
        keys = (pool.prefix, take.person_number)
        times_s = np.arange(pool.frames) * self._step / SOURCE_FPS
        rng = self._rng("clip", *keys, take.clip_number, int(pool.unseen_cameras))
        return draw_clip(self._action_of(take), times_s, self._rng("person", *keys), rng)

    def _draw_view(self, number: int) -> ClipView:
        take = self._takes[number]
        rays = self._rays_of_camera(take.camera)
        return ClipView(self._clip_of(take), self._cameras[take.camera], rays)

    def _solve_rays(self, camera: int) -> NDArray[np.float64]:
        return pixel_rays(self._cameras[camera], self._side)

    def plan(self) -> RowPlan:
        """The row table with all labels; no picture is drawn."""
        columns: dict[str, list[NDArray[np.float64] | NDArray[np.bool_]]] = {
            "joints_2d": [],
            "joints_3d": [],
            "visible": [],
        }
        clip_key, clip = None, None
        for take in self._takes:
            key = (take.split, take.subject, take.clip_number)
            if clip is None or key != clip_key:
                clip_key, clip = key, self._clip_of(take)
            camera = self._cameras[take.camera]
            joints_3d = clip.joints_3d_mm(camera)
            columns["joints_3d"].append(joints_3d)
            columns["joints_2d"].append(project(joints_3d, camera))
            columns["visible"].append(clip.visible(camera))
        joints_2d_px = np.concatenate(columns["joints_2d"]).astype(np.float32)
        inside = ((joints_2d_px >= -0.5) & (joints_2d_px <= self._side - 0.5)).all(axis=-1)
        return RowPlan(
            skeleton="H36M17",
            joints_2d_px=joints_2d_px,
            joints_3d_mm=np.concatenate(columns["joints_3d"]).astype(np.float32),
            valid=np.ones_like(inside),
            visible=np.concatenate(columns["visible"]).astype(bool) & inside,
            index=self._index(),
            image_size=np.full((self._num_rows, 2), self._side, dtype=np.int32),
            cameras=tuple(self._cameras),
        )

    def picture_key(self, row: int) -> int:
        """Every row has a picture of its own."""
        return row

    def imported_keypoints(self) -> Mapping[str, ImportedKeypoints]:
        """None come with drawn people."""
        return {}

    def _index(self) -> dict[str, IndexColumn]:
        frames = [self._pools[take.split].frames for take in self._takes]

        def column(values: list[str]) -> IndexColumn:
            vocabulary = tuple(dict.fromkeys(values))
            code = {value: number for number, value in enumerate(vocabulary)}
            codes = np.repeat([code[value] for value in values], frames)
            return IndexColumn(codes.astype(np.int32), vocabulary)

        takes = self._takes
        clips = [
            f"{take.split}/{take.subject}/{take.clip_number}/{self._cameras[take.camera].name}"
            for take in takes
        ]
        frame = np.concatenate([np.arange(count) * self._step for count in frames])
        items = [
            f"{clip}/{number * self._step:04d}"
            for clip, count in zip(clips, frames, strict=True)
            for number in range(count)
        ]
        rows = np.arange(self._num_rows, dtype=np.int32)
        names = tuple(camera.name for camera in self._cameras)
        camera_codes = np.repeat([take.camera for take in takes], frames).astype(np.int32)
        return {
            "split": column([take.split for take in takes]),
            "subject": column([take.subject for take in takes]),
            "action": column([self._action_of(take) for take in takes]),
            "subaction": column([str(take.clip_number) for take in takes]),
            "camera": IndexColumn(camera_codes, names),
            "person": IndexColumn(np.zeros(self._num_rows, dtype=np.int32), None),
            "clip": column(clips),
            "frame": IndexColumn(frame.astype(np.int32), None),
            "item": IndexColumn(rows, tuple(items)),
        }

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """The picture [side, side, 3] RGB of `row`, drawn now."""
        if not 0 <= row < self._num_rows:
            raise IndexError(f"{self.name}: row {row} is outside 0..{self._num_rows - 1}")
        starts = [take.first_row for take in self._takes]
        number = int(np.searchsorted(starts, row, side="right")) - 1
        view = self._view_of_take(number)
        return view.picture(row - starts[number], self._rng("noise", row))

    def content_identity(self) -> dict[str, object]:
        """What decides every picture and label."""
        return {
            "adapter": "synthetic",
            "renderer_version": RENDERER_VERSION,
            "seed": self._seed,
            "image_side": self._side,
            "frame_step": self._step,
            "pools": {split: asdict(pool) for split, pool in self._pools.items()},
        }

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        del state["_view_of_take"], state["_rays_of_camera"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._make_caches()


def detector_people(**options: Any) -> Synthetic:
    """The people that only the 2D detector learns from; options as for `Synthetic`."""
    return Synthetic(**{"name": "synthetic-detector", "pools": DETECTOR_POOLS, **options})
