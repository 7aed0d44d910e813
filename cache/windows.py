"""Windows of frames inside clips."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class WindowShape:
    """Which frames around a target belong to its window.

    Args:
        num_frames: F; odd unless `causal`.
        causal: whether the target is the last frame instead of the middle one.
        step: frames of the clip from one frame of the window to the next.

    Raises:
        ValueError: a number below 1, or an even window without a middle.
    """

    num_frames: int
    causal: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.step < 1:
            raise ValueError(
                f"a window has at least one frame and steps of at least one, got {self.num_frames}"
                f" frames in steps of {self.step}"
            )
        if not self.causal and self.num_frames % 2 == 0:
            raise ValueError(
                f"a window of {self.num_frames} frames has no middle: take an odd number, or causal"
                " windows, which end at their target"
            )

    @property
    def target(self) -> int:
        """Position of the target in the window."""
        return self.num_frames - 1 if self.causal else self.num_frames // 2


class ClipWindows:
    """The windows of frames that are given in clips, in order.

    A window never leaves its clip: before its first and after its last frame that frame is
    repeated. A frame that is missing in between (left out as unusable) is replaced by the nearest
    one there, of two by the later, so that the others keep their distance in time. The unit of time
    of a clip is the smallest step between its frame numbers. A causal window never holds a frame
    after its target.

    Args:
        clips: [n] codes; frames of a clip are neighbours.
        frames: [n] numbers in the clip, ascending.
        shape: of every window.

    Raises:
        ValueError: another number of clips than of frames, or frames that do not ascend.
    """

    def __init__(
        self, clips: NDArray[np.integer], frames: NDArray[np.integer], shape: WindowShape
    ) -> None:
        if len(clips) != len(frames):
            raise ValueError(
                f"every frame has a clip, but there are {len(clips)} clips of {len(frames)} frames"
            )
        self.shape = shape
        begins = np.ones(len(clips), dtype=bool)
        begins[1:] = clips[1:] != clips[:-1]
        starts = np.flatnonzero(begins)
        numbers = frames.astype(np.int64)
        clip = np.cumsum(begins) - 1  # [n] position of the clip
        steps = np.diff(numbers)
        inside = ~begins[1:]
        if (steps[inside] <= 0).any():
            bad = int(np.flatnonzero(inside & (steps <= 0))[0])
            raise ValueError(
                f"the frames of a clip must ascend, but {numbers[bad + 1]} follows {numbers[bad]}"
                f" at position {bad + 1}"
            )
        units = np.full(len(starts), np.iinfo(np.int64).max)
        np.minimum.at(units, clip[1:][inside], steps[inside])
        units[units == np.iinfo(np.int64).max] = 1  # clips of one frame
        self.first_of_clip: NDArray[np.int64] = starts[clip].astype(np.int64)
        """[n] position of the first frame of each one's clip."""
        ends = np.append(starts, len(clips))[1:] - 1
        first, last = numbers[starts], numbers[ends]
        # One ascending line of frame numbers over all clips, so that one search serves all.
        length = last - first + 1
        origin = np.cumsum(length) - length - first
        self._line = origin[clip] + numbers  # [n]
        self._low, self._high = (origin + first)[clip], (origin + last)[clip]
        self._step = (units * shape.step)[clip]

    def __len__(self) -> int:
        return len(self._line)

    def of(self, targets: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Returns the windows of `targets` [B]: positions [B, F], and which of them are real.

        Not real are repeated frames at the ends of a clip, and the substitutes of missing ones.
        """
        offsets = np.arange(self.shape.num_frames) - self.shape.target
        wanted = self._line[targets][:, None] + offsets * self._step[targets][:, None]
        inside = np.clip(wanted, self._low[targets][:, None], self._high[targets][:, None])
        after = np.searchsorted(self._line, inside)
        before = np.maximum(after - 1, 0)
        # The first and the last frame of a clip are there, so both neighbours are of the clip.
        nearer = inside - self._line[before] < self._line[after] - inside
        positions = np.where(nearer & (self._line[after] != inside), before, after)
        return positions, self._line[positions] == wanted

    def tiles(self, chosen: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """Returns targets whose windows together hold every frame really, as few as can be.

        `chosen` are ascending positions to be held; `None`: all.
        """
        search = _TileSearch(
            self.shape, *(each.tolist() for each in (self._line, self._low, self._high, self._step))
        )
        left = np.zeros(len(self), dtype=bool)
        left[slice(None) if chosen is None else chosen] = True
        is_left = left.tolist()
        found: list[int] = []
        for position in np.flatnonzero(left).tolist():
            if is_left[position]:
                target = search.best(position)
                for held in search.held(target):
                    is_left[held] = False
                found.append(target)
        return np.array(found, dtype=np.int64)


@dataclass(frozen=True)
class _TileSearch:
    """The arrays of `ClipWindows` as lists: one number of an array at a time is slow."""

    shape: WindowShape
    line: list[int]
    low: list[int]
    high: list[int]
    step: list[int]

    def best(self, position: int) -> int:
        """Returns a target whose window holds the frame at `position` really, and most after it.

        The window ends with the clip rather than after it, where one so long fits into the clip.
        """
        number, step = self.line[position], self.step[position]
        ahead, behind = self.shape.target, self.shape.num_frames - 1 - self.shape.target
        # Steps from the frame to the target: the best number, larger ones, smaller ones.
        best = min((self.high[position] - number) // step - behind, ahead)
        for k in (*range(best, ahead + 1), *range(best - 1, -behind - 1, -1)):
            target = self._place(position, number + k * step)
            if target is not None:
                return target
        raise AssertionError("the frame itself is a target")

    def held(self, target: int) -> list[int]:
        """Returns the positions of the real frames of a window."""
        step = self.step[target]
        first = self.line[target] - self.shape.target * step
        wanted = range(first, first + self.shape.num_frames * step, step)
        places = [self._place(target, number) for number in wanted]
        return [place for place in places if place is not None]

    def _place(self, position: int, number: int) -> int | None:
        """Returns where a number of the line is, None if the clip of `position` lacks it."""
        if not self.low[position] <= number <= self.high[position]:
            return None
        place = bisect_left(self.line, number)
        return place if self.line[place] == number else None
