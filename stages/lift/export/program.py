"""Exported lifters as PyTorch programs: loaded with `torch.export.load`, without posecache."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from stages.lift.export.checks import Answer
from stages.lift.export.signature import Signature

METADATA_FILE = "posecache.json"
"""Name under which `torch.export.load(..., extra_files={name: ""})` finds the metadata."""


def program_bytes(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """Returns the content of a .pt2 file."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(
            program, file, extra_files={METADATA_FILE: json.dumps(metadata, sort_keys=True)}
        )
    return file.getvalue()


def program_answer(content: bytes, signature: Signature) -> Answer:
    """Returns what runs the program in `content`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.export.load(io.BytesIO(content)).module()

    def answer(inputs: Mapping[str, Any]) -> Any:
        with torch.no_grad():
            output = model(*(torch.from_numpy(inputs[port.name]) for port in signature.inputs))
        return output.numpy()

    return answer
