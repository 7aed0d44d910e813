"""Pages that lie at the root of the repository and belong to the site, too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

_INCLUDED = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md"}

PAGE_OF = {
    **_INCLUDED,
    "benchmarks/results": "results.md",
    "benchmarks/results/step_profile-cpu.md": "results.md",
}
"""File or folder of the repository -> page of the site with its content."""

_ELSEWHERE = {"benchmarks/results/training_step-cpu.png": "docs/results/training_step-cpu.png"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def pages(root: Path) -> dict[str, str]:
    """Return path below docs/ -> markdown, with links as they are from there."""
    return {page: _moved((root / file).read_text("utf-8")) for file, page in _INCLUDED.items()}


def _moved(markdown: str) -> str:
    """Return text of the root as text of docs/; files that the site lacks are named, not linked."""

    def lead(found: re.Match[str]) -> str:
        picture, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        target = _ELSEWHERE.get(target, target)
        target = posixpath.join("docs", PAGE_OF[target]) if target in PAGE_OF else target
        if not target.startswith("docs/"):
            return f"{text} (`{target}`)"
        return f"{picture}[{text}]({target.removeprefix('docs/')}{anchor})"

    return _LINK.sub(lead, markdown)
