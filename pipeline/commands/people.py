"""`posecache find-people`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.console import Meter, console, print_json
from pipeline.errors import Stopped, UnwritableTarget
from pipeline.interruption import Interruption
from pipeline.people import build_person_detector
from pipeline.runs.directories import writable_folder
from stages.extract.boxes.files import write_boxes
from stages.extract.boxes.find import FindProgress, FoundPeople, find_people
from stages.extract.boxes.people import detector_identity
from stages.extract.boxes.sheet import draw_sheet
from stages.extract.datasets.folder_sources import find_sources
from stages.extract.datasets.pictures import read_picture
from stages.extract.datasets.videos import VideoPictures


def run_find_people(folder: Path, *, out: Path, sets: Sequence[str], as_json: bool) -> None:
    """Write the box file of a folder and a picture of it, or go on where it was stopped."""
    config = load_config(sets=sets).people
    screen = console(quiet=as_json)
    if out.absolute().resolve().is_relative_to(folder.resolve()):
        raise UnwritableTarget(
            f"{out} is inside {folder}, where the picture beside it would become one of the "
            "dataset. Give --out a place outside."
        )
    sources = find_sources(folder)
    detector = build_person_detector(config)
    writable_folder(out.absolute().parent, "--out")
    found_by = detector_identity(detector, config.detector)
    journal = out.with_name(out.name + ".journal")
    began = time.perf_counter()
    with Interruption("the running frame") as interruption, Meter(screen) as meter:

        def show(progress: FindProgress) -> None:
            note = f"frame {progress.done} of {progress.total}, {progress.source}"
            meter.update("find people", progress.done / progress.total, note)

        found = find_people(
            folder,
            sources,
            detector,
            config,
            journal,
            found_by=found_by,
            progress=show,
            stop=interruption.requested,
        )
    if not found.complete and interruption.signal_number is not None:
        raise Stopped(
            f"{out}: {found.num_frames} frames are done. The same command goes on from here.",
            interruption.signal_number,
        )
    settings = f"tracks {config.tracks.model_dump_json()}, link {config.link}"
    made = f"posecache {version('posecache')}, {date.today()}, stride {config.stride}"
    write_boxes(out, found.table, f"{made}, {settings}")
    journal.unlink()
    sheet = _draw(folder, found, out.with_suffix(".png"))
    facts = _facts(found, out, sheet)
    if as_json:
        print_json({**facts, "seconds": time.perf_counter() - began})
        return
    if found.bad_frames:
        counts = ", ".join(f"{reason} {count}" for reason, count in found.bad_frames.items())
        screen.print(f"frames that cannot be read: {counts}", style="yellow", soft_wrap=True)
    screen.print(
        f"{out}: {len(found.table)} boxes in {found.num_tracks} tracks and {found.num_frames} "
        f"frames ({found.num_boxes - len(found.table)} boxes left out)"
        + (f", drawn in {sheet}" if sheet else ""),
        soft_wrap=True,
    )
    screen.print(
        f"use it: posecache extract --dataset folder -s dataset.root={folder} "
        f"-s dataset.options.boxes={out.absolute()} -s crop.box_source=detector",
        soft_wrap=True,
    )


def _draw(folder: Path, found: FoundPeople, path: Path) -> Path | None:
    if not len(found.table):
        return None
    videos = VideoPictures()
    draw_sheet(
        found.table,
        lambda file, frame: (
            read_picture(folder / file) if frame < 0 else videos.read(folder / file, frame)
        ),
        path,
    )
    return path


def _facts(found: FoundPeople, out: Path, sheet: Path | None) -> dict[str, Any]:
    return {
        "path": str(out),
        "sheet": None if sheet is None else str(sheet),
        "frames": found.num_frames,
        "boxes": len(found.table),
        "boxes_left_out": found.num_boxes - len(found.table),
        "tracks": found.num_tracks,
        "bad_frames": dict(found.bad_frames),
    }
