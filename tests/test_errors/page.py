"""`docs/errors.md` from what the commands say: python -m tests.test_errors.page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.test_errors.made import command, make
from tests.test_errors.place import Place
from tests.test_errors.table import TABLE
from tests.test_errors.wrong import Wrong

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_HEAD = """# What errors say

Every command ends with 0 when it has done what was asked. Otherwise it writes one message to the
standard error: what is wrong, where, and what to do next. Nothing half-written stays behind.
`posecache --debug COMMAND ...` shows the traceback instead, unless it is the command line itself
that is wrong (`UsageError`).

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | unexpected: an error of ours |
| 2 | the command line or the configuration is wrong; all wrong keys are named at once |
| 3 | data, files, disks: something is missing, damaged or cannot be written |
| 4 | a store of another detector, crop, dataset or format than what is asked of it |
| 128 + n | ended by signal n: 130 by Ctrl-C, 141 where nobody reads its output any more |

This page is written by `python -m tests.test_errors.page`, which gives each command what is wrong;
the tests do so again and compare. Paths are relative to the folder that the command runs in.
"""


def message(err: str, root: Path) -> str:
    """What was said, without the folder that the command ran in."""
    return err.replace(f"{root}/", "").strip()


def row(wrong: Wrong, said: str) -> str:
    """The line of the page."""
    lines = [f"`{line.strip()}`" for line in _escaped(said).splitlines()]
    shown = f"`posecache {_escaped(wrong.words)}`"
    return f"| {wrong.name}<br>{shown} | {'<br>'.join(lines)} | {wrong.code} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def run(wrong: Wrong, place: Place) -> tuple[int, str, str]:
    """Make what is wrong, and run the command in that folder; exit code, output, errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.root)
        wrong.while_it_runs(patch)
        return command(wrong.words)


def write_page() -> None:
    """Run every command of the table and write the page."""
    parts = [_HEAD]
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        for title, entries in TABLE.items():
            lines = [f"\n## {title}\n", "| input | message | code |", "|---|---|---|"]
            for wrong in entries:
                root = Path(tempfile.mkdtemp(dir=folder))
                place = Place(root, made)
                wrong.given(place)
                _, _, err = run(wrong, place)
                place.close()
                lines.append(row(wrong, message(err, root)))
            parts.append("\n".join(lines) + "\n")
    PAGE.write_text("".join(parts))


if __name__ == "__main__":
    write_page()
