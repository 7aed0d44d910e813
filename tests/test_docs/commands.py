"""Checks commands as a shell and the program would, without running them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from pipeline.ablation.plan import plan_rows
from pipeline.cli import app
from pipeline.config import RunConfig, load_config
from stages.extract.datasets import DATASETS
from tests.test_docs.pages import ROOT

POSECACHE = typer.main.get_command(app)
LEFT_OUT = "..."
"""Stands for words that a page does not repeat."""
SHELL = (".", "cd", "cp", "git", "ls", "mkdir", "pip")
"""Programs of others, which are not looked at."""


def parse(command: Any, words: Sequence[str]) -> Any:
    """Return the context of the last sub-command, as the command line would parse it."""
    parent, words = None, list(words)
    while True:
        context = command.make_context(words[0], words[1:], parent=parent)
        if not hasattr(command, "resolve_command"):
            return context
        rest = [*context._protected_args, *context.args]
        _, command, remaining = command.resolve_command(context, rest)
        words, parent = [rest[0], *remaining], context


def check(words: Sequence[str]) -> None:
    """Raise if the command of a page cannot be given."""
    for command in posecache_commands(words):
        if LEFT_OUT in " ".join(command) or "|" in command:
            check_names(command)
        elif any(re.fullmatch(r"<\w+>", word) for word in command):
            parse(POSECACHE, command)
        else:
            config_of(command)


def posecache_commands(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the commands of this project in a command; launchers are parsed by themselves."""
    program, *rest = words
    if program == "posecache":
        yield list(words)
    elif program == "make":
        for line in make_recipe(rest):
            found = re.search(r"(?:^|/)(posecache .*)$", line)
            if found:
                yield shlex.split(found[1])
    elif program == "sbatch":
        wrapped = shlex.split(rest[-1])
        yield from posecache_commands([word for word in wrapped if word != "exec"])
    elif program == "torchrun":
        from torch.distributed.run import parse_args

        launch = parse_args(rest)
        assert (launch.module, launch.training_script) == (True, "pipeline")
        yield ["posecache", *launch.training_script_args]
    elif program == "dask":
        from distributed.cli.dask_scheduler import main as dask_scheduler
        from distributed.cli.dask_worker import main as dask_worker

        tool = {"scheduler": dask_scheduler, "worker": dask_worker}[rest[0]]
        tool.make_context(rest[0], list(rest[1:]))
    elif program == "python":
        assert rest[0] == "-m"
        if rest[1] == "pipeline":
            yield ["posecache", *rest[2:]]
        else:
            module = ROOT.joinpath(*rest[1].split("."))
            assert module.with_suffix(".py").exists() or rest[1] == "http.server", rest[1]
    elif program == "pytest":
        assert (ROOT / rest[0]).exists(), rest[0]
    else:
        assert program in SHELL, f"{program} is not a program that pages call"


def make_recipe(words: Sequence[str]) -> list[str]:
    """Return what `make` would run; raises for a target that does not exist."""
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile(), flags=re.M))
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert not is_variable or name in variables, f"make has no variable {name}"
    ended = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *words],
        cwd=ROOT,
        # Not with the variables of a `make` that runs these tests.
        env={**{k: v for k, v in os.environ.items() if k not in variables}, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def makefile() -> str:
    return (ROOT / "Makefile").read_text("utf-8")


def config_of(words: Sequence[str]) -> RunConfig:
    """Return the configuration that a command asks for; raises for what is unknown or wrong."""
    given = parse(POSECACHE, words).params
    named = ("dataset", "detector", "lifter", "ladder", "device")
    config = load_config(
        given.get("preset") or "default",
        **{name: given.get(name) for name in named},
        sets=given.get("sets") or (),
    )
    assert config.dataset.name in DATASETS
    if words[1] == "ablate":
        assert plan_rows(config)
    return config


def check_names(words: Sequence[str]) -> None:
    """Raise unless sub-commands and options exist; arguments may be left out.

    `a | b` are alternatives for the word before.
    """
    command, rest = POSECACHE, [word for word in words[1:] if word != LEFT_OUT]
    if rest and rest[0] == "|":  # any command, into another program
        return
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if len(rest) > 1 and rest[1] == "|":
            assert set(rest[::2]) <= set(command.commands), words
            return
        assert rest[0] in command.commands, f"posecache has no command {rest[0]!r}: {words}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {option for each in command.params for option in each.opts} | {"--help"}
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, f"no option {word} in {' '.join(words)}"
