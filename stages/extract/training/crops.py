"""Augmented crops for training a detector: the same row and seed always give the same crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt

from cache.coords import apply_affine
from cache.skeletons import get_skeleton
from stages.extract.crops import CropConfig, box_for_row, crop_affine, warp
from stages.extract.datasets.base import Dataset, FrameError

Share = Annotated[float, Field(ge=0, le=1)]


class AugmentConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How far training crops wander from the plain ones."""

    scale: Share = 0.30
    """The box is scaled by a factor between 1 - scale and 1 + scale."""
    rotation_degrees: float = Field(default=35.0, ge=0)
    """Largest rotation; applied to `rotated` of the crops."""
    rotated: Share = 0.6
    """Share of the crops that are rotated."""
    shift: Share = 0.08
    """Largest shift of the box as a share of its width."""
    flipped: Share = 0.5
    """Share of the crops that are mirrored, left and right joints exchanged."""
    colour: float = Field(default=1.0, ge=0)
    """Strength of colour changes; features of a detector that has seen one person in many colours
    keep less clothing."""
    occluded: Share = 0.5
    """Share of the crops with patches pasted over them."""


@dataclass(frozen=True)
class TrainingCrop:
    """One sample: crop uint8 [H, W, 3] RGB, joints in crop px and which of them count."""

    crop: NDArray[np.uint8]
    joints_crop_px: NDArray[np.float32]  # [J, 2]
    weights: NDArray[np.float32]  # [J], 0 where the joint is invalid or outside the crop


class TrainingCrops:
    """Task for a `Loader`: (row, seed) -> several crops of that row's picture. Picklable."""

    def __init__(
        self,
        dataset: Dataset,
        rows: Sequence[int],
        crop: CropConfig,
        augment: AugmentConfig,
        crops_per_picture: PositiveInt = 1,
    ) -> None:
        """Compute the boxes of `rows`; rows without a box are left out of `self.rows`."""
        plan = dataset.plan()
        self._dataset = dataset
        self._crop = crop
        self._augment = augment
        self._crops_per_picture = crops_per_picture
        self._swap = get_skeleton(plan.skeleton).swap
        self._affine: dict[int, NDArray[np.float64]] = {}
        for row in rows:
            try:
                self._affine[row] = crop_affine(box_for_row(plan, row, crop.box_source), crop)
            except FrameError:
                continue
        self.rows = tuple(self._affine)
        self._joints = {row: plan.joints_2d_px[row].astype(np.float64) for row in self.rows}
        self._valid = {row: plan.valid[row] for row in self.rows}

    def __call__(self, item: tuple[int, int]) -> list[TrainingCrop]:
        """Return the crops of (row, seed); none where the picture cannot be read."""
        row, seed = item
        cv2.setNumThreads(1)
        try:
            image = self._dataset.load_image(row)
        except FrameError:
            return []
        rng = np.random.default_rng((seed, row))
        return [self._one(image, row, rng) for _ in range(self._crops_per_picture)]

    def _one(self, image: NDArray[np.uint8], row: int, rng: np.random.Generator) -> TrainingCrop:
        height, width = self._crop.input_size
        affine = _jitter(self._affine[row], (height, width), self._augment, rng)
        joints, valid = self._joints[row], self._valid[row]
        if rng.random() < self._augment.flipped:
            affine = affine.copy()
            affine[0] *= -1
            affine[0, 2] += width - 1
            joints, valid = joints[self._swap], valid[self._swap]
        points = np.asarray(apply_affine(affine, joints))
        inside = ((points >= 0) & (points <= [width - 1, height - 1])).all(axis=-1)
        crop = warp(image, affine, (height, width))
        crop = _recolour(crop, self._augment.colour, rng)
        if rng.random() < self._augment.occluded:
            crop = _occlude(crop, rng)
        return TrainingCrop(crop, points.astype(np.float32), (valid & inside).astype(np.float32))


def _jitter(
    affine: NDArray[np.float64],
    size: tuple[int, int],
    augment: AugmentConfig,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    height, width = size
    zoom = 1.0 / rng.uniform(1.0 - augment.scale, 1.0 + augment.scale)
    angle = 0.0
    if rng.random() < augment.rotated:
        angle = float(
            np.clip(
                rng.normal(0, augment.rotation_degrees / 2),
                -augment.rotation_degrees,
                augment.rotation_degrees,
            )
        )
    turn: NDArray[np.float64] = np.zeros((2, 3))
    turn[:] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, zoom)
    turn[:, 2] += rng.uniform(-augment.shift, augment.shift, 2) * width
    combined: NDArray[np.float64] = turn @ np.vstack([affine, [0.0, 0.0, 1.0]])
    return combined


def _recolour(
    crop: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    if strength == 0:
        return crop
    # One 3x3 map (hue, saturation, channel gains), contrast and brightness, as a single pass over
    # the pixels.
    grey = np.full((3, 3), 1 / 3)
    saturation = rng.uniform(max(0.0, 1 - 0.8 * strength), 1 + 0.6 * strength)
    mix = saturation * np.eye(3) + (1 - saturation) * grey
    hue = rng.normal(0, 0.5 * strength)
    mix = mix @ _turn_about_grey(hue)
    gains = np.exp(rng.normal(0, 0.15 * strength, 3))
    contrast = np.exp(rng.normal(0, 0.25 * strength))
    offset = 127.5 * (1 - contrast) + rng.normal(0, 25 * strength)
    matrix = np.concatenate([contrast * np.diag(gains) @ mix, np.full((3, 1), offset)], axis=1)
    coloured = cv2.transform(crop, matrix)
    if rng.random() < 0.3 * min(strength, 1.0):
        coloured = cv2.GaussianBlur(coloured, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.4 * min(strength, 1.0):
        noise = np.zeros(crop.shape, dtype=np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, np.zeros(1), np.full(1, rng.uniform(2, 12)))
        coloured = cv2.add(coloured, noise, dtype=cv2.CV_8U)
    return np.asarray(coloured, dtype=np.uint8)


def _turn_about_grey(angle: float) -> NDArray[np.float64]:
    rotation, _ = cv2.Rodrigues(np.full(3, angle / np.sqrt(3)))
    return np.asarray(rotation, dtype=np.float64)


def _occlude(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = crop.shape[:2]
    crop = crop.copy()
    for _ in range(int(rng.integers(1, 4))):
        high, wide = int(rng.uniform(0.06, 0.3) * height), int(rng.uniform(0.08, 0.4) * width)
        top, left = int(rng.integers(0, height - high)), int(rng.integers(0, width - wide))
        if rng.random() < 0.5:  # a piece of the same crop: has the texture of people and rooms
            from_top, from_left = (
                int(rng.integers(0, height - high)),
                int(rng.integers(0, width - wide)),
            )
            patch = crop[from_top : from_top + high, from_left : from_left + wide].copy()
        else:
            patch = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (high, wide, 3))
        crop[top : top + high, left : left + wide] = patch
    return crop
