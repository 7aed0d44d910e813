"""The lifter of a run as one file, checked before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lift.errors import LiftError
from stages.lift.export.checks import Agreement, check_answers
from stages.lift.export.graph import trace
from stages.lift.export.metadata import describe_export
from stages.lift.export.onnx_file import onnx_answer, onnx_bytes, require_onnx
from stages.lift.export.program import program_answer, program_bytes
from stages.lift.export.signature import MapDtype, Signature, signature_of
from stages.lift.runs.checkpoints import LoadedRun, load_run
from stages.lift.runs.rundir import write_bytes

ExportFormat = Literal["onnx", "program"]

SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "program": ".pt2"}


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how well it answers."""

    path: Path
    format: ExportFormat
    signature: Signature
    metadata: dict[str, Any]
    agreement: Agreement
    size_bytes: int


def export_run(
    run: LoadedRun | Path | str,
    path: Path | str | None = None,
    *,
    format: ExportFormat = "onnx",
    batch: int | None = None,
    map_dtype: MapDtype = "float32",
) -> Exported:
    """Writes the lifter of a run as an ONNX file or a `torch.export` program.

    It is one pass of the network: predictions of `evaluate` are, by default, the mean of this and
    of the pass over the mirrored view.

    Args:
        run: a run, or its directory, of which the best weights are taken.
        path: file to write; None: `lifter.onnx` or `lifter.pt2` in the run directory.
        format: `onnx`, or `program` for a .pt2 that `torch.export.load` reads.
        batch: samples of every call; None: any number.
        map_dtype: of the maps.

    Raises:
        NotExportable: the lifter cannot be exported, or a package is missing.
        ExportMismatch: what was exported does not answer as the lifter; nothing is written.
        RunWriteError: the file cannot be written.
    """
    run = run if isinstance(run, LoadedRun) else load_run(run)
    path = run.run_dir / f"lifter{SUFFIXES[format]}" if path is None else Path(path)
    if path.suffix != SUFFIXES[format]:
        raise LiftError(
            f"{path}: files of the format {format} end in {SUFFIXES[format]}. Rename it, or choose "
            "another format."
        )
    told, name = run.description, run.description.lifter.name
    signature = signature_of(told.lifter, told.trained_on, batch=batch, map_dtype=map_dtype)
    metadata = describe_export(run, signature)
    if format == "onnx":
        require_onnx()
    program = trace(run.model, signature, name=name)
    if format == "onnx":
        content = onnx_bytes(program, signature, metadata, name=name)
        answer = onnx_answer(content)
    else:
        content = program_bytes(program, metadata)
        answer = program_answer(content, signature)
    agreement = check_answers(run.model, signature, answer, batch=batch, what=f"{format} file")
    write_bytes(path, content)
    return Exported(path, format, signature, metadata, agreement, len(content))
