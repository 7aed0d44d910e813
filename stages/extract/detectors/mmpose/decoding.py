"""Joints from what a head of mmpose returns: heatmaps, or one vector per axis (SimCC)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode(
    head: Any, raw: Any, *, input_size: tuple[int, int], udp: bool
) -> NDArray[np.float32]:  # [B, J, 3] x, y in crop px, score
    """Return the joints that mmpose's own decoder finds.

    Args:
        head: the network's head; its decoder gives px of the input size.
        raw: what the head returned for a batch: heatmaps [B, J, h, w], or the pair of vectors
            [B, J, W * k] and [B, J, H * k] of SimCC with its split ratio k.
        input_size: (H, W) px of the crops.
        udp: crops are UDP crops.
    """
    parts = raw if isinstance(raw, tuple) else (raw,)
    parts = tuple(part.float() for part in parts)
    instances = head.decode(parts if isinstance(raw, tuple) else parts[0])
    points = np.stack([np.asarray(instance.keypoints)[0, :, :2] for instance in instances])
    scores = np.stack([np.asarray(instance.keypoint_scores)[0] for instance in instances])
    if udp:
        # mmpose's decoders speak of a frame in which the box spans the whole input size; in UDP
        # crops it spans one pixel less.
        height, width = input_size
        points = points * [(width - 1) / width, (height - 1) / height]
    return np.concatenate([points, scores[..., None]], axis=-1).astype(np.float32)
