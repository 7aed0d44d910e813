"""One pass of the detector over degraded frames, and what every run makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import RowPlan, convert_keypoints
from pipeline.errors import PipelineError
from pipeline.predict.setup import Setup
from pipeline.robustness.degradations import Variant
from pipeline.robustness.study import Study
from pipeline.robustness.subjects import Subject
from stages.extract.crops import CropConfig
from stages.extract.datasets import Dataset
from stages.extract.degrading.dataset import DegradedDataset
from stages.extract.degrading.draws import generator_of
from stages.extract.degrading.jitter import jittered_plan
from stages.extract.jobs import invalid_of_chunk
from stages.extract.passing import PassedFrames, pass_frames
from stages.lift.degraded_keypoints import add_noise, drop_joints
from stages.lift.feed.order import draw_donors
from stages.lift.frame_lifter import FrameLifter, SeenFrames
from stages.lift.runs.checkpoints import LoadedRun


@dataclass(frozen=True)
class Lifted:
    """`n` frames at one strength, by row."""

    rows: NDArray[np.int64]  # [n] ascending; those that the detector could use
    poses_mm: dict[str, NDArray[np.float64]]  # by run [n, J, 3] relative to the root
    joints_px: NDArray[np.float64]  # [n, J, 2] as lifted, plain view, joints of the labels
    boxes_px: NDArray[np.float64]  # [n, 4] that were cut out
    lost: dict[str, int]  # rows that could not be used, by reason


def lift_pass(
    study: Study,
    setup: Setup,
    variants: Sequence[Variant],
    *,
    progress: Callable[[int], None],
    stop: Callable[[], bool] = lambda: False,
) -> dict[Variant, Lifted] | None:
    """Return what the runs lift of frames that pass the detector once; None where it was stopped.

    Args:
        study: the runs and rows.
        setup: the detector.
        variants: one that changes frames, or any number that change keypoints.
        progress: is told after each part how many rows are done.
        stop: asked before each part.
    """
    frames = _frames_of(study, variants[0])
    skeleton = study.reader.label_skeleton
    takers = {
        variant: {
            subject.name: FrameLifter(
                _as_own(subject),
                detector_skeleton=setup.detector_skeleton,
                crop_size=study.crop.input_size,
                config=subject.config.evaluate,
            )
            for subject in study.subjects
        }
        for variant in variants
    }
    clips, numbers = study.plan.index["clip"].codes, study.plan.index["frame"].codes
    rows: list[NDArray[np.int64]] = []
    joints: dict[Variant, list[NDArray[np.float64]]] = {variant: [] for variant in variants}
    lost: dict[str, int] = {}
    loan, done = _Loan(study.config.seed), 0
    for passed in pass_frames(
        frames.dataset,
        setup.detector,
        frames.crop,
        setup.config.extract,
        rows=[int(row) for row in study.rows],
        plan=frames.plan,
        stop=stop,
    ):
        for reason, count in invalid_of_chunk(passed.content.status).items():
            lost[reason] = lost.get(reason, 0) + count
        good = np.array(passed.rows, dtype=np.int64)[passed.usable]
        done += len(passed.rows)
        if len(good):
            rows.append(good)
            maps = {name: m[passed.usable] for name, m in passed.content.features.items()}
            lent = loan.exchange(maps, clips[good]) if _lends(study.subjects) else maps
            for variant in variants:
                keypoints = _degraded(study, passed, good, variant)
                plain = keypoints[:, 0].astype(np.float64)
                joints[variant].append(
                    convert_keypoints(plain, setup.detector_skeleton, skeleton)[..., :2]
                )
                for subject in study.subjects:
                    takers[variant][subject.name].add(
                        SeenFrames(
                            clips=clips[good],
                            frames=numbers[good],
                            keypoints=keypoints,
                            image_size=study.plan.image_size[good],
                            affine=passed.content.crop_affine[passed.usable],
                            maps=lent if subject.is_shuffled else maps,
                        )
                    )
        progress(done)
    if done < len(study.rows):
        return None
    all_rows = np.concatenate([*rows, np.empty(0, dtype=np.int64)])
    order = np.argsort(all_rows)
    boxes = frames.boxes_px(study, all_rows[order])
    return {
        variant: Lifted(
            rows=all_rows[order],
            poses_mm={
                name: taker.finish().joints_3d_mm[order] for name, taker in takers[variant].items()
            },
            joints_px=np.concatenate([*joints[variant], np.empty((0, skeleton.num_joints, 2))])[
                order
            ],
            boxes_px=boxes,
            lost=dict(lost),
        )
        for variant in variants
    }


@dataclass(frozen=True)
class _Frames:
    """What the detector is shown."""

    dataset: Dataset
    crop: CropConfig
    plan: RowPlan | None  # None: the dataset's own

    def boxes_px(self, study: Study, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.plan is None:
            return study.boxes_px(rows.tolist()) if len(rows) else np.empty((0, 4))
        assert self.plan.boxes_px is not None
        return np.asarray(self.plan.boxes_px[rows], dtype=np.float64)


def _frames_of(study: Study, variant: Variant) -> _Frames:
    source, seed = study.crop.box_source, study.config.seed
    if variant.degradation == "jitter":
        rows = study.rows.tolist()
        plan = jittered_plan(study.plan, rows, source, variant.strength, seed=seed)
        return _Frames(
            study.dataset, study.crop.model_copy(update={"box_source": "imported"}), plan
        )
    return _Frames(degraded_dataset(study, variant), study.crop, None)


def degraded_dataset(study: Study, variant: Variant) -> Dataset:
    """Return the dataset with the pictures of a variant, its own where these are not changed."""
    if variant.degradation not in ("occluder", "resolution"):
        return study.dataset
    rows = study.rows.tolist()
    return DegradedDataset(
        study.dataset,
        variant.degradation,
        variant.strength,
        boxes_px=dict(zip(rows, study.boxes_px(rows), strict=True)),
        seed=study.config.seed,
    )


def _degraded(
    study: Study, passed: PassedFrames, rows: NDArray[np.int64], variant: Variant
) -> NDArray[np.float32]:  # [n, V, Jd, 3]
    keypoints = passed.content.keypoints["detector"][passed.usable]
    if variant.degradation not in ("noise", "dropped"):
        return keypoints
    rngs = [generator_of(study.config.seed, variant.degradation, int(row)) for row in rows]
    degrade = add_noise if variant.degradation == "noise" else drop_joints
    return degrade(keypoints, study.boxes_px(rows.tolist()), variant.strength, rngs)


def _lends(subjects: Sequence[Subject]) -> bool:
    return any(subject.is_shuffled for subject in subjects)


def _as_own(subject: Subject) -> LoadedRun:
    """Return the run as one that takes the maps it is given: borrowed ones are lent here."""
    if not subject.is_shuffled:
        return subject.run
    train = subject.run.config
    data = train.data.model_copy(update={"context": "own"})
    description = subject.run.description.model_copy(
        update={"train": train.model_copy(update={"data": data})}
    )
    return replace(subject.run, description=description)


class _Loan:
    """Gives frames the maps of frames of other clips, as the control saw them in training."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._last: dict[str, NDArray[Any]] | None = None

    def exchange(
        self,
        maps: dict[str, NDArray[Any]],  # per level [n, V, H, W, C]
        clips: NDArray[np.integer],  # [n]
    ) -> dict[str, NDArray[Any]]:
        """Returns the maps in another order; a single frame gets those of the part before."""
        last, self._last = self._last, {name: each[-1:] for name, each in maps.items()}
        if len(clips) == 1:
            if last is None:
                raise PipelineError(
                    "A run with shuffled context borrows maps, and there is one frame only. Take"
                    " more: --rows N."
                )
            return last
        donors = draw_donors(clips.astype(np.int64), self._rng)
        return {name: each[donors] for name, each in maps.items()}
