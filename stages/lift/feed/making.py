"""Batches made of samples, frames and maps: where arrays become tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import CacheReader, ClipWindows
from stages.lift.feed.batch import Batch
from stages.lift.feed.maps import MapSource, ZeroMaps
from stages.lift.feed.samples import InputFrames, Samples
from stages.lift.feed.windows import Windowing

CPU = torch.device("cpu")


@dataclass(eq=False)
class BatchMaker:
    """Everything that batches of one split are made of. `maps` may be put elsewhere meanwhile."""

    reader: CacheReader
    level_names: tuple[str, ...]
    samples: Samples
    frames: InputFrames
    """All that can be read; the samples themselves without windows."""
    frame_of: NDArray[np.int64]  # [n] position of each sample among the frames
    windowing: Windowing | None
    windows: ClipWindows | None
    maps: MapSource
    scales: list[Tensor] | None
    pin: bool
    """Whether batches lie in page-locked memory."""

    def __post_init__(self) -> None:
        # [frames] position of each among the samples, -1 without labels
        self._sample_of = np.full(len(self.frames), -1, dtype=np.int64)
        self._sample_of[self.frame_of] = np.arange(len(self.samples))
        self._holds_points = self.reader.spec.points is not None

    def num_valid(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> int:
        """Returns how many joints count in the loss of the samples [B] in the views [B]."""
        valid = self.samples.valid
        if self.windows is None or self.windowing is None or not self.windowing.predicts_all:
            return int(valid[views, chosen].sum())
        positions, real = self.windows.of(self.frame_of[chosen])
        labels = self._sample_of[positions]
        counts = valid[views[:, None], labels] & (real & (labels >= 0))[..., None]
        return int(counts.sum())

    def batch(
        self,
        chosen: NDArray[np.int64],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None = None,
    ) -> Batch:
        """Returns the samples at the positions `chosen` [B], each in its view of `views` [B].

        `donors` [frames] names for every frame the one that lends it its maps; `None`: itself.
        """
        if self.windows is not None:
            found = self.window_batch(self.frame_of[chosen], views=views, donors=donors)
            return replace(found, samples=chosen)
        samples = self.samples
        maps_from = chosen if donors is None else donors[chosen]
        return Batch(
            keypoints_2d=self._tensor(samples.keypoints_2d[views, chosen]),
            reference_points=self._tensor(samples.reference_points[views, chosen]),
            levels=self.maps.gather(maps_from, views),
            scales=self.scales,
            target_m=self._tensor(samples.target_m[views, chosen]),
            valid=self._tensor(samples.valid[views, chosen]),
            samples=chosen,
            rows_of_all=len(chosen),
            holds_points=self._holds_points,
        )

    def window_batch(
        self,
        targets: NDArray[np.int64],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None = None,
    ) -> Batch:
        """Returns the windows of the frames at the positions `targets` [B], in the views [B].

        Targets without a label have no valid joint.
        """
        assert self.windows is not None
        assert self.windowing is not None
        positions, real = self.windows.of(targets)
        views_of = np.broadcast_to(views[:, None], positions.shape)
        frames, frame_views, places = np.empty((3, 0), dtype=np.int64)
        if self.level_names:
            keys, places = np.unique(positions * 2 + views_of, return_inverse=True)
            frames, frame_views = keys >> 1, keys & 1
        if not self.windowing.predicts_all:
            positions_out, views_out, real = targets, views, np.ones(len(targets), dtype=bool)
        else:
            positions_out, views_out = positions, views_of
        labels = self._sample_of[positions_out]
        is_labelled = (labels >= 0) & real
        samples = self.samples
        maps_from = frames if donors is None else donors[frames]
        return Batch(
            keypoints_2d=self._tensor(self.frames.keypoints_2d[views_of, positions]),
            reference_points=self._tensor(self.frames.reference_points[frame_views, frames]),
            levels=self.maps.gather(maps_from, frame_views),
            scales=self.scales,
            target_m=self._tensor(samples.target_m[views_out, labels]),
            valid=self._tensor(samples.valid[views_out, labels] & is_labelled[..., None]),
            samples=targets,
            rows_of_all=len(targets),
            window_rows=self._tensor(places.reshape(positions.shape)) if self.level_names else None,
            map_frames=frames,
            holds_points=self._holds_points,
        )

    def blank_batch(self) -> Batch:
        """Returns a batch of no samples: one row of zeros, which a lifter can read, of weight 0."""
        joints = self.samples.target_m.shape[2]
        zeros, one = ZeroMaps(self.reader, self.level_names, device=CPU), np.zeros(1, np.int64)
        window: tuple[int, ...] = (1,)
        predicted = window
        window_rows = None
        if self.windowing is not None:
            window = (1, self.windowing.shape.num_frames)
            predicted = window if self.windowing.predicts_all else predicted
            window_rows = torch.zeros(window, dtype=torch.int64) if self.level_names else None
        return Batch(
            keypoints_2d=torch.zeros(*window, joints, 2),
            reference_points=torch.zeros(1, joints, 2),
            levels=zeros.gather(one, one),
            scales=self.scales,
            target_m=torch.zeros(*predicted, joints, 3),
            valid=torch.zeros(*predicted, joints, dtype=torch.bool),
            samples=np.empty(0, dtype=np.int64),
            rows_of_all=0,
            loss_weight=0.0,
            window_rows=window_rows,
            holds_points=self._holds_points,
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        # Into torch's own memory: its alignment is fixed, and with the alignment of an operand the
        # last bits of a matrix product may change, which would break bit-identical resuming.
        tensor = torch.from_numpy(array)
        return torch.empty_like(tensor, pin_memory=self.pin).copy_(tensor)
