"""The page about Python runs from top to bottom in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Returns the line and the code of every block of Python."""
    return [
        (text[: found.start(1)].count("\n"), found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]


def follow(text: str) -> dict[str, Any]:
    """Runs the blocks as a reader does, one after the other; lines of errors are the page's."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, code in python_blocks(text):
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)
    return names


@pytest.mark.slow
def test_the_page_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = follow(PAGE.read_text())
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tiny.zarr", "runs", "lifter.onnx"} <= written
    assert names["told"]["skeleton"]["joints"] == list(names["reader"].label_skeleton.joints)
    assert "24 ('plain',) ['x8', 'x16']" in capsys.readouterr().out


def test_a_page_that_is_wrong_is_noticed() -> None:
    with pytest.raises(AssertionError):
        follow("# Page\n\n```python\none = 1\n```\n\nand\n\n```python\nassert one == 2\n```\n")


def test_the_page_uses_public_names_only() -> None:
    code = "\n".join(block for _, block in python_blocks(PAGE.read_text()))
    assert len(python_blocks(PAGE.read_text())) >= 7
    assert not re.findall(r"(?:\.|import )_\w", code)
    homes = set(re.findall(r"^from (\S+) import", code, flags=re.MULTILINE))
    assert homes == {"cache", "cache.coords", "lifter", "lifter.ops", "stages.lift"}
