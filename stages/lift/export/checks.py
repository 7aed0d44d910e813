"""Whether an exported lifter answers as the lifter does: error against error."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.lift.errors import ExportMismatch
from stages.lift.export.graph import NamedLifter
from stages.lift.export.signature import Signature, random_inputs

Answer = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]

CHECKED_BATCHES = (1, 4)
_TOLERANCE = 1e-5
"""Of the largest coordinate, or of a metre: a hundredth of a millimetre."""


@dataclass(frozen=True)
class Agreement:
    """Largest errors to the lifter in float64, metres."""

    exported_m: float
    lifter_m: float
    batches: tuple[int, ...]


def check_answers(
    model: nn.Module,
    signature: Signature,
    answer: Answer,
    *,
    batch: int | None = None,
    what: str = "exported lifter",
) -> Agreement:
    """Returns how far what was exported is from the lifter, on random inputs of several sizes.

    Args:
        model: the lifter, float32, in evaluation mode.
        signature: how both are called.
        answer: runs what was exported, by names of inputs.
        batch: samples of every call; None: any number.
        what: of the error message.

    Raises:
        ExportMismatch: its error to the lifter in float64 is more than twice that of the lifter in
            float32, and more than rounding explains.
    """
    exact = copy.deepcopy(model).double()
    batches = CHECKED_BATCHES if batch is None else (batch,)
    worst = Agreement(0.0, 0.0, batches)
    for seed, size in enumerate(batches):
        inputs = random_inputs(signature, batch=size, seed=seed + 1)
        truth = _called(exact, signature, inputs, torch.float64)
        own = _called(model, signature, inputs, torch.float32)
        exported = np.asarray(answer(inputs), dtype=np.float64)
        if exported.shape != truth.shape:
            raise ExportMismatch(
                f"The {what} returns {list(exported.shape)} for {size} samples, the lifter "
                f"{list(truth.shape)}. Nothing was written."
            )
        errors = float(np.abs(exported - truth).max()), float(np.abs(own - truth).max())
        allowed = 2 * errors[1] + _TOLERANCE * max(1.0, float(np.abs(truth).max()))
        if not errors[0] <= allowed:
            raise ExportMismatch(
                f"The {what} is up to {1e3 * errors[0]:.3g} mm from the lifter on random inputs of "
                f"{size} samples, of which rounding explains {1e3 * allowed:.3g}. Nothing was "
                "written. Try other versions of torch and onnxruntime."
            )
        worst = Agreement(max(worst.exported_m, errors[0]), max(worst.lifter_m, errors[1]), batches)
    return worst


def _called(
    model: nn.Module,
    signature: Signature,
    inputs: Mapping[str, NDArray[Any]],
    dtype: torch.dtype,
) -> NDArray[np.float64]:
    tensors = (torch.from_numpy(inputs[port.name]) for port in signature.inputs)
    given = [each.to(dtype) if each.is_floating_point() else each for each in tensors]
    with torch.no_grad():
        output = NamedLifter(model, signature).eval()(*given)
    answer: NDArray[np.float64] = output.double().numpy()
    return answer
