"""`posecache export` on the real command line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import onnxruntime
import pytest

from cache import CacheReader
from stages.lift import TrainConfig, train
from tests.test_lift.test_training import POSE_ONLY
from tests.test_pipeline.commands import CommandLine


@pytest.fixture(scope="module")
def run_dir(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    train(TrainConfig(epochs=1, batch_size=16, threads=1), POSE_ONLY, CacheReader(made), path)
    return path


def test_a_run_becomes_an_onnx_file_beside_its_weights(
    run_dir: Path, posecache: CommandLine
) -> None:
    ended = posecache("export", str(run_dir), "--json")
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    assert report["path"] == str(run_dir / "lifter.onnx")
    assert report["agreement"]["exported_m"] < 1e-5
    assert report["metadata"]["run"] == "tiny"
    session = onnxruntime.InferenceSession(report["path"], providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["keypoints_2d"]


def test_it_says_how_the_lifter_is_called(
    run_dir: Path, posecache: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "mine.pt2"
    ended = posecache("export", str(run_dir), "--format", "program", "--out", str(out))
    assert ended.code == 0, ended.err
    assert "keypoints_2d      float32  [batch, 17, 2]" in ended.out
    assert "joints_3d_m       float32  [batch, 17, 3]" in ended.out
    assert out.is_file()


def test_what_cannot_be_written_is_said_before_any_work(
    run_dir: Path, posecache: CommandLine, tmp_path: Path
) -> None:
    ended = posecache("export", str(tmp_path / "nothing"))
    assert (ended.code, "there is no such run" in ended.err) == (3, True)
    ended = posecache("export", str(run_dir), "--out", str(tmp_path / "no" / "lifter.onnx"))
    assert (ended.code, "its folder does not exist" in ended.err) == (3, True)
    ended = posecache("export", str(run_dir), "--out", str(tmp_path / "lifter.onnx"), "--format",
                      "program")  # fmt: skip
    assert (ended.code, "end in .pt2" in ended.err) == (3, True)
    ended = posecache("export", str(run_dir), "--format", "tflite")
    assert ended.code == 2
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_file_and_names_the_one_that_was_asked_for(
    run_dir: Path, posecache: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    out = tmp_path / "mine.pt2"
    ended = posecache("export", str(run_dir), "--format", "program", "--out", str(out))
    assert ended.code == 3
    assert ended.err == (
        f"UnwritableTarget: {out}: cannot be written (No space left on device). "
        "Free some space, or name another file: --out FILE.\n"
    )
    assert not list(tmp_path.iterdir())
