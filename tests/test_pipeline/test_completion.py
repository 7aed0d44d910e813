from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifter.registry import LIFTERS
from pipeline import completion
from pipeline.settings import shipped
from tests.test_pipeline.commands import CommandLine

SHELLS = ("bash", "zsh")


class Shell:
    """A shell that asks in this process what to offer at the end of some words."""

    def __init__(self, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._posecache, self._monkeypatch = posecache, monkeypatch

    def __call__(self, words: str, shell: str = "bash") -> list[str]:
        values = {
            "_POSECACHE_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
        }
        for name, value in values.items():
            self._monkeypatch.setenv(name, value)
        ended = self._posecache()
        assert (ended.code, ended.err) == (0, "")
        return ended.out.split()


@pytest.fixture
def asked(posecache: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(posecache, monkeypatch)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("posecache lif", ["lift"]),
        ("posecache cache re", ["recode"]),
        ("posecache extract --preset mpi-inf-3dhp-", ["mpi-inf-3dhp-paper", "mpi-inf-3dhp-w48"]),
        ("posecache extract --dataset stu", ["studio", "studio-detector"]),
        ("posecache lift --detector vitpose-", [f"vitpose-{size}" for size in "bhls"]),
        ("posecache lift --lifter pose_m", [name for name in LIFTERS if "pose_m" in name]),
        ("posecache ablate le", ["levels"]),
        ("posecache cache recode a b --codec z", ["zstd"]),
    ],
)
def test_bash_is_offered_commands_and_names(words: str, offered: list[str], asked: Shell) -> None:
    assert sorted(asked(words)) == sorted(offered)


def test_runs_and_stores_are_offered_from_the_folders_that_the_line_names(
    tmp_path: Path, asked: Shell
) -> None:
    for root in ("runs", "elsewhere"):
        run = tmp_path / root / f"{root}-capf-s0"
        run.mkdir(parents=True)
        (run / "metrics.json").write_text(json.dumps({}))
    (tmp_path / "runs" / "unfinished").mkdir()
    (tmp_path / "data" / "a.zarr").mkdir(parents=True)
    assert asked("posecache evaluate runs") == ["runs-capf-s0", "runs/runs-capf-s0"]
    there = asked("posecache evaluate --set runs_root=elsewhere else")
    assert there == ["elsewhere-capf-s0", "elsewhere/elsewhere-capf-s0"]
    assert asked("posecache cache info da") == ["data/a.zarr"]


def test_zsh_is_offered_the_same_names(asked: Shell) -> None:
    text = " ".join(asked("posecache extract --dataset stu", "zsh"))
    assert '"studio"' in text
    assert '"studio-detector"' in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_calls_back_with_our_variable(shell: str, tmp_path: Path) -> None:
    environment = {**os.environ, "_POSECACHE_COMPLETE": f"source_{shell}"}
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline"],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_POSECACHE_COMPLETE=complete_{shell}" in ended.stdout
    assert {"bash": "complete -o default", "zsh": "#compdef posecache"}[shell] in ended.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=ended.stdout, text=True, check=True)


def test_a_real_bash_completes_with_the_script(tmp_path: Path) -> None:
    script = f"""
posecache() {{ {sys.executable} -m pipeline "$@"; }}
export -f posecache
env() {{ command env "${{@:1:$#-1}}" {sys.executable} -m pipeline; }}
eval "$(_POSECACHE_COMPLETE=source_bash {sys.executable} -m pipeline)"
COMP_WORDS=(posecache extract --dataset stu); COMP_CWORD=3
_posecache_completion posecache
echo "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["studio", "studio-detector"]


def test_the_names_offered_are_all_that_there_are() -> None:
    assert completion.lifters("") == sorted(LIFTERS)
    for kind in ("presets", "datasets", "detectors", "ladders"):
        assert tuple(getattr(completion, kind)("")) == shipped(kind)


def test_completing_imports_nothing_heavy(tmp_path: Path) -> None:
    probe = (
        "import sys, atexit\n"
        "heavy = ('torch', 'numpy', 'zarr', 'rich', 'ruamel')\n"
        "atexit.register(lambda: print([n for n in heavy if n in sys.modules], file=sys.stderr))\n"
        "from pipeline.cli import main\nmain()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", probe],
        env={
            **os.environ,
            "_POSECACHE_COMPLETE": "complete_bash",
            "COMP_WORDS": "posecache lift --lifter ",
            "COMP_CWORD": "3",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "capf" in ended.stdout.split()
    assert ended.stderr.strip() == "[]"
