"""Stores and a run that the wrong inputs are made from, and how a command is run."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.test_lift.stores import IDENTITY, build_plan, write_store

SPLITS = {"train": 16, "validation": 8, "test": 8}
SMALL = (
    "-s lifter.name=capf -s lifter.width=8 -s lifter.depth=1 -s lifter.num_heads=2"
    " -s lifter.deform_heads=2 -s train.steps=2 -s train.batch_size=8"
)
OTHER = {**IDENTITY, "detector": {"weights": "def", "name": "random"}}


def make(folder: Path) -> Path:
    """Write the stores and train the run; returns the folder."""
    write_store(folder / "made.zarr", SPLITS)
    write_store(folder / "other.zarr", SPLITS, feature_identity=OTHER)
    write_store(folder / "coco.zarr", plan=build_plan(SPLITS, skeleton="COCO17"))
    write_store(folder / "flat.zarr", plan=replace(build_plan(SPLITS), joints_3d_mm=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, _, err = command(f"lift -s store=made.zarr -s runs_root=runs {SMALL}")
        assert code == 0, err
    config = folder / "runs"
    (found,) = (path for path in config.iterdir() if path.is_dir())
    found.rename(folder / "run")
    text = (folder / "run" / "config.json").read_text()
    (folder / "run" / "config.json").write_text(text.replace("made.zarr", "data/made.zarr"))
    return folder


def command(words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `posecache WORDS`, run in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["posecache", *shlex.split(words)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()
