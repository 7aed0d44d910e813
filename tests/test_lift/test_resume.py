from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tests
from cache import CacheReader
from stages.lift import RunCorrupt, RunWriteError, TrainConfig, TrainProgress, load_run, train
from stages.lift.runs.rundir import STATE_FILE, read_log, write_bytes
from tests.test_lift import killed_run
from tests.test_lift.killed_run import CONFIG, LIFTER

MOMENTS = (
    "epoch 2 before its state",
    "in the middle of a state",
    "before the last weights",
)


def kill_at(moment: str, store: CacheReader, run_dir: Path) -> None:
    root = Path(tests.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, killed_run.__file__, store.locations[0], str(run_dir), moment]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_bit_identical(
    store: CacheReader, tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    train(CONFIG, LIFTER, store, undisturbed)
    for moment in MOMENTS:
        kill_at(moment, store, killed)
    assert not (killed / "last.safetensors").exists()
    summary = train(CONFIG, LIFTER, store, killed)
    assert summary.resumed_from == 5
    for name in ("best.safetensors", "last.safetensors", "run.json"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    without_times = [
        [{k: v for k, v in entry.items() if k in KEPT} for entry in read_log(run)]
        for run in (killed, undisturbed)
    ]
    assert without_times[0] == without_times[1]
    assert [entry["epoch"] for entry in without_times[0]] == [1, 2, 3, 4, 5]


KEPT = ("epoch", "step", "loss_mm", "validation_mpjpe_mm", "best", "lr")


class Stopped(Exception):
    pass


def stop_in_epoch_3(progress: TrainProgress) -> None:
    if progress.epoch == 3:
        raise Stopped


def test_the_comparison_of_weights_notices_a_resume_that_forgets_the_optimiser(
    store: CacheReader, tmp_path: Path
) -> None:
    for name in ("whole", "forgetful"):
        with pytest.raises(Stopped):
            train(CONFIG, LIFTER, store, tmp_path / name, progress=stop_in_epoch_3)
    path = tmp_path / "forgetful" / STATE_FILE
    state = torch.load(path, weights_only=True)
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"].zero_()
    torch.save(state, path)
    for name in ("whole", "forgetful"):
        assert train(CONFIG, LIFTER, store, tmp_path / name).resumed_from == 2
    weights = [(tmp_path / n / "last.safetensors").read_bytes() for n in ("whole", "forgetful")]
    assert weights[0] != weights[1]


def test_a_state_that_cannot_be_read_is_named(store: CacheReader, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(CONFIG, LIFTER, store, tmp_path, progress=stop_in_epoch_3)
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunCorrupt, match=r"state\.pt cannot be resumed.*Remove the run directory"):
        train(CONFIG, LIFTER, store, tmp_path)


def test_a_state_with_code_in_it_is_not_executed(store: CacheReader, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(CONFIG, LIFTER, store, tmp_path, progress=stop_in_epoch_3)
    torch.save({"epoch": os.system}, tmp_path / STATE_FILE)
    with pytest.raises(RunCorrupt, match=r"state\.pt cannot be resumed"):
        train(CONFIG, LIFTER, store, tmp_path)


def test_weights_of_an_unfinished_run_can_be_used(store: CacheReader, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(CONFIG, LIFTER, store, tmp_path, progress=stop_in_epoch_3)
    assert load_run(tmp_path).epoch in {1, 2, 3}


def test_a_directory_that_cannot_be_written_is_one_clear_error(
    store: CacheReader, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunWriteError, match=r"Cannot create the run directory .*Not a directory"):
        train(TrainConfig(epochs=1), LIFTER, store, tmp_path / "file" / "run")


def test_a_folder_that_is_no_folder_is_one_clear_error() -> None:
    with pytest.raises(RunWriteError, match=r"Cannot write /dev/full/best\.safetensors"):
        write_bytes(Path("/dev/full/best.safetensors"), b"weights")


def test_a_write_that_fails_half_way_leaves_the_older_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    write_bytes(path, b"older")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.lift.runs.rundir.os.fsync", full)
    with pytest.raises(RunWriteError, match=r"state\.pt: No space left on device. Free some space"):
        write_bytes(path, b"newer and longer")
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]
