"""Windows of frames as plain loops find them: the specification of `ClipWindows`."""

from __future__ import annotations

from itertools import pairwise

from cache import WindowShape

Clips = list[list[int]]  # frame numbers by clip
Window = tuple[list[int], list[bool]]  # positions, and which are real


def window_by_hand(clips: Clips, position: int, shape: WindowShape) -> Window:
    """The window of one frame, found by looking at every frame of its clip."""
    start = 0
    for clip in clips:
        if position < start + len(clip):
            break
        start += len(clip)
    number = clip[position - start]
    unit = min((b - a for a, b in pairwise(clip)), default=1)
    behind = 0 if shape.causal else shape.num_frames // 2
    positions, real = [], []
    for back in range(behind - shape.num_frames + 1, behind + 1):
        wanted = number + back * unit * shape.step
        inside = min(max(wanted, clip[0]), clip[-1])
        nearest = min(clip, key=lambda other: (abs(other - inside), -other))
        positions.append(start + clip.index(nearest))
        real.append(nearest == wanted)
    return positions, real
