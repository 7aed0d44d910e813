from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_pipeline.command_tree import commands, option_names
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.written_runs import write_run

ROOT = Path(__file__).parents[2]
ALWAYS_JSON = {("config", "schema")}
TINY = ["lifter.width=8", "lifter.depth=1", "lifter.deform_heads=2", "train.steps=2"]


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_every_command_reports_as_json_on_request(words: tuple[str, ...]) -> None:
    assert words in ALWAYS_JSON or "--json" in option_names(dict(commands())[words])


@pytest.fixture
def scene(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, a copy of it, two written runs and a checkpoint."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store, tmp_path / "data" / "copy.zarr")
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", lifter="pose_only", test_mm=(60.0, 61.0, 62.0))
    torch.save({"state_dict": {"w": torch.zeros(2)}}, tmp_path / "w.pth")
    return tmp_path


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.mark.usefixtures("scene", "drawn")
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["doctor"], "findings"),
        (["config", "schema"], "properties"),
        (["config", "show"], "origins"),
        (["list-runs"], None),
        (["compare", "a", "b"], "runs"),
        (["convert-checkpoint", "w.pth", "w.safetensors"], "file"),
        (["cache", "list"], None),
        (["cache", "info", "data/made.zarr"], "levels"),
        (["cache", "verify", "data/made.zarr"], "problems"),
        (["cache", "diff", "data/made.zarr", "data/copy.zarr", "--values"], "equal"),
        (["cache", "recode", "data/made.zarr", "data/out.zarr", "--codec", "zstd"], "target"),
        (["cache", "merge", "data/made.zarr", "--out", "data/out.zarr"], "ok"),
        (
            ["cache", "subset", "data/made.zarr", "--out", "o.zarr", "--where", "split=test"],
            "num_rows",
        ),
        (["cache", "sample", "data/made.zarr", "--out", "p.zarr"], "target"),
        (["cache", "gc"], "leftovers"),
        (["cache", "show", "data/made.zarr", "--out", "row.png"], "row"),
        (["lift", "--dry-run", *sets("store=data/made.zarr", "dataset.name=drawn")], "store"),
        (["lift", *sets("store=data/made.zarr", "dataset.name=drawn", *TINY)], "metrics"),
        (["ablate", "--dry-run", *sets("store=data/made.zarr", "dataset.name=drawn")], "runs"),
        (["demo", "--dry-run", *sets("store=data/made.zarr", "dataset.name=drawn")], "runs"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else str(value),
)
def test_the_standard_output_is_one_json_document_and_nothing_else(
    words: list[str], key: str | None, posecache: CommandLine
) -> None:
    again = [] if tuple(words[:2]) in ALWAYS_JSON else ["--json"]
    ended = posecache(*words, *again)
    assert ended.out, ended.err
    content: Any = json.loads(ended.out)
    assert key is None or key in content, sorted(content)


@pytest.mark.slow
def test_a_benchmark_prints_its_rows_as_json_and_its_table_elsewhere() -> None:
    words = [sys.executable, "-m", "pipeline", "bench", "--quick", "--json", "ledger"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    content = json.loads(ended.stdout)
    assert content["ok"]
    assert content["quick"]
    assert {"title", "work", "contender", "value", "unit"} <= content["rows"][0].keys()
    assert "commit ledger" in ended.stderr
