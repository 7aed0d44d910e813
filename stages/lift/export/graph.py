"""A lifter as a graph of tensors by name, without our own ops."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lifter.models.base import prediction
from stages.lift.errors import NotExportable
from stages.lift.export.sampling import decompositions
from stages.lift.export.signature import (
    KEYPOINTS,
    REFERENCES,
    WINDOW_ROWS,
    Signature,
    random_inputs,
)

_TRACED_BATCH = 3
"""Samples of the inputs that are traced: not 1, which would be taken for a size that stays."""


class NamedLifter(nn.Module):
    """A lifter that is called with the inputs of a signature, in its order."""

    def __init__(self, model: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.model = model
        self._names = tuple(port.name for port in signature.inputs)
        self._map_names = signature.map_names

    def forward(self, *tensors: Tensor) -> Tensor:  # [B, J, 3], or [B, F, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
        given = dict(zip(self._names, tensors, strict=True))
        points = given[KEYPOINTS]
        maps = [given[name].to(points.dtype) for name in self._map_names]
        more = {"window_rows": given[WINDOW_ROWS]} if WINDOW_ROWS in given else {}
        return prediction(self.model(points, given.get(REFERENCES), maps or None, **more))


def trace(model: nn.Module, signature: Signature, *, name: str) -> ExportedProgram:
    """Returns the graph of a lifter in evaluation mode, of PyTorch's own operators only.

    Raises:
        NotExportable: the lifter does something that no graph holds; the message has its reason.
    """
    inputs = random_inputs(signature, batch=_TRACED_BATCH, seed=0)
    dynamic = [
        {axis: Dim.DYNAMIC for axis, size in enumerate(port.axes) if isinstance(size, str)}
        for port in signature.inputs
    ]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # What PyTorch says of its own internals while it traces is of no use to anybody here.
            warnings.simplefilter("ignore")
            program = torch.export.export(
                NamedLifter(model, signature).eval(),
                tuple(torch.from_numpy(inputs[port.name]) for port in signature.inputs),
                dynamic_shapes=(tuple(dynamic),),
                strict=False,
            )
            plain: ExportedProgram = program.run_decompositions(dict(decompositions()))
    except Exception as error:
        raise NotExportable(
            f"The lifter {name} cannot be exported: {first_line(error)} A lifter that is exported "
            "must do the same steps for every input and take sizes from tensor.shape, not len()."
        ) from error
    return plain


def first_line(error: BaseException) -> str:
    """Returns the kind of an error and the first line of what it says."""
    said: Sequence[str] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {said[0].rstrip('.') if said else 'no reason given'}."
