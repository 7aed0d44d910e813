"""`posecache train-detector`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.console import Meter, console, print_json
from pipeline.datasets import dataset_of
from pipeline.runs.directories import PROVENANCE_FILE, provenance, writable_folder, write_json
from pipeline.runs.tables import detector_error_table
from stages.devices import use_device
from stages.extract.datasets.kept import KeptPictures
from stages.extract.training.train import train_detector


def run_train_detector(
    preset: str,
    *,
    out: Path | None,
    dataset: str | None,
    device: str | None,
    sets: Sequence[str],
    as_json: bool,
) -> None:
    """Train a detector on a dataset's 2D labels, or go on where it was stopped."""
    config = load_config(preset, dataset=dataset, device=device, sets=sets)
    screen = console(quiet=as_json)
    folder = out or config.runs_root / f"detector-{config.dataset.name}"
    use_device(config.detector_training.device)
    source = dataset_of(config.dataset)
    writable_folder(folder, "runs_root" if out is None else "--out")
    if source.cpu_bound:  # each picture is looked at in every epoch
        source = KeptPictures(source, folder / "pictures")
    settings = config.detector_training
    start = time.perf_counter()

    def report(record: dict[str, Any]) -> None:
        fraction = record["step"] / settings.steps
        if settings.max_minutes is not None:
            spent = (time.perf_counter() - start) / 60
            fraction = max(fraction, spent / settings.max_minutes)
        shown = [f"{key} {record[key]}" for key in ("loss", "crops_per_s") if key in record]
        meter.update("detector", min(fraction, 0.999), "  ".join(shown))

    with Meter(screen) as meter:
        metrics = train_detector(source, source, settings, folder, progress=report)
        meter.update("detector", 1.0, f"step {metrics['steps']}")
    write_json(folder / PROVENANCE_FILE, provenance({"train": time.perf_counter() - start}))
    if as_json:
        print_json({"folder": str(folder), **metrics})
        return
    screen.print(detector_error_table(metrics["validation"]))
    screen.print(f"detector: {folder}  use it: --set detector.folder={folder}", soft_wrap=True)
