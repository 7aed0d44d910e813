"""Run directories as finished runs leave them, without any training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck", "auc")


def means(mpjpe_mm: float, *, num_frames: int = 8) -> dict[str, Any]:
    """Metrics of which each follows from the first."""
    values = (mpjpe_mm, 0.8 * mpjpe_mm, 0.9 * mpjpe_mm, 0.1 * mpjpe_mm, 0.75, 0.5)
    return {**dict(zip(METRICS, values, strict=True)), "num_frames": num_frames}


def split_metrics(clips_mm: Sequence[float]) -> dict[str, Any]:
    """One action of clips of 8 frames, and another of one clip of 8 frames with twice the error."""
    clips = [*clips_mm, 2 * sum(clips_mm) / len(clips_mm)]
    actions = [sum(clips_mm) / len(clips_mm), clips[-1]]
    return {
        "num_frames": 8 * len(clips),
        "num_clips": len(clips),
        "frame_wise": means(sum(clips) / len(clips), num_frames=8 * len(clips)),
        "action_wise": means(sum(actions) / 2),
        "per_action": {"Walking": means(actions[0]), "Sitting": means(actions[1])},
        "per_joint": {"root": 1.0},
        "per_clip": {f"clip-{i}": means(error) for i, error in enumerate(clips)},
    }


def write_run(
    folder: Path,
    *,
    lifter: str = "capf",
    test_mm: Sequence[float] = (50.0, 52.0, 54.0),
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    finished: str | None = "2026-11-21T10:00:00+00:00",
) -> Path:
    """Writes what `posecache lift` leaves, but for weights and pictures."""
    folder.mkdir(parents=True)
    splits = {
        "validation": split_metrics([mm - 5 for mm in test_mm]),
        "test": split_metrics(test_mm),
        "test_new_cameras": split_metrics([mm + 5 for mm in test_mm]),
    }
    data = {"keypoint_source": "detector", "context": "own", "validation_split": "validation"}
    run = {
        "train": {"data": data, "seed": seed},
        "lifter": {"name": lifter, "num_frames": 1},
        "trained_on": {"levels": [{"name": "x8"}] if lifter == "capf" else []},
        "num_parameters": 1234,
        "notes": list(notes),
    }
    log = [
        {"epoch": 1, "step": 10, "best": True, "samples_per_s": 10.0, "wait_fraction": 0.1},
        {"epoch": 2, "step": 20, "best": False, "samples_per_s": 10.0, "wait_fraction": 0.3},
    ]
    metrics = {
        "epoch": 1,
        "weights": "best",
        "seed": seed,
        "lifter": lifter,
        "num_parameters": 1234,
        "store": "made.zarr",
        "keypoint_source": "detector",
        "feature_source": "hrnet abc" if lifter == "capf" else None,
        "box_source": "gt2d",
        "context": "own" if lifter == "capf" else None,
        "notes": list(notes),
        "splits": splits,
        "last": {"epoch": 2, "splits": splits},
    }
    config = {"lifter": {"name": lifter}, "train": {"seed": seed, **(settings or {})}}
    origin: dict[str, Any] = {"git_revision": "abcdef012345", "seconds": {"train": 90.0}}
    write(folder / "run.json", run)
    lines = [json.dumps({**line, "elapsed_s": 60.0 * line["epoch"]}) for line in log]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    write(folder / "metrics.json", metrics)
    write(folder / "provenance.json", origin | ({"finished": finished} if finished else {}))
    write(folder / "config.json", config)
    return folder


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
