"""The row table of a store: which person-frames it has, in which order, with which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.cameras import Camera
from cache.errors import PlanError
from cache.fingerprint import fingerprint, hash_arrays
from cache.skeletons import get_skeleton

INDEX_COLUMNS = (
    "split",
    "subject",
    "action",
    "subaction",
    "camera",
    "person",
    "clip",
    "frame",
    "item",
)


@dataclass(frozen=True, eq=False)
class IndexColumn:
    """One column of the row table.

    Args:
        codes: `[N]` int32; positions in the vocabulary, or the numbers themselves without one.
        vocabulary: names, None for plain numbers (frame).
    """

    codes: NDArray[np.int32]
    vocabulary: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", np.asarray(self.codes, dtype=np.int32))
        if self.vocabulary is None:
            return
        words = tuple(self.vocabulary)
        object.__setattr__(self, "vocabulary", words)
        if len(set(words)) != len(words):
            raise PlanError("a vocabulary names a word twice; words must be unique")
        if self.codes.size and not 0 <= self.codes.min() <= self.codes.max() < len(words):
            raise PlanError(
                f"codes run from {self.codes.min()} to {self.codes.max()} "
                f"in a vocabulary of {len(words)} words"
            )

    @classmethod
    def from_words(cls, words: Sequence[str]) -> IndexColumn:
        """A column of one word per row; the vocabulary is in order of first appearance."""
        positions: dict[str, int] = {}
        codes = [positions.setdefault(word, len(positions)) for word in words]
        return cls(np.array(codes, dtype=np.int32), tuple(positions))

    def words(self) -> list[str]:
        """One word per row; raises `PlanError` for a column of plain numbers."""
        if self.vocabulary is None:
            raise PlanError("this index column holds numbers and has no vocabulary; use its codes")
        return [self.vocabulary[code] for code in self.codes]

    def rows_of(self, word: str) -> NDArray[np.intp]:
        """Rows that carry the word, ascending; raises `PlanError` for an unknown word."""
        if self.vocabulary is None or word not in self.vocabulary:
            raise PlanError(f"no row is called {word!r}, known are {self.vocabulary}")
        return np.flatnonzero(self.codes == self.vocabulary.index(word))


@dataclass(frozen=True, eq=False)
class RowPlan:
    """N person-frames with labels; a clip's rows are contiguous and ordered by frame.

    Args:
        skeleton: joint set of the labels.
        joints_2d_px: `[N, J, 2]` float32, px of the unmirrored picture.
        joints_3d_mm: `[N, J, 3]` float32, camera frame, absolute; None for data without 3D labels.
        valid: `[N, J]` bool; coordinates of invalid joints may be anything finite.
        index: the columns of `INDEX_COLUMNS`. `camera` codes are positions in `cameras` (if there
            are any); `item` is a different string on every row.
        image_size: `[N, 2]` int32 (H, W), (0, 0) where the picture is missing.
        cameras: calibrated cameras, empty if unknown.
        visible: `[N, J]` bool, None if unknown.
        boxes_px: `[N, 4]` float32 x1, y1, x2, y2, None unless boxes come with the data.
        extrinsics: `[N, 3, 4]` float64, X_cam = R X_world + t (mm) as [R | t] of each row, for
            moving cameras; None where those of `cameras` hold.
    """

    skeleton: str
    joints_2d_px: NDArray[np.float32]
    joints_3d_mm: NDArray[np.float32] | None
    valid: NDArray[np.bool_]
    index: Mapping[str, IndexColumn]
    image_size: NDArray[np.int32]
    cameras: tuple[Camera, ...] = ()
    visible: NDArray[np.bool_] | None = None
    boxes_px: NDArray[np.float32] | None = None
    extrinsics: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", MappingProxyType(dict(self.index)))
        object.__setattr__(self, "cameras", tuple(self.cameras))
        num_rows, num_joints = len(self.joints_2d_px), get_skeleton(self.skeleton).num_joints
        if num_rows == 0:
            raise PlanError("a plan needs at least one row")
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "joints_2d_px": ((num_rows, num_joints, 2), np.float32),
            "joints_3d_mm": ((num_rows, num_joints, 3), np.float32),
            "valid": ((num_rows, num_joints), np.bool_),
            "visible": ((num_rows, num_joints), np.bool_),
            "image_size": ((num_rows, 2), np.int32),
            "boxes_px": ((num_rows, 4), np.float32),
            "extrinsics": ((num_rows, 3, 4), np.float64),
        }
        for name, (shape, dtype) in shapes.items():
            if getattr(self, name) is None:
                continue
            value = np.asarray(getattr(self, name), dtype=dtype)
            if value.shape != shape:
                raise PlanError(f"{name} must have shape {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                row = int(np.flatnonzero(~np.isfinite(value).reshape(num_rows, -1).all(axis=1))[0])
                raise PlanError(
                    f"{name} is not finite in row {row}; mark the joint invalid and store zeros"
                )
            object.__setattr__(self, name, value)
        self._check_index(num_rows)
        self._check_clips()

    def _check_index(self, num_rows: int) -> None:
        if set(self.index) != set(INDEX_COLUMNS):
            missing = sorted(set(INDEX_COLUMNS) - set(self.index))
            unknown = sorted(set(self.index) - set(INDEX_COLUMNS))
            raise PlanError(f"index columns: missing {missing}, unknown {unknown}")
        for name, column in self.index.items():
            if column.codes.shape != (num_rows,):
                raise PlanError(
                    f"index column {name!r} must have {num_rows} codes, "
                    f"got shape {column.codes.shape}"
                )
        for name in ("split", "item"):
            if self.index[name].vocabulary is None:
                raise PlanError(f"index column {name!r} needs a vocabulary")
        items = self.index["item"].codes
        if len(np.unique(items)) != num_rows:
            raise PlanError("index column 'item' must name every row differently")
        codes = self.index["camera"].codes
        if self.cameras and not 0 <= codes.min() <= codes.max() < len(self.cameras):
            raise PlanError(
                f"camera codes run from {codes.min()} to {codes.max()}, "
                f"the plan has {len(self.cameras)} cameras"
            )

    def _check_clips(self) -> None:
        clips, frames = self.index["clip"].codes, self.index["frame"].codes
        starts = np.flatnonzero(np.concatenate([[True], clips[1:] != clips[:-1]]))
        if len(np.unique(clips[starts])) != len(starts):
            values, counts = np.unique(clips[starts], return_counts=True)
            raise PlanError(
                f"clip {int(values[counts > 1][0])} is interrupted by rows of another clip; "
                "rows of a clip must be contiguous"
            )
        inside = clips[1:] == clips[:-1]
        bad = np.flatnonzero(inside & (frames[1:] <= frames[:-1]))
        if bad.size:
            row = int(bad[0]) + 1
            raise PlanError(
                f"row {row} (frame {frames[row]}) follows frame {frames[row - 1]} of the same "
                "clip; frames of a clip must ascend"
            )

    def __len__(self) -> int:
        return len(self.joints_2d_px)

    def take(self, rows: ArrayLike) -> RowPlan:
        """The plan of these rows in this order; `item` keeps only their own strings."""
        wanted = np.asarray(rows)
        # An empty list becomes floats, which cannot index; the plan then refuses to be empty.
        chosen = np.arange(len(self))[wanted if wanted.size else slice(0)]
        index = {
            name: IndexColumn(column.codes[chosen], column.vocabulary)
            for name, column in self.index.items()
            if name != "item"
        }
        words = self.index["item"].vocabulary or ()
        index["item"] = IndexColumn.from_words(
            [words[code] for code in self.index["item"].codes[chosen]]
        )
        taken: dict[str, Any] = {
            name: values[chosen] for name, values in self.label_arrays().items()
        }
        return replace(self, image_size=self.image_size[chosen], index=index, **taken)

    def label_arrays(self) -> dict[str, NDArray[Any]]:
        """Labels by name, those that are None left out."""
        labels: dict[str, NDArray[Any] | None] = {
            "joints_2d_px": self.joints_2d_px,
            "joints_3d_mm": self.joints_3d_mm,
            "valid": self.valid,
            "visible": self.visible,
            "boxes_px": self.boxes_px,
            "extrinsics": self.extrinsics,
        }
        return {name: value for name, value in labels.items() if value is not None}

    def fingerprint(self) -> str:
        """Hash of every row, label, word and camera of the plan."""
        arrays = {f"labels/{name}": value for name, value in self.label_arrays().items()}
        arrays |= {f"index/{name}": column.codes for name, column in self.index.items()}
        arrays["image_size"] = self.image_size
        return fingerprint(
            {
                "skeleton": self.skeleton,
                "arrays": hash_arrays(arrays),
                "vocabularies": {name: column.vocabulary for name, column in self.index.items()},
                "cameras": [
                    [c.name, c.K, c.R, c.t_mm, c.distortion, c.distortion_model, c.fps]
                    for c in self.cameras
                ],
            }
        )
