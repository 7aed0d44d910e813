"""Every degradation at every strength, one pass of the detector after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.robustness.about import describe
from pipeline.robustness.checking import check_clean
from pipeline.robustness.degradations import CLEAN, Variant, passes, variants
from pipeline.robustness.files import (
    Result,
    entries_by_variant,
    read_result,
    with_entries,
    write_result,
)
from pipeline.robustness.lifting import lift_pass
from pipeline.robustness.measuring import measure
from pipeline.robustness.study import Study


@dataclass(frozen=True)
class SweepProgress:
    """How far the running pass and the sweep are."""

    name: str
    rows_done: int
    num_rows: int
    rows_per_s: float
    seconds_left: float | None  # of the whole sweep; None before the first part


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep has to do."""

    wanted: tuple[Variant, ...]
    kept: tuple[Variant, ...]
    """Those whose results are there already."""
    todo: tuple[tuple[Variant, ...], ...]
    """Variants of every pass of the detector."""


def plan_sweep(study: Study, folder: Path) -> tuple[SweepPlan, Result]:
    """Return what is to do, and the result so far.

    Raises:
        ConfigError: the folder holds the result of other settings.
    """
    wanted = variants(study.config.strengths)
    result = read_result(folder, study.settings()) or _empty_result(study)
    present = entries_by_variant(result)
    missing = [variant for variant in wanted if variant not in present]
    kept = tuple(variant for variant in wanted if variant in present)
    return SweepPlan(wanted, kept, tuple(passes(missing))), result


def run_sweep(
    study: Study,
    folder: Path,
    *,
    progress: Callable[[SweepProgress], None],
    stop: Callable[[], bool],
) -> Result | None:
    """Return the whole result, written after every pass; None where it was stopped before its end.

    The first pass is of undegraded frames and is checked against the store before anything is
    written.

    Raises:
        PipelineError: undegraded frames are not lifted as those of the store.
        ConfigError: the folder holds the result of other settings.
        UnwritableTarget: the folder cannot be written.
    """
    plan, result = plan_sweep(study, folder)
    if not plan.todo:
        return result
    setup = study.detector()
    clock = _Clock(len(study.rows), len(plan.todo))
    for index, members in enumerate(plan.todo):

        def show(done: int, name: str = _pass_name(members), index: int = index) -> None:
            progress(clock.progress(name, index, done))

        show(0)
        lifted = lift_pass(study, setup, members, progress=show, stop=stop)
        if lifted is None:
            return None
        if CLEAN in lifted:
            result = {**result, "check": check_clean(study, lifted[CLEAN])}
        entries = [measure(study, v, lifted[v], result["example_row"]) for v in members]
        result = with_entries(result, entries, plan.wanted)
        write_result(folder, result)
    return result


class _Clock:
    """Speed and time left of a number of equal passes."""

    def __init__(self, num_rows: int, num_passes: int) -> None:
        self._num_rows, self._num_passes = num_rows, num_passes
        self._began = time.perf_counter()

    def progress(self, name: str, index: int, done: int) -> SweepProgress:
        """Returns how far it is when `done` rows of the pass `index` are."""
        all_done = index * self._num_rows + done
        rate = all_done / max(time.perf_counter() - self._began, 1e-9)
        left = self._num_passes * self._num_rows - all_done
        seconds_left = left / rate if all_done else None
        return SweepProgress(name, done, self._num_rows, rate, seconds_left)


def _pass_name(members: tuple[Variant, ...]) -> str:
    if len(members) == 1:
        return members[0].label
    return ", ".join(dict.fromkeys(variant.degradation for variant in members))


def _empty_result(study: Study) -> Result:
    return {
        "settings": study.settings(),
        "about": describe(study),
        "baseline": None if study.baseline is None else study.baseline.name,
        "example_row": _example_row(study),
        "check": None,
        "results": [],
    }


def _example_row(study: Study) -> int:
    """Return the row whose person is largest among those that lie whole in their picture."""
    boxes = study.boxes_px(study.rows.tolist())
    sizes = study.plan.image_size[study.rows]
    inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= sizes[:, ::-1] - 1).all(axis=1)
    heights = np.where(inside | ~inside.any(), boxes[:, 3] - boxes[:, 1], 0.0)
    return int(study.rows[int(np.argmax(heights))])
