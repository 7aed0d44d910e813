"""Processes that train one run, through the command line."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from safetensors.numpy import load_file

from cache import CacheReader, FrameStatus
from stages.lift import LiftError
from stages.lift.processes.distributed import open_world
from tests.test_lift.launching import WATCHED, by_hand, torchrun, words
from tests.test_lift.stores import COMPRESSED, build_plan, write_store
from tests.test_pipeline.commands import CommandLine

SPLITS = {"train": 26, "validation": 9, "test": 8}
STORE = "synthetic-hrnet-synthetic.zarr"
TRAINING_ROWS = set(range(26)) - {5}
EXACTLY_ONE_LINE = 1


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of the same rows, many joints of which have no label; row 5 has no person."""
    folder = tmp_path_factory.mktemp("made")
    num_rows = sum(SPLITS.values())
    valid = np.random.default_rng(5).random((num_rows, 17)) < 0.6
    valid[:, 0] = True
    valid[-12:] = True
    plan = build_plan(SPLITS, valid=valid)
    for name, layout in (("raw", {"dtype": "float16"}), ("compressed", COMPRESSED)):
        write_store(
            folder / name / STORE, plan=plan, status={5: FrameStatus.NO_PERSON}, layout=layout
        )
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "raw", tmp_path / "data")
    return tmp_path


def folders(place: Path) -> list[Path]:
    """Return the run directories of a `runs_root`, which has an index beside them."""
    return [path for path in place.iterdir() if path.is_dir()]


def run_in(folder: Path) -> Path:
    (run,) = folders(folder / "runs")
    return run


