"""A picture of frames/s against batch size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plot_rates(rates: Mapping[str, Mapping[int, float]], path: Path, *, title: str) -> None:
    """Draw a line per contender that was measured at more than one batch size.

    Args:
        rates: frames/s by contender and batch size.
        path: of the picture, .png.
        title: what the lines have in common.
    """
    # It takes a second to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, by_batch in rates.items():
        if len(by_batch) > 1:
            points = sorted(by_batch.items())
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({size for by_batch in rates.values() for size in by_batch})
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    for ticker in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        ticker(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("batch size")
    axes.set_ylabel("training, frames/s")
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})
