"""Undegraded frames must be lifted as those of the store are: the check of a whole sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.robustness.lifting import Lifted
from pipeline.robustness.study import Study
from pipeline.robustness.subjects import Subject
from stages.lift import Evaluation, evaluate
from stages.lift.feed.samples import store_name

Check = dict[str, Any]


def check_clean(study: Study, lifted: Lifted) -> dict[str, Check]:
    """Return for every run how far undegraded poses are from those of an evaluation of the store.

    A control with shuffled maps borrows from other frames here, so that its poses cannot be equal;
    its two errors are given, and it is not judged.

    Raises:
        PipelineError: poses differ by more than `tolerance_mm`, mean over joints and frames, or
            frames that the store has cannot be used here.
    """
    if lifted.lost:
        reasons = ", ".join(f"{name} {count}" for name, count in lifted.lost.items())
        raise PipelineError(
            f"{study.dataset.name}: rows that {store_name(study.reader)} holds cannot be used here"
            f" ({reasons}). Bring the missing pictures, and run again."
        )
    return {subject.name: _check(study, subject, lifted) for subject in study.subjects}


def _check(study: Study, subject: Subject, lifted: Lifted) -> Check:
    stored_mm = np.empty_like(lifted.poses_mm[subject.name])
    error_mm = np.empty(len(stored_mm))
    true_mm = np.empty_like(stored_mm)
    seen = np.zeros(len(stored_mm), dtype=bool)
    for split in study.splits:
        evaluation = _evaluate(study, subject, split)
        mine = np.isin(lifted.rows, evaluation.rows)
        at = np.searchsorted(evaluation.rows, lifted.rows[mine])
        stored_mm[mine], true_mm[mine] = evaluation.predicted_mm[at], evaluation.true_mm[at]
        error_mm[mine] = evaluation.frame_mpjpe_mm[at]
        seen |= mine
    assert seen.all()
    poses_mm = lifted.poses_mm[subject.name]
    distance_mm = float(np.linalg.norm(poses_mm - stored_mm, axis=-1).mean())
    found: Check = {
        "mpjpe_mm": float(np.linalg.norm(poses_mm - true_mm, axis=-1).mean()),
        "mpjpe_of_store_mm": float(error_mm.mean()),
        "distance_mm": None if subject.is_shuffled else distance_mm,
    }
    tolerance_mm = study.config.tolerance_mm
    if not subject.is_shuffled and not distance_mm <= tolerance_mm:
        raise PipelineError(
            f"{subject.name}: undegraded frames are lifted {distance_mm:.3f} mm away from those of"
            f" {store_name(study.reader)} ({found['mpjpe_mm']:.2f} instead of"
            f" {found['mpjpe_of_store_mm']:.2f} mm MPJPE), more than {tolerance_mm:g} mm. Pictures,"
            " detector or device are not those of the store; extract it anew, or allow more: --set"
            " robustness.tolerance_mm=MM."
        )
    return found


def _evaluate(study: Study, subject: Subject, split: str) -> Evaluation:
    return evaluate(
        subject.run.model,
        study.reader,
        split,
        subject.config.evaluate,
        data=subject.run.config.data,
        level_names=subject.run.level_names,
    )
