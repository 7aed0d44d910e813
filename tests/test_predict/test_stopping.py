"""Ctrl-C during a prediction: it ends, says what there is, and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.predict.film import Film
from stages.extract.datasets.folder import Folder
from tests.test_pipeline.commands import CommandLine, Ended
from tests.test_predict.conftest import Place


def press_ctrl_c_at(patch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    original = getattr(owner, method)

    def pressed(self: Any, *arguments: Any) -> Any:
        patch.setattr(owner, method, original)
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    patch.setattr(owner, method, pressed)


def predict(posecache: CommandLine, place: Place, out: Path, *words: str) -> Ended:
    folder = next(path for path in sorted(place.pictures.iterdir()) if path.is_dir())
    return posecache(
        *("predict", str(folder), "--run", str(place.run), "--out", str(out), *words),
        *("-s", "predict.overlay=video", "-s", "predict.overlay_height=120"),
    )


def test_a_prediction_stopped_while_it_lifts_writes_nothing(
    place: Place, posecache: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c_at(monkeypatch, Folder, "load_image")
    ended = predict(posecache, place, tmp_path, "-s", "extract.shard_rows=1")
    assert ended.code == 128 + signal.SIGINT
    assert ended.err.splitlines()[-1] == (
        f"Stopped: {tmp_path}: nothing is written. The same command begins anew."
    )
    assert not list(tmp_path.iterdir())


def test_a_prediction_stopped_while_it_draws_leaves_no_half_film(
    place: Place, posecache: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c_at(monkeypatch, Film, "add")
    ended = predict(posecache, place, tmp_path)
    assert ended.code == 128 + signal.SIGINT
    assert "poses.json are complete, its overlays are not" in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["poses.json", "poses.npz"]
