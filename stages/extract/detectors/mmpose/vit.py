"""The plain vision transformer of ViTPose, for checkpoints in mmpose's layout.

mmpose's ViTPose configs name a backbone of another package, `mmpretrain.VisionTransformer`. This
module has that backbone's parameter names and numbers for the arguments that pose estimators use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stages.extract.detectors.base import DetectorError

SIZES = {
    "base": {"embed_dims": 768, "num_layers": 12, "num_heads": 12, "feedforward_channels": 3072},
    "large": {"embed_dims": 1024, "num_layers": 24, "num_heads": 16, "feedforward_channels": 4096},
    "huge": {"embed_dims": 1280, "num_layers": 32, "num_heads": 16, "feedforward_channels": 5120},
}
"""Architectures that configs call by name."""
_NORM_EPS = 1e-6


class VisionTransformer(nn.Module):
    """Patches to one map [B, C, H/16, W/16], behind the last norm; no class token."""

    def __init__(
        self,
        arch: str | Mapping[str, int] = "base",
        *,
        img_size: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        qkv_bias: bool = True,
        with_cls_token: bool = False,
        out_type: str = "featmap",
        patch_cfg: Mapping[str, Any] | None = None,
        drop_path_rate: float = 0.0,
        init_cfg: None = None,
    ) -> None:
        """Build the backbone, randomly initialised.

        Args:
            arch: name in `SIZES`, or a mapping with the same keys.
            img_size: (H, W) px of the crops; the position table is made for them.
            patch_size: px per cell.
            qkv_bias: bias of the projections to queries, keys and values.
            with_cls_token: must be False, as in pose estimators.
            out_type: must be "featmap".
            patch_cfg: `padding` px around the crop; nothing else.
            drop_path_rate: for training only; a frozen network drops nothing.
            init_cfg: not used, weights come from a checkpoint.

        Raises:
            DetectorError: an architecture or argument that no ViTPose config has.
        """
        super().__init__()
        del drop_path_rate, init_cfg
        size = SIZES.get(arch) if isinstance(arch, str) else arch
        padding = dict(patch_cfg or {})
        padding_px = int(padding.pop("padding", 0))
        if size is None or set(size) != set(SIZES["base"]):
            raise DetectorError(
                f"VisionTransformer: unknown arch {arch!r}; name one of {', '.join(SIZES)}, or "
                f"give {', '.join(SIZES['base'])}."
            )
        if with_cls_token or out_type != "featmap" or padding:
            raise DetectorError(
                "VisionTransformer: this project builds ViTPose's backbone only: "
                "with_cls_token=False, out_type='featmap', patch_cfg=dict(padding=...)."
            )
        width = size["embed_dims"]
        self._grid = tuple(
            (side + 2 * padding_px - patch_size) // patch_size + 1 for side in img_size
        )
        self.patch_embed = _PatchEmbedding(width, patch_size, padding_px)
        self.pos_embed = nn.Parameter(torch.zeros(1, self._grid[0] * self._grid[1], width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.layers = nn.ModuleList(
            _EncoderLayer(width, size["num_heads"], size["feedforward_channels"], qkv_bias)
            for _ in range(size["num_layers"])
        )
        self.ln1 = nn.LayerNorm(width, eps=_NORM_EPS)

    def forward(self, crops: Tensor) -> tuple[Tensor]:
        """Return the one map of crops [B, 3, H, W]; DetectorError for crops of another size."""
        cells = self.patch_embed(crops)  # [B, C, h, w]
        if tuple(cells.shape[-2:]) != self._grid:
            raise DetectorError(
                f"Crops of {tuple(crops.shape[-2:])} px have {tuple(cells.shape[-2:])} patches, "
                f"but the backbone's position table has {self._grid}; set its img_size."
            )
        tokens = cells.flatten(2).transpose(1, 2) + self.pos_embed  # [B, h*w, C]
        for layer in self.layers:
            tokens = layer(tokens)
        return (self.ln1(tokens).transpose(1, 2).reshape(cells.shape),)


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch_size: int, padding_px: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch_size, stride=patch_size, padding=padding_px)

    def forward(self, crops: Tensor) -> Tensor:
        cells: Tensor = self.projection(crops)
        return cells


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden: int, qkv_bias: bool) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = _SelfAttention(width, num_heads, qkv_bias)
        self.ln2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.ffn = _FeedForward(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens))
        mixed: Tensor = tokens + self.ffn(self.ln2(tokens))
        return mixed


class _SelfAttention(nn.Module):
    def __init__(self, width: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:  # [B, N, C]
        heads = self.qkv(tokens).unflatten(-1, (3, self._num_heads, -1))  # [B, N, 3, M, C/M]
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # [B, M, N, C/M] each
        mixed = scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # The nesting gives the checkpoints' names: layers.0.0 and layers.1.
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, hidden), nn.GELU()), nn.Linear(hidden, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.layers(tokens)
        return mixed
