"""The result of a comparison as text, on the screen and in a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.ablation.comparison import RESULT_FILE
from pipeline.ablation.savings import savings_text
from pipeline.ablation.tables import comparison_table, difference_table, tuning_table
from pipeline.console import PLAIN_WIDTH
from pipeline.runs.directories import write_text
from pipeline.runs.tables import detector_error_table, seconds_text

TEXT_FILE = "comparison.txt"


def write_shown(result: dict[str, Any]) -> None:
    """Write what `show` prints beside the other files of a result, and name it among them.

    Raises UnwritableTarget.
    """
    path = Path(result["files"][RESULT_FILE]).with_name(TEXT_FILE)
    result["files"][TEXT_FILE] = str(path)
    text = io.StringIO()
    show(Console(file=text, width=PLAIN_WIDTH, highlight=False), result)
    write_text(path, text.getvalue())


def show(screen: Console, result: Mapping[str, Any]) -> None:
    """Print the tables of a comparison, what it took and saved, and its files."""
    if result["rows"][0]["tuning"]:
        screen.print(tuning_table(result))
    screen.print(comparison_table(result))
    if result["differences"]:
        screen.print(difference_table(result))
    if result["keypoint_errors"]:
        screen.print(detector_error_table(result["keypoint_errors"]))
    screen.print(savings_text(result["saved"]), soft_wrap=True)
    screen.print(f"time: {seconds_text(result['seconds'])}", soft_wrap=True)
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in result["rates"].items())
    screen.print(f"frames/s: {rates} (each on one of {result['workers']} workers)", soft_wrap=True)
    for picture in result["pictures"]:
        screen.print(f"picture: {picture}", soft_wrap=True)
    for path in result["files"].values():
        screen.print(f"result: {path}", soft_wrap=True)
