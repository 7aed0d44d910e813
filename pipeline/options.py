"""The options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import completion

Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        "-p",
        help="Shipped preset, or the path of a YAML file.",
        autocompletion=completion.presets,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Dataset; the preset's own if not given.",
        autocompletion=completion.datasets,
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="Detector; the dataset's default if not given.",
        autocompletion=completion.detectors,
    ),
]
Lifter = Annotated[
    str | None,
    typer.Option(
        "--lifter",
        help="Lifter, e.g. capf, or pose_only, which sees 2D joints only.",
        autocompletion=completion.lifters,
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="Torch device, e.g. cpu or cuda.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Any config key; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="A frame that cannot be read is an error.")]
