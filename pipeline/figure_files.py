"""Figures as PNG files."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.runs.directories import write_bytes


def write_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure whole or not at all; raises UnwritableTarget."""
    # Without pyplot there is no global state and no display is looked for.
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    write_bytes(path, buffer.getvalue())
