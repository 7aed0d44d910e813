"""Frozen batch norms folded into the convolutions before them: the same function, fewer passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.extract.detectors.base import DetectorError

TOLERANCE = 1e-4
"""Largest change of an output, relative to its largest magnitude; rounding stays far below."""


def fold_norms(
    model: nn.Module,
    forward: Callable[[Tensor], Any],
    example: Tensor,
    *,
    keep: Collection[str] = (),
) -> int:
    """Fold what certainly can be folded, in place, and return how many norms that are.

    A norm is folded if in one forward pass it runs once, on the output of a `Conv2d` that runs once
    and whose output nothing else reads. Norms become identities; their modules keep their names.

    Args:
        model: in eval mode, with float32 weights.
        forward: what is called with `example`.
        example: normalised crops [B, 3, H, W].
        keep: names of modules whose outputs are read from outside and must not change.

    Raises:
        DetectorError: the network's answer or an output of `keep` changed by more than rounding.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return 0
    read = [model.get_submodule(name) for name in keep]
    before = _outputs(forward, example, read)
    pairs = _find_pairs(model, forward, example, keep)
    for conv_name, norm_name in pairs:
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(model, norm_name, nn.Identity())
    model.eval()
    model.requires_grad_(False)
    read = [model.get_submodule(name) for name in keep]
    for old, new in zip(before, _outputs(forward, example, read), strict=True):
        scale = float(old.abs().max().clamp_min(1e-30))
        change = float((new - old).abs().max()) / scale
        if not change <= TOLERANCE:  # also where it is not a number
            raise DetectorError(
                f"Folding {len(pairs)} batch norms into their convolutions changes what the network"
                f" says by {change:.1e} of its largest value, more than rounding ({TOLERANCE:g}). "
                "Set detector.fold_norms=false."
            )
    return len(pairs)


def _find_pairs(
    model: nn.Module, forward: Callable[[Tensor], Any], example: Tensor, keep: Collection[str]
) -> list[tuple[str, str]]:
    """Return names (conv, norm) of the certain pairs."""
    conv_of: dict[int, str] = {}  # id of an output -> who made it
    outputs: list[Tensor] = []  # alive, so that an id stays the same tensor's
    norm_after: dict[str, str] = {}
    calls: Counter[str] = Counter()
    uses = _Uses()

    def after_conv(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] += 1
            conv_of[id(output)] = name
            uses.counts[id(output)] = 0  # what an earlier tensor in this place was used for
            outputs.append(output)

        return hook

    def before_norm(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: Any) -> None:
            calls[name] += 1
            conv = conv_of.get(id(inputs[0]))
            if conv is not None:
                norm_after[conv] = name

        return hook

    handles = []
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d and name not in keep:
            handles.append(module.register_forward_hook(after_conv(name)))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(before_norm(name)))
    try:
        with torch.no_grad(), uses:
            answer = forward(example)
    finally:
        for handle in handles:
            handle.remove()
    returned = {id(leaf) for leaf in tree_leaves(answer)}
    once = {
        conv
        for key, conv in conv_of.items()
        if calls[conv] == 1 and uses.counts[key] == 1 and key not in returned
    }
    return [(c, n) for c, n in norm_after.items() if c in once and calls[n] == 1]


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how many operations read each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        self.counts.update({id(leaf) for leaf in leaves if isinstance(leaf, Tensor)})
        return func(*args, **(kwargs or {}))


def _outputs(
    forward: Callable[[Tensor], Any], example: Tensor, read: Collection[nn.Module]
) -> list[Tensor]:
    """Return copies of every tensor of the answer and of what the modules `read` return."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, output: seen.extend(_copies(output)))
        for module in read
    ]
    try:
        with torch.no_grad():
            answer = forward(example)
    finally:
        for handle in handles:
            handle.remove()
    return [*_copies(answer), *seen]


def _copies(value: Any) -> Iterator[Tensor]:
    return (leaf.clone() for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
