"""Pages are done as a reader does them: top to bottom, in an empty folder, in small sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs.examples import add_glance, add_posed, write_hall, write_posed
from tests.test_docs.pages import DOCS, ROOT, blocks, pages
from tests.test_docs.running import execute, is_run_here, run_page
from tests.test_extract.layouts.people import write_picture
from tests.test_lift.stores import LevelSpec, write_store
from tests.test_pipeline.commands import CommandLine

LEVELS = tuple(
    LevelSpec(name=f"x{stride}", channels=4, height=32 // stride, width=32 // stride, stride=stride)
    for stride in (4, 8, 16, 32)
)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def is_marked(page: Path) -> bool:
    return any(block.note.startswith("run") for block in blocks(page))


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader is, with data of his own and the tutorial's two modules in place."""
    (tmp_path / "modules").mkdir()
    add_posed(tmp_path / "modules", monkeypatch)
    add_glance(tmp_path / "modules", monkeypatch)
    here = tmp_path / "here"
    write_posed(here / "posed")
    write_hall(here / "videos")
    write_picture(here / "photo.jpg", (160, 120), seed=0)
    monkeypatch.chdir(here)
    return here


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages() if is_marked(page)], ids=named)
def test_a_page_can_be_followed(page: Path, folder: Path, posecache: CommandLine) -> None:
    assert run_page(page, folder, posecache)
    if (folder / "predictions").exists():
        read_predictions("photo")


def read_predictions(name: str) -> None:
    """Read the files of `posecache predict` as predict.md does."""
    (block,) = (each for each in blocks(DOCS / "predict.md") if each.language == "python")
    assert "predictions/walk/" in block.text
    names: dict[str, Any] = {}
    execute(replace(block, text=block.text.replace("/walk/", f"/{name}/")), names)
    assert names["joints_mm"].shape[1:] == (17, 3)
    assert names["about"]["units"]["joints_3d_mm"]


def test_every_page_of_the_tutorial_is_followed() -> None:
    marked = {named(page) for page in pages() if is_marked(page)}
    assert {named(page) for page in pages() if "/tutorial/" in str(page)} <= marked


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<!-- run -->\n```bash\nposecache cache info nowhere.zarr\n```\n", "cache info nowhere"),
        ("<!-- run exit 4 -->\n```bash\nposecache list-runs\n```\n", "list-runs"),
    ],
)
def test_a_command_that_ends_otherwise_than_said_is_noticed(
    text: str, seen: str, folder: Path, posecache: CommandLine
) -> None:
    page = folder / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=seen):
        run_page(page, folder, posecache)


@pytest.mark.parametrize("page", pages(), ids=named)
def test_python_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [block for block in blocks(page) if is_run_here(block)]
    if not found:
        return
    path = tmp_path / "data" / "synthetic-hrnet-synthetic.zarr"
    write_store(path, {"train": 96, "test": 16}, levels=LEVELS)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in found:
        execute(block, names)


@pytest.mark.parametrize("page", pages(), ids=named)
def test_python_that_is_not_run_says_why_or_by_whom(page: Path) -> None:
    for block in blocks(page):
        if block.language != "python" or block.title or is_run_here(block):
            continue
        kind, _, rest = block.note.partition(": ")
        assert kind in ("no-run", "tested-by"), f"{block}: {block.note}"
        assert rest, f"{block}: say why"
        if kind == "tested-by":
            assert page.name in (ROOT / rest).read_text("utf-8"), f"{rest} does not name the page"
