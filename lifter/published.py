"""Weights of the published Context-Aware PoseFormer, under the names of `lifter.models.capf`.

| published                                   | here                                          |
|---------------------------------------------|-----------------------------------------------|
| `coord_embed`                               | `pose_embedding`                              |
| `feat_embed.<level>`                        | `pyramid.projections.<level>`                 |
| `Spatial_pos_embed`                         | `position_embedding`                          |
| `context_blocks.<n>.norm1`                  | `context_blocks.<n>.query_norm`               |
| `context_blocks.<n>.embed_proj.<level>`     | `context_blocks.<n>.values.<level>`           |
| `context_blocks.<n>.sampling_offsets`       | the same                                      |
| `context_blocks.<n>.attention_weights`      | the same                                      |
| `res_blocks.<n>`, `joint_blocks.<n>`        | `fusion_blocks.<n>`, `decoder.blocks.<n>`     |
| `...norm1`, `...attn.qkv`, `...attn.proj`   | `attention_norm`, `attention.qkv`, `.out`     |
| `...norm2`                                  | `feed_forward_norm`                           |
| `...mlp.fc1`, `...mlp.fc2`                  | `feed_forward.expand`, `.contract`            |
| `head.0`, `head.1`                          | `decoder.norm`, `decoder.position`            |

No tensor is transposed or reshaped. `volume_net.` and the `module.` of a parallel wrapper are left
out of the names; `backbone.` (the detector) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lifter.config import ReferenceRule
from lifter.errors import WeightsMismatch
from lifter.models.capf import Capf

LIFTER_PREFIX = "volume_net."
DETECTOR_PREFIX = "backbone."

# Tried in this order, each from the start of the name; an index stays where it stands.
RULES: tuple[tuple[str, str], ...] = (
    (r"coord_embed", "pose_embedding"),
    (r"feat_embed\.(\d+)", r"pyramid.projections.\1"),
    (r"Spatial_pos_embed", "position_embedding"),
    (r"context_blocks\.(\d+)\.norm1", r"context_blocks.\1.query_norm"),
    (r"context_blocks\.(\d+)\.embed_proj\.(\d+)", r"context_blocks.\1.values.\2"),
    (r"res_blocks\.(\d+)\.norm1", r"fusion_blocks.\1.attention_norm"),
    (r"res_blocks\.", "fusion_blocks."),
    (r"joint_blocks\.(\d+)\.norm1", r"decoder.blocks.\1.attention_norm"),
    (r"joint_blocks\.", "decoder.blocks."),
    (r"head\.0", "decoder.norm"),
    (r"head\.1", "decoder.position"),
)
PARTS: tuple[tuple[str, str], ...] = (
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.norm2\.", ".feed_forward_norm."),
    (r"\.mlp\.fc1\.", ".feed_forward.expand."),
    (r"\.mlp\.fc2\.", ".feed_forward.contract."),
)


def rename(published_name: str) -> str:
    """Returns our name of a parameter of the published lifter; unknown names stay as they are."""
    name = published_name
    for pattern, replacement in RULES:
        name, found = re.subn(rf"^{pattern}", replacement, name)
        if found:
            break
    for pattern, replacement in PARTS:
        name = re.sub(pattern, replacement, name)
    return name


def load_published_capf(
    state_dict: Mapping[str, Any], *, reference_rule: ReferenceRule = "published"
) -> Capf:
    """Returns the published lifter with these weights, in evaluation mode.

    Its sizes are read from the weights. `state_dict` is that of the whole published network, of its
    lifter (`volume_net`) alone, or a checkpoint that holds one of them under `model`.

    Raises:
        WeightsMismatch: The weights are not those of a Context-Aware PoseFormer.
    """
    weights = _lifter_weights(state_dict)
    try:
        _, num_tokens, num_joints, width = weights["position_embedding"].shape
        level_channels = [
            weights[f"pyramid.projections.{level}.weight"].shape[1]
            for level in range(num_tokens - 1)
        ]
        depth = 1 + max(int(name.split(".")[2]) for name in weights if ".blocks." in name)
        has_context = any(name.startswith("context_blocks.") for name in weights)
        deform_heads = (
            width // len(weights["context_blocks.0.values.0.weight"]) if has_context else 4
        )
        num_points = (
            len(weights["context_blocks.0.attention_weights.bias"]) // deform_heads
            if has_context
            else 4
        )
        hidden = len(weights["decoder.blocks.0.feed_forward.expand.bias"])
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsMismatch(
            f"These are not the weights of a Context-Aware PoseFormer: {error} is missing. "
            f"They hold {len(state_dict)} entries, among them {sorted(map(str, state_dict))[:5]}."
        ) from error
    model = Capf(
        level_channels=level_channels,
        num_joints=num_joints,
        width=width,
        depth=depth,
        deform_heads=deform_heads,
        num_points=num_points,
        mlp_ratio=hidden / (num_tokens * width),
        fusion="full" if has_context else "fusion",
        reference_rule=reference_rule,
    )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsMismatch(
            f"These weights do not fit the Context-Aware PoseFormer their sizes describe: {error}"
        ) from error
    return model.eval()


def _lifter_weights(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    nested = state_dict.get("model")
    if isinstance(nested, Mapping):
        state_dict = nested
    weights = {}
    for full_name, tensor in state_dict.items():
        name = full_name.removeprefix("module.")
        if not name.startswith(DETECTOR_PREFIX) and isinstance(tensor, Tensor):
            weights[rename(name.removeprefix(LIFTER_PREFIX))] = tensor
    return weights
