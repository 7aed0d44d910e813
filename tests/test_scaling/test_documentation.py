"""What docs/scale-out.md says beside its commands, which `tests/test_docs` checks."""

from __future__ import annotations

import ast
import re

import pytest

from tests.test_docs.pages import DOCS, blocks, commands

PAGE = DOCS / "scale-out.md"


def test_every_part_of_the_page_has_its_commands() -> None:
    found = [each for block in blocks(PAGE) for each in commands(block)]
    said = [" ".join(each.words[:3]) for each in found]
    for start in ("posecache extract", "posecache cache merge", "posecache cache subset", "dask "):
        assert any(each.startswith(start) for each in said)
    assert any("--part" in word for each in found for word in each.words)


def test_the_documented_slurm_jobs_are_jobs_of_dask_jobqueue() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    (example,) = (block.text for block in blocks(PAGE) if block.language == "python")
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
