"""The pages of the documentation, and what is in their fenced blocks.

A comment above a block says what tests do with it; readers do not see it:

    <!-- run -->                     its commands are run, in the page's order, in an empty folder
    <!-- run: --set train.steps=2 --> the same with words added; `small` stands for small sizes
    <!-- run exit 4 -->              the same, and the commands end with this code
    <!-- no-run: why -->             Python that tests do not execute
    <!-- tested-by: tests/... -->    Python that this file executes

A fence with `title="name"` is a file of that name.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?"
    r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$",
    flags=re.M | re.S,
)
_SHELLS = ("bash", "console")
_PERHAPS = ("sh", "")
_PROGRAMS = ("posecache", "make", "torchrun", "dask", "sbatch", "python", "pip")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    note: str
    """What the comment above it says."""

    def __str__(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{os.path.relpath(self.block.page, ROOT)}: {' '.join(self.words)}"


def pages() -> list[Path]:
    """Every page that is written by hand."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8") if text is None else text
    found = []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start("fence")) + 1
        note = match["note"] or ""
        found.append(Block(page, line, language, title and title[1], match["text"], note))
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block; of a script, the lines that start with one."""
    if block.language not in (*_SHELLS, *_PERHAPS):
        return
    for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
        is_command = block.language in _SHELLS or line.split(" ")[0] in _PROGRAMS
        words = shlex.split(line.removeprefix("$ "), comments=True) if is_command else []
        if words:
            yield Command(block, tuple(words))


def write_files(page: Path, folder: Path) -> None:
    """Writes the files that a page shows, as its reader does."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, "utf-8")


def inline_commands(page: Path) -> list[str]:
    """The texts in backticks that start with `posecache`."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return re.findall(r"`(posecache [^`\n]+)`", text)
