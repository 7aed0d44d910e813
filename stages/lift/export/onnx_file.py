"""Exported lifters as ONNX: the only file of stage 2 that speaks to onnx and onnxruntime."""

from __future__ import annotations

import importlib
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from stages.lift.errors import NotExportable
from stages.lift.export.checks import Answer
from stages.lift.export.graph import first_line
from stages.lift.export.metadata import METADATA_KEY
from stages.lift.export.signature import Signature

OPSET = 20
"""The first that has both GELU and today's GridSample; onnxruntime has it since 1.17."""

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raises NotExportable, with the command that helps, where a package is missing."""
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise NotExportable(
                f"Exporting to ONNX needs {name}. Install it: pip install -c constraints.txt "
                "-e '.[onnx]', or export with --format program, which needs torch only."
            ) from error


def onnx_bytes(
    program: ExportedProgram, signature: Signature, metadata: Mapping[str, Any], *, name: str
) -> bytes:
    """Returns an ONNX file; the changing axes have the names of the signature.

    Raises:
        NotExportable: the graph has a step that ONNX lacks, or a package is missing.
    """
    require_onnx()
    try:
        with _quietly():
            exported = torch.onnx.export(
                program,
                (),
                input_names=[port.name for port in signature.inputs],
                output_names=[signature.output.name],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise NotExportable(
            f"The lifter {name} cannot be written as ONNX: {first_line(error)} Export it with "
            "--format program."
        ) from error
    assert exported is not None
    model = exported.model_proto
    _name_axes(model, signature)
    # Where the steps came from in the source: of no use to who runs them, and paths of a machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    for key, value in ((METADATA_KEY, json.dumps(metadata, sort_keys=True)),):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def onnx_answer(content: bytes, *, threads: int | None = None) -> Answer:
    """Returns what runs the ONNX file `content` with onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))[0]


def _name_axes(model: Any, signature: Signature) -> None:
    """Gives the symbols of changing sizes the names of the signature, wherever they stand."""
    names: dict[str, str] = {}
    for port, found in zip(signature.inputs, model.graph.input, strict=True):
        for axis, dim in zip(port.axes, found.type.tensor_type.shape.dim, strict=True):
            if isinstance(axis, str) and dim.dim_param:
                names[dim.dim_param] = axis
    if not names:
        return
    symbols = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbols.sub(lambda match: names[match[1]], dim.dim_param)


@contextmanager
def _quietly() -> Iterator[None]:
    """Hides the exporter's notices of packages that lifters do not need."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
