"""Every command of every page is one of this project, with options and settings that exist."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.test_docs.commands import check, check_names
from tests.test_docs.examples import add_glance, add_posed
from tests.test_docs.pages import (
    ROOT,
    Command,
    blocks,
    commands,
    inline_commands,
    pages,
    write_files,
)


def all_commands() -> list[Command]:
    return [each for page in pages() for block in blocks(page) for each in commands(block)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; the tutorial's adapter and lifter are known."""
    (tmp_path / "modules").mkdir()
    add_posed(tmp_path / "modules", monkeypatch)
    add_glance(tmp_path / "modules", monkeypatch)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_given_and_their_settings_are_valid(page: Path, folder: Path) -> None:
    write_files(page, folder)
    wrong = []
    for command in [each for block in blocks(page) for each in commands(block)]:
        try:
            check(command.words)
        except (Exception, SystemExit) as error:
            wrong.append(f"line {command.block.line}, {command}: {error}")
    assert not wrong, "\n".join(wrong)


WRONG_ON_PURPOSE = ROOT / "docs" / "errors.md"
"""Shows what the program answers to mistyped commands; its own tests give them."""


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if page != WRONG_ON_PURPOSE],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_in_sentences_have_names_and_options_that_exist(page: Path) -> None:
    for text in inline_commands(page):
        check_names(["posecache", *(word for word in shlex.split(text)[1:] if word != "COMMAND")])


def test_the_collector_finds_commands_of_all_kinds() -> None:
    programs = {command.words[0] for command in all_commands()}
    assert programs >= {"posecache", "make", "torchrun", "dask", "sbatch", "pip"}
    named = {command.words[1] for command in all_commands() if command.words[0] == "posecache"}
    assert named >= {"extract", "lift", "evaluate", "ablate", "compare", "list-runs", "cache"}


@pytest.mark.parametrize(
    "line",
    [
        "posecache extract --workerz 2",
        "posecache extrakt",
        "posecache extract --workers 0",
        "posecache cache merge a.zarr",
        "posecache extract --dataset humann36m",
        "posecache lift --set train.stepz=3",
        "posecache lift --set train.steps=-3",
        "posecache ablate ladderz",
        "posecache extract ... --repairs",
        "posecache cache subset | murge",
        "make extrakt",
        "make extract DATASETS=synthetic",
        "make lift LIFTER=capf ARGS='--steps 3'",
        "python -m benchmarks.cash_read",
        "python -m pipeline extrakt",
        "torchrun --nproc-per-node 2 -m pipeline lift --devize cuda",
        "sbatch --wrap 'exec posecache extract --parts 1/8'",
        "dask worker tcp://HOST:8786 --nworkerz 4",
        "dusk worker",
    ],
)
def test_a_planted_error_in_a_page_is_noticed(line: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(f"# Page\n\n```bash\n{line}\n```\n", "utf-8")
    (found,) = (each for block in blocks(page) for each in commands(block))
    with pytest.raises((Exception, SystemExit)):
        check(found.words)
