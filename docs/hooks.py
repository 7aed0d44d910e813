"""What mkdocs calls in a build: adds the generated pages, and leads links out of docs/ to pages.

Pages name files of the repository by their relative path, as code hosts understand it
(`../CONTRIBUTING.md`); of those that are pages of the site, too, the links are changed.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.generators import commands, included, results, settings

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")


def generated_pages() -> dict[str, str]:
    """Return path below docs/ -> markdown of every page that is not written by hand."""
    return {
        "reference/commands.md": commands.page(),
        "reference/settings.md": settings.page(),
        "results.md": results.page(),
        **included.pages(ROOT),
    }


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the pictures of benchmarks."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    for picture in results.pictures():
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return the page with its links to repository files led to the site's pages."""
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, path: str) -> str:
    """Return `markdown` of the page at `path` with links to files that are pages, too, changed."""
    folder = posixpath.dirname(posixpath.join("docs", path))

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        new = included.PAGE_OF.get(target)
        return found[1] if new is None else posixpath.relpath(posixpath.join("docs", new), folder)

    return _LINK.sub(lead, markdown)