def figures(run: Path) -> dict[str, Any]:
    """What two trainings are compared by: losses, errors, the choice, and both weights."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    weights = {}
    for name in ("best", "last"):
        for key, tensor in load_file(run / f"{name}.safetensors").items():
            weights[f"{name} {key}"] = tensor
            if key.endswith("qkv.bias"):
                # A softmax does not see the bias of the keys: its gradient is rounding alone, which
                # Adam scales up to whole steps.
                tensor.reshape(3, -1)[1] = 0.0
    return {
        "loss": np.array([entry["loss_mm"] for entry in log]),
        "validation": np.array([entry["validation_mpjpe_mm"] for entry in log]),
        "best": np.array([entry["best"] for entry in log]),
        "steps": np.array([entry["step"] for entry in log]),
        **weights,
    }


def require_same_training(found: Path, expected: Path) -> None:
    ours, theirs = figures(found), figures(expected)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=2e-5, atol=2e-5, err_msg=name)


def alone(posecache: CommandLine, folder: Path, *sets: str) -> Path:
    """The run of one process, beside those of several."""
    ended = posecache(*words(folder, f"runs_root={folder / 'alone'}", *sets))
    assert ended.code == 0, ended.err
    (run,) = folders(folder / "alone")
    return run


@pytest.mark.slow
def test_two_processes_train_the_run_of_one(folder: Path, posecache: CommandLine) -> None:
    several = torchrun(2, *words(folder), "--json")
    assert several.codes == [0], several.err
    answer = json.loads(several.out)  # one process speaks
    run = run_in(folder)
    assert answer["run_dir"] == str(run)
    assert set(answer["metrics"]["splits"]) == {"validation", "test"}
    assert json.loads((run / "run.json").read_text())["processes"] == 2
    require_same_training(run, alone(posecache, folder))


VARIANTS = {
    "3 processes, a last batch with an empty part": (3, "raw", ("train.batch_size=12",)),
    "5 processes, batches of two": (5, "raw", ("train.batch_size=2", "train.epochs=1")),
    "averaged, clipped, onecycle": (
        2,
        "raw",
        ("train.ema=0.9", "train.grad_clip=0.5", "train.schedule=onecycle"),
    ),
    "maps in memory": (2, "compressed", ("train.residency=host", "train.validation_flip=true")),
    "context of others, compressed": (3, "compressed", ("train.data.context=shuffled",)),
    "without context": (2, "raw", ("train.data.context=none", "train.select=last")),
    "pose only": (2, "raw", ("lifter.name=pose_only",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_several_processes_train_the_run_of_one(
    made: Path, tmp_path: Path, posecache: CommandLine, variant: str
) -> None:
    size, kind, sets = VARIANTS[variant]
    shutil.copytree(made / kind, tmp_path / "data")
    if "lifter.name=pose_only" in sets:
        options, sets = ("--lifter", "pose_only"), ()
    else:
        options = ()
    several = torchrun(size, *words(tmp_path, *sets), *options)
    assert several.codes == [0], several.err
    ended = posecache(*words(tmp_path, f"runs_root={tmp_path / 'alone'}", *sets), *options)
    assert ended.code == 0, ended.err
    (expected,) = folders(tmp_path / "alone")
    require_same_training(run_in(tmp_path), expected)


@pytest.mark.slow
def test_the_comparison_of_trainings_notices_losses_without_weights(
    folder: Path, posecache: CommandLine
) -> None:
    several = torchrun(2, *words(folder), program=(str(WATCHED),), FAULTS="forget_weights@all")
    assert several.codes == [0], several.err
    with pytest.raises(AssertionError, match="loss"):
        require_same_training(run_in(folder), alone(posecache, folder))


@pytest.mark.slow
@pytest.mark.parametrize("residency", ["disk", "host"])
def test_each_process_reads_only_its_rows(folder: Path, residency: str) -> None:
    several = torchrun(
        3,
        *words(folder, f"train.residency={residency}"),
        program=(str(WATCHED),),
        READS=str(folder),
    )
    assert several.codes == [0], several.err
    read = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]
    trained = [TRAINING_ROWS & set(rows) for rows in read]
    assert set.union(*trained) == TRAINING_ROWS
    assert sum(map(len, trained)) == len(TRAINING_ROWS)
    assert max(map(len, trained)) <= 9
    # Only the first goes on to evaluate the validation and the test split.
    assert all(not set(range(35, 43)) & set(rows) for rows in read[1:])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["die_when_validating@1", "die_before_the_state_of_epoch_2@0"])
def test_a_run_killed_and_started_again_ends_bit_identical(folder: Path, fault: str) -> None:
    sets = ("train.epochs=4", "train.ema=0.9", "lifter.drop_path=0.3")
    undisturbed = torchrun(2, *words(folder, f"runs_root={folder / 'undisturbed'}", *sets))
    assert undisturbed.codes == [0], undisturbed.err
    killed = torchrun(2, *words(folder, *sets), program=(str(WATCHED),), FAULTS=fault)
    assert killed.codes != [0]
    assert not (run_in(folder) / "last.safetensors").exists()
    assert (run_in(folder) / "state.pt").exists()
    again = torchrun(2, *words(folder, *sets))
    assert again.codes == [0], again.err
    (expected,) = folders(folder / "undisturbed")
    for name in ("best.safetensors", "last.safetensors", "run.json"):
        assert (run_in(folder) / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(folder: Path) -> None:
    assert torchrun(2, *words(folder)).codes == [0]
    again = torchrun(2, *words(folder), "--json")
    assert again.codes == [0], again.err
    assert json.loads(again.out)["up_to_date"] is True


@pytest.mark.slow
@pytest.mark.parametrize("launch", [torchrun, by_hand])
def test_bad_maps_in_one_process_end_all_with_one_error(folder: Path, launch: Any) -> None:
    location = folder / "data" / STORE
    rows = CacheReader(location).spec.num_rows
    assert rows == 43
    maps = zarr.open_array(location / "features" / "x8")
    maps[20] = np.nan
    ended = launch(2, *words(folder))
    assert ended.codes in ([1], [3, 3])  # torchrun says 1 whatever a process says
    assert ended.err.count("NotFiniteLoss") == EXACTLY_ONE_LINE, ended.err
    assert "its rows are not finite (store rows [20])" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_failing_process_ends_one_that_does_something_else(folder: Path, rank: int) -> None:
    faults = f"fail_when_validating@{rank} sleep_when_validating@{1 - rank}"
    ended = by_hand(2, *words(folder), FAULTS=faults)
    assert ended.codes[rank] == 1
    assert ended.codes[1 - rank] == 1
    assert ended.err.strip().splitlines()[0].endswith("No space left on device")
    assert "OtherProcessFailed" not in ended.err


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_with_one_error(folder: Path) -> None:
    ended = by_hand(3, *words(folder), FAULTS="die_when_validating@1")
    assert ended.codes == [3, -9, 3]
    assert ended.err.count("lost the others") == EXACTLY_ONE_LINE, ended.err
    assert "The same command goes on from the last saved epoch" in ended.err


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_ends_all_with_one_error(folder: Path) -> None:
    (folder / "runs").touch()
    ended = by_hand(2, *words(folder))
    assert ended.codes == [3, 3]
    assert ended.err.count("UnwritableTarget") == EXACTLY_ONE_LINE, ended.err


@pytest.mark.slow
def test_a_store_that_is_not_complete_is_not_extracted_by_several(folder: Path) -> None:
    shutil.rmtree(folder / "data" / STORE)
    ended = by_hand(2, *words(folder))
    assert ended.codes == [3, 3]
    assert ended.err.count("several processes do not extract it") == EXACTLY_ONE_LINE, ended.err
    assert "Run 'posecache extract' with the same options first" in ended.err


@pytest.mark.slow
def test_a_wrong_setting_is_said_once(folder: Path) -> None:
    ended = by_hand(2, *words(folder, "train.speed=11"))
    assert ended.codes[0] in {2, 3}
    assert ended.err.count("train.speed") == EXACTLY_ONE_LINE, ended.err


def test_processes_that_do_not_come_are_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, text in (place | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr("stages.lift.processes.distributed.MEETING_TIMEOUT", timedelta(seconds=1))
    message = rf"Process 0 of 2 could not meet the others at 127.0.0.1:{port}: .*same address"
    with pytest.raises(LiftError, match=message), open_world():
        pass


def test_other_commands_are_refused_under_torchrun(
    posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in ("demo", "ablate", "extract"):
        ended = posecache(command)
        assert ended.code == 2
        assert f"'posecache {command}' works in one process, but torchrun has" in ended.err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("pipeline.processes._GRACE_S", 0.0)
    ended = posecache("demo")
    assert (ended.code, ended.err) == (2, "")  # the first speaks


def test_a_half_set_environment_is_one_error(
    folder: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    ended = posecache(*words(folder))
    assert ended.code == 3
    assert "LiftError: The environment has RANK, but not WORLD_SIZE, LOCAL_RANK" in ended.err
