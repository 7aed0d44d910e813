"""Runs trained for two steps on drawn people, with maps and without."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_pipeline.commands import CommandLine
from tests.test_predict.conftest import POOLS_TEXT, TINY


@dataclass(frozen=True)
class Trained:
    """Run directories of one store."""

    root: Path
    capf: Path
    pose_only: Path
    shuffled: Path

    @property
    def all(self) -> tuple[str, ...]:
        """The directories as words of a command."""
        return tuple(str(run) for run in (self.pose_only, self.capf, self.shuffled))


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three runs on one store of drawn people, seen by the shipped detector; one is a control."""
    root = tmp_path_factory.mktemp("robustness")
    kinds = {
        "capf": ["lifter.name=capf"],
        "pose_only": ["lifter.name=pose_only"],
    }
    found: dict[str, Path] = {}
    for name, settings in kinds.items():
        before = {path for path in (root / "runs").glob("*") if path.is_dir()}
        sets = [f"dataset.options.pools={POOLS_TEXT}", "extract.workers=1", *TINY, *settings]
        sets += [f"data_root={root / 'data'}", f"runs_root={root / 'runs'}"]
        _lift(sets)
        (found[name],) = {path for path in (root / "runs").glob("*") if path.is_dir()} - before
    # The same weights, read as those of a control, save a training.
    control = shutil.copytree(found["capf"], root / "runs" / "control")
    for name in ("run.json", "config.json"):
        content = json.loads((control / name).read_text())
        content["train"]["data"]["context"] = "shuffled"
        (control / name).write_text(json.dumps(content))
    return Trained(root, shuffled=control, **found)


def _lift(sets: list[str]) -> None:
    from pipeline.cli import main

    words = ["lift", "--dataset", "synthetic", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["posecache", *words, *(part for key in sets for part in ("--set", key))]
        )
        with suppress(SystemExit):
            main()
