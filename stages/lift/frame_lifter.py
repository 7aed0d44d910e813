"""Poses of frames that come in parts, from what a detector just saw in them: no store is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import ClipWindows, Skeleton, convert_keypoints, get_skeleton
from lifter import LIFTERS
from lifter.models.base import prediction
from lifter.pyramid import geometric_shifts, sample_joints
from lifter.uncertainty import ScaledLifter, scale_m
from stages.devices import use_device
from stages.lift.config import EvaluateConfig
from stages.lift.errors import LiftError
from stages.lift.feed.inputs import FLIPPED, mirror, view_inputs
from stages.lift.feed.passes import places_in_tiles
from stages.lift.feed.samples import METRES_PER_MM
from stages.lift.feed.windows import windowing_of
from stages.lift.predictions import evaluation_mode
from stages.lift.runs.checkpoints import LoadedRun
from stages.lift.torch_settings import torch_settings


@dataclass(frozen=True)
class SeenFrames:
    """`n` usable frames and what a detector saw in them, in `V` views, the plain one first."""

    clips: NDArray[np.integer]  # [n] codes; frames of a clip are neighbours
    frames: NDArray[np.integer]  # [n] numbers in the clip, ascending
    keypoints: NDArray[np.float32]  # [n, V, Jd, 3] px of the unmirrored picture, score
    image_size: NDArray[np.integer]  # [n, 2] (H, W)
    affine: NDArray[np.float64]  # [n, V, 2, 3] picture px to crop px
    maps: Mapping[str, NDArray[Any]]  # per level [n, V, H, W, C]

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class LiftedFrames:
    """Poses of `n` frames, in the order in which these came."""

    joints_3d_mm: NDArray[np.float64]  # [n, J, 3] camera frame, relative to the root
    scale_mm: NDArray[np.float64] | None  # [n, J] b of `lifter.uncertainty`, if the lifter has it


class FrameLifter:
    """Lifts frames with a trained run; the numbers are those of an evaluation on a store.

    They are equal up to the order of float32 sums: evaluation has batches of other rows. Lifters of
    single frames lift each part as it comes and keep none of its maps. Lifters of windows keep what
    the maps show at the joints, which is all that they read.

    Args:
        run: the lifter. One that was trained on shuffled maps is refused: it is a control.
        detector_skeleton: joint set of the keypoints that will come.
        crop_size: (H, W) px.
        config: flip averaging (needs two views), batch size, device, threads, zero root.

    Raises:
        LiftError: a control, or a lifter of windows that samples whole maps.
    """

    def __init__(
        self,
        run: LoadedRun,
        *,
        detector_skeleton: Skeleton,
        crop_size: tuple[int, int],
        config: EvaluateConfig,
    ) -> None:
        if run.config.data.context == "shuffled" and run.level_names:
            raise LiftError(
                f"{run.run_dir} was trained on the maps of other frames: it is a control, not a"
                " lifter to use. Choose a run with train.data.context=own."
            )
        description = run.description
        self._windowing = windowing_of(description.lifter, run.config.data)
        self._reads_points = bool(run.level_names) and LIFTERS[
            description.lifter.name
        ].reads_points(description.lifter)
        if self._windowing is not None and run.level_names and not self._reads_points:
            raise LiftError(
                f"{description.lifter.name} samples whole maps of windows, which would have to be"
                " kept for every frame. Extract a store and evaluate the run on that."
            )
        self._device = use_device(config.device)
        self._run, self._config = run, config
        self._model = run.model.to(self._device)
        self._views = (0, 1) if config.flip_average else (0,)
        self._from, self._to = detector_skeleton, get_skeleton(description.trained_on.skeleton)
        self._crop_size = crop_size
        self._rule = getattr(description.lifter, "reference_rule", "published")
        self._points_dtype = _stored_dtype(description.trained_on.feature_identity)
        self._has_scale = isinstance(self._model, ScaledLifter)
        self._inputs: list[_ViewInputs] = []
        self._clips: list[NDArray[np.integer]] = []
        self._frames: list[NDArray[np.integer]] = []
        self._poses: list[NDArray[np.float64]] = []  # with scales, [n, J, 4]

    def add(self, seen: SeenFrames) -> None:
        """Takes the next frames; those of a clip must follow each other over all parts."""
        if not len(seen):
            return
        keypoints = convert_keypoints(
            seen.keypoints.astype(np.float64), self._from, self._to
        )  # [n, V, J, 3]
        self._clips.append(seen.clips)
        self._frames.append(seen.frames)
        inputs = [self._view(seen, keypoints[:, view], view) for view in self._views]
        if self._windowing is None:
            with torch_settings(self._config.threads), torch.no_grad():
                self._poses.append(self._average([self._lift_single(each) for each in inputs]))
        else:
            self._inputs += inputs

    def finish(self) -> LiftedFrames:
        """Returns the poses of all frames."""
        if not self._clips:
            return LiftedFrames(np.empty((0, self._to.num_joints, 3)), None)
        if self._windowing is not None:
            with torch_settings(self._config.threads), torch.no_grad():
                self._poses = [self._average([self._lift_windows(view) for view in self._views])]
        found = np.concatenate(self._poses) / METRES_PER_MM
        poses = found[..., :3].copy()
        if self._config.zero_root:
            poses[:, self._to.root] = 0.0
        return LiftedFrames(poses, found[..., 3].copy() if self._has_scale else None)

    def _view(self, seen: SeenFrames, keypoints: NDArray[np.float64], view: int) -> _ViewInputs:
        screen, unit = view_inputs(
            keypoints[..., :2],
            seen.image_size,
            seen.affine[:, view],
            self._crop_size,
            view=view,
            swap=self._to.swap,
        )
        levels = [torch.from_numpy(np.ascontiguousarray(m)) for m in self._maps(seen, view)]
        references = torch.from_numpy(unit)
        if self._reads_points:
            levels = self._at_joints(references, levels)
        return _ViewInputs(torch.from_numpy(screen), references, levels)

    def _maps(self, seen: SeenFrames, view: int) -> Iterator[NDArray[Any]]:
        for name in self._run.level_names:
            maps = seen.maps[name][:, view]
            yield np.zeros_like(maps) if self._run.config.data.context == "none" else maps

    def _at_joints(self, references: Tensor, levels: list[Tensor]) -> list[Tensor]:
        """Returns [n, J, C] per level, rounded as the point cache was, if one was trained on."""
        shifts = geometric_shifts(references, levels) if self._rule == "geometric" else None
        seen = sample_joints(references, levels, shifts=shifts)
        if self._points_dtype is not None:
            seen = [each.to(self._points_dtype) for each in seen]
        return seen

    def _lift_single(self, inputs: _ViewInputs) -> NDArray[np.float64]:
        size = self._config.batch_size
        parts = []
        with evaluation_mode(self._model):
            for start in range(0, len(inputs.keypoints_2d), size):
                part = slice(start, start + size)
                parts.append(
                    self._call(
                        inputs.keypoints_2d[part],
                        inputs.reference_points[part],
                        [level[part] for level in inputs.levels],
                    )
                )
        return torch.cat(parts).to("cpu", torch.float64).numpy()

    def _lift_windows(self, view: int) -> NDArray[np.float64]:
        assert self._windowing is not None
        mine = self._inputs[view :: len(self._views)]
        keypoints_2d = torch.cat([each.keypoints_2d for each in mine])
        references = torch.cat([each.reference_points for each in mine])
        levels = [torch.cat(parts) for parts in zip(*(each.levels for each in mine), strict=True)]
        windows = ClipWindows(
            np.concatenate(self._clips), np.concatenate(self._frames), self._windowing.shape
        )
        all_frames = np.arange(len(windows))
        targets = windows.tiles() if self._windowing.predicts_all else all_frames
        parts = []
        with evaluation_mode(self._model):
            for start in range(0, len(targets), self._config.batch_size):
                positions, _ = windows.of(targets[start : start + self._config.batch_size])
                if not levels:
                    parts.append(self._call(keypoints_2d[positions], references[:0], []))
                    continue
                frames, places = np.unique(positions, return_inverse=True)
                parts.append(
                    self._call(
                        keypoints_2d[positions],
                        references[frames],
                        [level[frames] for level in levels],
                        window_rows=torch.from_numpy(places.reshape(positions.shape)),
                    )
                )
        poses = torch.cat(parts).to("cpu", torch.float64).numpy()
        if not self._windowing.predicts_all:
            return poses
        place = places_in_tiles(*windows.of(targets), all_frames)
        joined: NDArray[np.float64] = poses.reshape(-1, *poses.shape[2:])[place]
        return joined

    def _call(
        self,
        keypoints_2d: Tensor,
        references: Tensor,
        levels: list[Tensor],
        *,
        window_rows: Tensor | None = None,
    ) -> Tensor:
        more: dict[str, Any] = {"with_scale": True} if self._has_scale else {}
        if window_rows is not None:
            more["window_rows"] = window_rows.to(self._device)
        outputs = self._model(
            keypoints_2d.to(self._device),
            references.to(self._device),
            [level.to(self._device) for level in levels],
            **more,
        )
        if not self._has_scale:
            return prediction(outputs)
        return torch.cat((prediction(outputs), scale_m(outputs)[..., None]), dim=-1)

    def _average(self, views: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        if len(views) == 1:
            return views[0]
        average: NDArray[np.float64] = (views[0] + mirror(views[FLIPPED], self._to.swap)) / 2.0
        return average


@dataclass(frozen=True)
class _ViewInputs:
    keypoints_2d: Tensor  # [n, J, 2]
    reference_points: Tensor  # [n, J, 2]
    levels: list[Tensor]  # L maps [n, H, W, C], or L points [n, J, C]


def _stored_dtype(feature_identity: Mapping[str, Any]) -> torch.dtype | None:
    """Returns the precision of the point cache that was trained on; None for a full store."""
    points = feature_identity.get("points")
    if not isinstance(points, dict):
        return None
    return torch.float16 if points.get("dtype") == "float16" else torch.float32
