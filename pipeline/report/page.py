"""The html of a page; only this file knows jinja2 and plotly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

_TEMPLATES = Path(__file__).parent / "templates"
_PAGE, _STYLE, _SCRIPT = "report.html", "style.css", "page.js"


def require_packages() -> None:
    """Raise PipelineError naming the extra, if a package that pages are made with is missing."""
    try:
        import jinja2
        import plotly.offline
    except ImportError as error:
        raise PipelineError(
            f"report needs the package {error.name}, which is not installed. "
            "Install it with: pip install 'posecache[report]'."
        ) from error
    assert jinja2
    assert plotly.offline


def render(content: Mapping[str, Any]) -> str:
    """Return the page of `content`, whole: nothing in it refers to another file or a network.

    Texts are escaped by jinja2, data by its `tojson`. Raises PipelineError as `require_packages`.
    """
    require_packages()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_PAGE).render(
        **content,
        style=Markup((_TEMPLATES / _STYLE).read_text("utf-8")),
        script=Markup((_TEMPLATES / _SCRIPT).read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
    )
