from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest

from pipeline.cli import interrupted
from pipeline.cli.interrupted import after_interrupt
from pipeline.commands import bench as bench_command
from tests.test_pipeline.command_tree import commands
from tests.test_pipeline.commands import CommandLine

MISTYPED = [
    ("extrct", "There is no command 'posecache extrct'; did you mean 'posecache extract'?"),
    ("cache lst", "no command 'posecache cache lst'; did you mean 'posecache cache list'?"),
    ("verify", "did you mean 'posecache cache verify'?"),
    ("cache lift", "did you mean 'posecache lift'?"),
    ("train", "did you mean 'posecache lift'?"),
    ("xyz", "There is no command 'posecache xyz'. There are: doctor, demo, "),
    ("extract --datset x", "posecache extract has no option '--datset'; did you mean '--dataset'?"),
    ("cache recode a b --codek raw", "did you mean '--codec'?"),
    ("lift --lr 1", "but there is a setting: --set train.lr=VALUE."),
    ("lift --batch-size 1", "but there is a setting: --set train.batch_size=VALUE."),
    ("lift --debug", "it comes first, posecache --debug lift ..."),
    ("--vresion", "posecache has no option '--vresion'; did you mean '--version'?"),
    ("--xyz", "posecache has no option '--xyz'. It has: --debug"),
    ("help", "There is no command 'posecache help'; did you mean 'posecache --help'?"),
    ("cache help", "did you mean 'posecache cache --help'?"),
    ("convert-checkpoint --xyz", "It has: --json, --help."),
]

WRONG = [
    (
        "compare",
        "posecache compare needs RUNS: run directories; the first is the base; for example",
    ),
    ("convert-checkpoint a", "posecache convert-checkpoint needs TARGET: new file, .safetensors;"),
    ("cache subset a --out b", "posecache cache subset needs --where: rows to take;"),
    ("extract synthetic", "unexpected extra argument(s) (synthetic); for example: posecache ext"),
    ("extract --workers x", "posecache extract: invalid value for '--workers'"),
    ("extract --dataset", "Option '--dataset' requires an argument: --dataset VALUE."),
    ("export --format onx", "posecache export: invalid value for '--format': 'onx' is not one of"),
    ("cache recode a b --dtype flot16", "'flot16' is not one of 'float32', 'float16', 'uint8'"),
]

CHOICES = [
    ("lift --lifter cpf", "there is no lifter 'cpf'; did you mean 'capf'?"),
    ("ablate laddr", "There is no ladder 'laddr'; did you mean 'ladder'? Known:"),
    ("config show --preset papr", "There is no preset 'papr'; did you mean 'paper'? Known:"),
    ("config show --dataset synthetc", "did you mean 'synthetic'?"),
    ("config show --detector ''", "There is no detector ''. Known: "),
    ("config show --detector hrnet-w23", "did you mean 'hrnet-w32'?"),
    ("config show --set trian.lr=1", "trian: unknown key; did you mean 'train'?"),
    ("config show --set train.lrr=1", "did you mean 'train.lr'?"),
    ("config show --set train=3", "train: holds settings, such as train."),
]


@pytest.mark.parametrize(("words", "said"), MISTYPED + WRONG, ids=lambda text: text[:40])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    words: str, said: str, posecache: CommandLine
) -> None:
    ended = posecache(*shlex.split(words))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("UsageError: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err


@pytest.mark.parametrize(("words", "said"), CHOICES, ids=lambda text: text[:40])
def test_a_mistyped_name_or_key_is_found_before_any_work(
    words: str, said: str, posecache: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = posecache(*shlex.split(words))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_run_gets_a_suggestion(posecache: CommandLine, tmp_path: Path) -> None:
    run = tmp_path / "studio-capf-s0"
    run.mkdir()
    (run / "metrics.json").write_text(json.dumps({}))
    ended = posecache("evaluate", "studio-cpaf-s0", "--set", f"runs_root={tmp_path}")
    assert ended.code == 3
    assert "there is no such run; did you mean 'studio-capf-s0'?" in ended.err


def test_the_texts_for_ctrl_c_name_commands_that_there_are() -> None:
    known = {" ".join(words) for words, _ in commands()}
    assert set(interrupted._LEFT) <= known


def test_ctrl_c_says_what_is_kept_or_that_nothing_is() -> None:
    assert "goes on from here" in after_interrupt(["lift"])
    assert "goes on from here" in after_interrupt(["cache", "recode"])
    assert "begins anew" in after_interrupt(["cache", "verify"])
    assert "begins anew" in after_interrupt(["doctor"])


def test_ctrl_c_in_a_command_that_keeps_nothing_does_not_promise_to_go_on(
    posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_command, "run_bench", interrupt)
    ended = posecache("bench")
    assert ended.code == 128 + signal.SIGINT
    assert ended.err == f"Stopped: {after_interrupt(['bench'])}\n"
    assert "goes on" not in ended.err


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_mistyped_benchmark_is_one_line_and_exit_code_2(
    as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench_command.run_bench(["cash_read"], quick=True, as_json=as_json) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("no benchmark cash_read; there are cache_read, ")
    assert len(said.err.splitlines()) == 1
