"""The commands of docs/scale-out.md are commands of this project and of the Dask installed here."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker
from torch.distributed.run import parse_args

from pipeline.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "scale-out.md").read_text()
POSECACHE = typer.main.get_command(app)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Words of every command of the page, also of those inside `sbatch --wrap` and backticks."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line]
    lines += re.findall(r"`((?:posecache|CUDA_VISIBLE_DEVICES=1 dask) .*?)`", PAGE)
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] == "sbatch":
            words = shlex.split(words[-1])
        skipped = ("exec", "CUDA_VISIBLE_DEVICES=1")
        found.append([word for word in words if word not in skipped])
    return found


def parse(command: Any, words: list[str]) -> None:
    """Parse words as the command line would, down to the last sub-command; run nothing."""
    parent = None
    while True:
        context = command.make_context(words[0], words[1:], parent=parent)
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        _, command, remaining = command.resolve_command(context, rest)
        words, parent = [rest[0], *remaining], context


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_documented_command_parses(words: list[str]) -> None:
    if words[0] == "dask":
        tool = {"scheduler": dask_scheduler, "worker": dask_worker}[words[1]]
        tool.make_context(words[1], words[2:])
    else:
        if words[0] == "torchrun":
            launch = parse_args(words[1:])
            assert (launch.module, launch.training_script) == (True, "pipeline")
            words = ["posecache", *launch.training_script_args]
        assert words[0] == "posecache"
        parse(POSECACHE, words)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for line in ("extract --workerz 2", "extrakt", "cache merge a.zarr", "extract --workers 0"):
        with pytest.raises(Exception, match=r".") as caught:
            parse(POSECACHE, ["posecache", *line.split()])
        assert type(caught.value).__name__ in (
            "NoSuchOption",
            "UsageError",
            "MissingParameter",
            "BadParameter",
        )
    with pytest.raises(click.UsageError):
        dask_worker.make_context("worker", ["--nprocs-of-old", "2"])


def test_every_part_of_the_page_has_its_commands() -> None:
    said = [" ".join(words[:3]) for words in commands()]
    for start in ("posecache extract", "posecache cache merge", "posecache cache subset", "dask "):
        assert any(each.startswith(start) for each in said)
    assert "--part" in str(commands())


def test_the_documented_slurm_jobs_are_jobs_of_dask_jobqueue() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    (example,) = blocks("python")
    made = next(
        node.value
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
    )
    options = {each.arg: ast.literal_eval(each.value) for each in made.keywords if each.arg}
    scheduler = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with jobqueue.SLURMCluster(**options, scheduler_options=scheduler) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --gres=gpu:1" in script
    assert "#SBATCH -t 04:00:00" in script
    assert re.search(r"distributed\.cli\.dask_worker tcp://\S+ .*--nthreads 2 ", script)
    assert "cd /shared/posecache" in script
