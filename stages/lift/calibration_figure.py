"""A picture of whether predicted scales say how far off joints are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stages.lift.figures import save_figure

_OURS, _PERFECT = "#1f78b4", "#9a9a9a"


def plot_calibration(uncertainty: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Writes predicted against observed errors and the coverage, as `calibration` returns them."""
    figure = Figure(figsize=(9.0, 4.9), layout="constrained")
    figure.suptitle(title)
    errors, coverage = figure.subplots(1, 2)
    predicted = [each["predicted_mm"] for each in uncertainty["bins"]]
    observed = [each["observed_mm"] for each in uncertainty["bins"]]
    most = 1.05 * max(*predicted, *observed)
    errors.plot([0, most], [0, most], "--", color=_PERFECT, label="as predicted")
    errors.plot(predicted, observed, "o-", color=_OURS, label="tenths of the joints")
    errors.set_xlabel("predicted error [mm]")
    errors.set_ylabel("observed error [mm]")
    errors.set_xlim(0, most)
    errors.set_ylim(0, most)
    rank = uncertainty["spearman"]
    errors.set_title(
        f"off by {uncertainty['expected_calibration_error_mm']:.1f} mm,"
        f" rank correlation {'-' if rank is None else f'{rank:.2f}'}",
        fontsize="medium",
    )
    levels = [100 * each["level"] for each in uncertainty["coverage"]]
    shares = [100 * each["observed"] for each in uncertainty["coverage"]]
    coverage.plot([0, 100], [0, 100], "--", color=_PERFECT, label="as predicted")
    coverage.plot([0, *levels], [0, *shares], "o-", color=_OURS, label="joints")
    coverage.set_xlabel("joints that should be within their radius [%]")
    coverage.set_ylabel("joints that are [%]")
    coverage.set_xlim(0, 100)
    coverage.set_ylim(0, 100)
    coverage.set_title(
        f"best scales: {uncertainty['best_factor']:.2f} times these", fontsize="medium"
    )
    for axes in (errors, coverage):
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper left")
    save_figure(figure, path)
