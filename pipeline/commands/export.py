"""`posecache export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline.console import console, print_json
from pipeline.errors import UnwritableTarget
from pipeline.runs.directories import find_run
from stages.lift import RunWriteError
from stages.lift.export.run import ExportFormat, export_run
from stages.lift.export.signature import MapDtype, Port


def run_export(
    run: Path | None,
    *,
    out: Path | None,
    file_format: ExportFormat,
    batch: int | None,
    maps: MapDtype,
    as_json: bool,
) -> None:
    """Write the lifter of a run as one file and say how it is called."""
    run_dir = find_run(run, Path("runs"))
    if out is not None and not out.absolute().parent.is_dir():
        raise UnwritableTarget(f"{out}: its folder does not exist. Create it, or choose another.")
    try:
        made = export_run(run_dir, out, format=file_format, batch=batch, map_dtype=maps)
    except RunWriteError as error:
        why = getattr(error.__cause__, "strerror", None) or error
        raise UnwritableTarget(
            f"{out or run_dir}: cannot be written ({why}). Free some space, or name another file: "
            "--out FILE."
        ) from error
    if as_json:
        agreement = asdict(made.agreement)
        print_json(
            {
                "path": str(made.path),
                "format": made.format,
                "size_bytes": made.size_bytes,
                "agreement": {**agreement, "batches": list(made.agreement.batches)},
                "metadata": made.metadata,
            }
        )
        return
    screen = console()
    screen.print(f"{made.path}: {made.size_bytes / 1e6:.1f} MB", soft_wrap=True)
    for port in made.signature.inputs:
        screen.print(_line("in", port), soft_wrap=True, markup=False)
    screen.print(_line("out", made.signature.output), soft_wrap=True, markup=False)
    screen.print(
        f"checked on random inputs of {' and '.join(map(str, made.agreement.batches))} samples: at "
        f"most {1e3 * made.agreement.exported_m:.2g} mm from float64, the lifter itself "
        f"{1e3 * made.agreement.lifter_m:.2g} mm",
        soft_wrap=True,
    )


def _line(direction: str, port: Port) -> str:
    axes = ", ".join(map(str, port.axes))
    return f"{direction:<3} {port.name:<17} {port.dtype:<8} [{axes}]  {port.meaning}"
