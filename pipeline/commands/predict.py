"""`posecache predict`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.console import Meter, console, print_json
from pipeline.errors import PipelineError, Stopped
from pipeline.interruption import Interruption
from pipeline.people import build_person_detector
from pipeline.predict.files import POSES_FILE, STATUS_NAMES, write_npz, write_pose_json
from pipeline.predict.inputs import (
    Input,
    find_input,
    folder_of,
    left_out_note,
    looks_for_people,
    parse_intrinsics,
    refuse_output_inside,
    refuse_output_of_another,
    write_people,
)
from pipeline.predict.lifting import PredictProgress, predict_poses
from pipeline.predict.overlays import write_overlays
from pipeline.predict.poses import Poses
from pipeline.predict.setup import choose_run, prepare, refuse_unused
from pipeline.runs.config import config_of_run, runs_root_of
from pipeline.runs.directories import writable_folder
from pipeline.settings import parse_set
from stages.extract.boxes.find import FindProgress
from stages.extract.boxes.people import PeopleConfig

_PEOPLE_FILE = "people.csv"


def run_predict(
    path: Path,
    *,
    run: Path | None,
    out: Path | None,
    boxes: Path | None,
    intrinsics: str | None,
    device: str | None,
    rerun: bool,
    sets: Sequence[str],
    as_json: bool,
) -> None:
    """Write the poses of a picture, a video or a folder, and pictures of them."""
    screen = console(quiet=as_json)
    given = find_input(path)
    given.sources()  # refuses what is no input, before anything is made
    changes = [parse_set(text) for text in sets]
    refuse_unused(changes)
    run_dir = choose_run(run, runs_root_of(changes))
    if intrinsics is not None:
        changes.append(("predict.intrinsics", list(parse_intrinsics(intrinsics))))
    if device is not None:
        changes += [("detector.device", device), ("evaluate.device", device)]
        changes += [("people.device", device)]
    config = config_of_run(run_dir, changes)
    if rerun:
        from pipeline.predict.rerun_file import require_rerun

        require_rerun()
    folder = out or Path("predictions") / given.name
    refuse_output_inside(given, folder)
    if out is None:
        refuse_output_of_another(given, folder)
    began = time.perf_counter()
    with Interruption("the running part") as interruption, Meter(screen) as meter:
        if boxes is None and looks_for_people(config.people):
            writable_folder(folder, "--out")
            boxes, note = _find_people(given, config.people, folder, meter, interruption)
            if note is not None:
                screen.print(note, style="yellow", soft_wrap=True)
        dataset, box_source = folder_of(
            given,
            boxes=boxes,
            min_score=config.predict.min_box_score,
            stride=config.predict.stride,
        )
        setup = prepare(run_dir, config, box_source)
        writable_folder(folder, "--out")
        screen.print(f"run: {run_dir}", soft_wrap=True)
        for note in setup.notes:
            loud = note.startswith("NOT FOR REAL")
            screen.print(note, style="bold red" if loud else "yellow", soft_wrap=True)
        if boxes is None:
            screen.print(
                "No boxes are given and no person detector is named: each picture is taken for one"
                " person. For several, or small ones: --boxes FILE, or --set people.onnx=FILE.",
                style="yellow",
                soft_wrap=True,
            )

        def fps(source: str) -> float:
            return given.fps(source, config.predict.fps)

        def times_s(source: str, frames: NDArray[np.int64]) -> NDArray[np.float64]:
            return given.times_s(source, frames, config.predict.fps)

        rate = _Rate(meter)
        poses = predict_poses(
            setup, dataset, times_s=times_s, progress=rate.show, stop=interruption.requested
        )
        if poses is None:
            raise _stopped(folder, "nothing is written", interruption)
        poses = replace(poses, about={**poses.about, "path": str(given.path)})
        if not poses.usable.any():
            raise PipelineError(
                f"{given.path}: no frame gave a pose ({_counts(poses)}); nothing is written."
                " Check the files and the boxes."
            )
        lifted_s = time.perf_counter() - began
        files = [folder / POSES_FILE, folder / "poses.json"]
        write_npz(poses, files[0])
        write_pose_json(poses, files[1])
        if rerun:
            from pipeline.predict.rerun_file import write_rerun

            files.append(folder / "poses.rrd")
            write_rerun(poses, files[-1])

        def drawn(done: int, total: int) -> None:
            meter.update("draw", done / total, f"{done} of {total} frames")
            if done < total and interruption.requested():
                written = "poses.npz and poses.json are complete, its overlays are not"
                raise _stopped(folder, written, interruption)

        overlays = write_overlays(poses, dataset, folder, config.predict, fps=fps, progress=drawn)
    facts = _facts(poses, run_dir, [*files, *overlays], rate.rows_per_s)
    if as_json:
        seconds = {"lift": lifted_s, "all": time.perf_counter() - began}
        print_json({**facts, "seconds": seconds})
        return
    people = f"{facts['num_people']} person{'' if facts['num_people'] == 1 else 's'}"
    screen.print(
        f"{people}, {facts['num_rows']} person-frames ({_counts(poses)}),"
        f" {rate.rows_per_s:.1f} per s",
        soft_wrap=True,
    )
    for file in [*files, *overlays][:12]:
        screen.print(f"  {file}", soft_wrap=True)
    if len(overlays) > 10:
        screen.print(f"  ... {len(overlays)} overlays in all", soft_wrap=True)


def _stopped(folder: Path, what: str, interruption: Interruption) -> Stopped:
    number = interruption.signal_number
    assert number is not None
    return Stopped(f"{folder}: {what}. The same command begins anew.", number)


class _Rate:
    """Shows how far the detector is, and keeps its latest speed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.rows_per_s = 0.0

    def show(self, progress: PredictProgress) -> None:
        self.rows_per_s = progress.rows_per_s
        self._meter.update(
            "predict",
            progress.rows_done / progress.num_rows,
            f"{progress.rows_done} of {progress.num_rows} person-frames,"
            f" {progress.rows_per_s:.1f} per s",
        )


def _find_people(
    given: Input,
    config: PeopleConfig,
    folder: Path,
    meter: Meter,
    interruption: Interruption,
) -> tuple[Path, str | None]:
    path = folder / _PEOPLE_FILE

    def show(progress: FindProgress) -> None:
        note = f"frame {progress.done} of {progress.total}, {progress.source}"
        meter.update("find people", progress.done / progress.total, note)

    found = write_people(
        given,
        build_person_detector(config),
        config,
        path,
        progress=show,
        stop=interruption.requested,
    )
    if found is None:
        assert interruption.signal_number is not None
        raise Stopped(
            f"{path}: not all frames are done. The same command goes on from here.",
            interruption.signal_number,
        )
    return path, left_out_note(found, config)


def _facts(poses: Poses, run_dir: Path, files: Sequence[Path], rows_per_s: float) -> dict[str, Any]:
    return {
        "run": str(run_dir),
        "num_rows": len(poses),
        "num_people": len(np.unique(poses.clips)),
        "rows_by_status": _rows_by_status(poses),
        "rows_per_s": rows_per_s,
        "notes": list(poses.notes),
        "files": [str(file) for file in files],
    }


def _counts(poses: Poses) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in _rows_by_status(poses).items())


def _rows_by_status(poses: Poses) -> dict[str, int]:
    codes, counts = np.unique(poses.status, return_counts=True)
    return {STATUS_NAMES[int(c)]: int(count) for c, count in zip(codes, counts, strict=True)}
