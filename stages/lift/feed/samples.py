"""The usable rows of one split, with everything but the maps in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache import CacheReader, FrameStatus, convert_keypoints
from cache.imported import PREFIX
from stages.lift.config import DataConfig
from stages.lift.errors import EmptySplit, LiftError
from stages.lift.feed.inputs import FLIPPED, PLAIN, mirror, view_inputs

METRES_PER_MM = 1e-3


Labels = Literal["none", "root", "all"]


@dataclass(frozen=True)
class InputFrames:
    """`n` frames that a lifter can read; arrays with a leading `V` hold the plain and flipped view.

    The flipped view is a mirrored world: x is negated and left and right joints are exchanged, so
    that a lifter sees an ordinary person.
    """

    rows: NDArray[np.int64]  # [n] row of the store, ascending
    clips: NDArray[np.int64]  # [n] code of the clip
    keypoints_px: NDArray[np.float32]  # [n, J, 2] of the picture, plain view
    keypoints_2d: NDArray[np.float32]  # [V, n, J, 2] screen-normalised
    reference_points: NDArray[np.float32]  # [V, n, J, 2] unit frame of the crop

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Samples(InputFrames):
    """`n` frames of one split with labels."""

    split: str
    target_m: NDArray[np.float32]  # [V, n, J, 3] camera frame, relative to the root
    valid: NDArray[np.bool_]  # [V, n, J]
    dropped: Mapping[str, int]  # rows left out, by reason


def load_samples(
    reader: CacheReader,
    split: str,
    config: DataConfig,
    *,
    flipped: bool,
    complete_labels: bool = False,
) -> Samples:
    """Returns the samples of `split`, with both views if `flipped`.

    Rows whose status is not OK or whose root has no label are left out and counted; so are, with
    `complete_labels`, those in which any joint has none, and those without imported keypoints
    where these are used.
    Raises `EmptySplit` if nothing is left, `LiftError` for a keypoint source or a view that the
    store does not hold or for keypoints that are not finite.
    """
    _require_inputs(reader, config.keypoint_source, flipped=flipped)
    require_3d_labels(reader)
    rows, dropped = usable_rows(
        reader, split, config.keypoint_source, labels="all" if complete_labels else "root"
    )
    skeleton = reader.label_skeleton
    swap = skeleton.swap
    joints_mm = reader.labels("joints_3d_mm")[rows].astype(np.float64)
    relative = (joints_mm - joints_mm[:, skeleton.root, None]) * METRES_PER_MM
    valid = reader.labels("valid")[rows]
    relative[~valid] = 0.0
    targets, valids = [relative], [valid]
    if flipped:
        targets.append(mirror(relative, swap))
        valids.append(valid[:, swap])
    return Samples(
        **vars(input_frames(reader, rows, config.keypoint_source, flipped=flipped)),
        split=split,
        target_m=np.stack(targets).astype(np.float32),
        valid=np.stack(valids),
        dropped=dropped,
    )


def load_frames(
    reader: CacheReader, split: str, config: DataConfig, *, flipped: bool
) -> InputFrames:
    """Returns all frames of `split` that can be read, with and without labels.

    Where the keypoints are those of the labels, frames without labels have none that could be read.
    Raises as `load_samples`.
    """
    _require_inputs(reader, config.keypoint_source, flipped=flipped)
    needed: Labels = "root" if config.keypoint_source == "gt" else "none"
    rows, _ = usable_rows(reader, split, config.keypoint_source, labels=needed)
    return input_frames(reader, rows, config.keypoint_source, flipped=flipped)


def _require_inputs(reader: CacheReader, source: str, *, flipped: bool) -> None:
    require_source(reader, source)
    if flipped and "flipped" not in reader.views:
        raise LiftError(
            f"{store_name(reader)} holds the views {', '.join(reader.views)}, but flip augmentation"
            " and flip averaging read the flipped one. Extract it (crop.flip=true) or switch both"
            " off (train.flip=false, evaluate.flip_average=false)."
        )


def input_frames(
    reader: CacheReader, rows: NDArray[np.int64], source: str, *, flipped: bool
) -> InputFrames:
    """Returns the frames `rows` [n], ascending, whose status is OK, with both views if `flipped`.

    Raises `LiftError` for keypoints that are not finite.
    """
    keypoints, references = [], []
    plain_px = np.empty(0)
    for view in (PLAIN, FLIPPED) if flipped else (PLAIN,):
        points_px = _keypoints_px(reader, rows, source, view)
        if view == PLAIN:
            plain_px = points_px
        screen, unit = view_inputs(
            points_px,
            reader.image_size()[rows],
            reader.affine(view, rows=rows),
            reader.spec.crop_size,
            view=view,
            swap=reader.label_skeleton.swap,
        )
        keypoints.append(screen)
        references.append(unit)
    return InputFrames(
        rows=rows,
        clips=reader.index("clip").codes[rows].astype(np.int64),
        keypoints_px=plain_px.astype(np.float32),
        keypoints_2d=np.stack(keypoints),
        reference_points=np.stack(references),
    )


def splits_of(reader: CacheReader) -> tuple[str, ...]:
    """Names of the splits that have rows, in the order of the vocabulary."""
    column = reader.index("split")
    used = set(np.unique(column.codes).tolist())
    return tuple(name for code, name in enumerate(column.vocabulary or ()) if code in used)


def usable_rows(
    reader: CacheReader, split: str, keypoint_source: str, *, labels: Labels
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Returns the rows of `split` that can be used and the counts of the others by reason.

    `labels` says which they must have: none, that of the root, or those of all joints. Reasons are
    the names of statuses, and of rows whose status is OK: `NO_ROOT_LABEL` or `INCOMPLETE_LABEL`,
    `NO_KEYPOINTS` (imported, none at all), `INCOMPLETE_KEYPOINTS` (imported, some joints).
    """
    if split not in splits_of(reader):
        raise EmptySplit(
            f"{store_name(reader)} has no rows of the split {split!r};"
            f" it has {', '.join(splits_of(reader)) or 'none'}."
        )
    column = reader.index("split")
    code = (column.vocabulary or ()).index(split)
    rows = np.flatnonzero(column.codes == code)
    status = reader.status(rows=rows)
    valid = reader.labels("valid")[rows]
    labelled = {
        "none": np.ones(len(rows), dtype=bool),
        "root": valid[:, reader.label_skeleton.root],
        "all": valid.all(axis=1),
    }[labels]
    none, some = _absent_keypoints(reader, rows, keypoint_source)
    usable = status == FrameStatus.OK
    dropped = Counter(FrameStatus(int(code)).name for code in status[~usable])
    for reason, is_absent in (
        ("INCOMPLETE_LABEL" if labels == "all" else "NO_ROOT_LABEL", ~labelled),
        ("NO_KEYPOINTS", none),
        ("INCOMPLETE_KEYPOINTS", some),
    ):
        dropped[reason] += int((usable & is_absent).sum())
        usable &= ~is_absent
    kept = rows[usable].astype(np.int64)
    counts = {reason: count for reason, count in sorted(dropped.items()) if count}
    if not len(kept):
        raise EmptySplit(
            f"No row of the split {split!r} of {store_name(reader)} can be used: {counts}."
            " 'posecache cache info' lists the reasons."
        )
    return kept, counts


def _absent_keypoints(
    reader: CacheReader, rows: NDArray[np.intp], source: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # [n], [n]
    """Returns which rows have no imported keypoints at all, and which lack a joint that is used.

    An importer stores zeros with score 0 where a file had nothing; a lifter must not see those.
    """
    if not source.startswith(PREFIX):
        nothing = np.zeros(len(rows), dtype=bool)
        return nothing, nothing
    points = reader.keypoints(source, PLAIN, rows=rows)
    none = np.asarray(~(points[..., 2] > 0).any(axis=1))
    unset = (points == 0).all(axis=-1)[..., None].astype(np.float32)
    # Of a joint that is a mean, each part must be there.
    needed = convert_keypoints(unset, reader.source_skeleton(source), reader.label_skeleton)
    return none, np.asarray(~none & (needed[..., 0] > 0).any(axis=1))


def require_3d_labels(reader: CacheReader) -> None:
    """Raises `LiftError` for a store of pictures without 3D labels."""
    if not reader.has_label("joints_3d_mm"):
        raise LiftError(
            f"{store_name(reader)} has no 3D labels, so nothing can be trained or evaluated on it."
            " Use a store of a dataset with 3D labels."
        )


def require_source(reader: CacheReader, source: str) -> None:
    """Raises `LiftError` if the store does not hold these keypoints."""
    if source not in reader.spec.keypoint_sources:
        raise LiftError(
            f"{store_name(reader)} has no keypoints {source!r};"
            f" it has {', '.join(reader.spec.keypoint_sources)}. Set train.data.keypoint_source."
        )


def store_name(reader: CacheReader) -> str:
    """Returns the names of the stores behind `reader`."""
    return " + ".join(location.rpartition("/")[2] for location in reader.locations)


def _keypoints_px(
    reader: CacheReader, rows: NDArray[np.int64], source: str, view: int
) -> NDArray[np.float64]:
    """Keypoints [n, J, 2] in the joints of the labels, px of the unmirrored picture."""
    points = reader.keypoints(source, view, rows=rows)[..., :2].astype(np.float64)
    if source != "gt":
        points = convert_keypoints(points, reader.source_skeleton(source), reader.label_skeleton)
    if not np.isfinite(points).all():
        bad = rows[~np.isfinite(points).all(axis=(1, 2))]
        raise LiftError(
            f"Keypoints {source!r} of {store_name(reader)} are not finite in {len(bad)} rows with"
            f" status OK (first: {bad[:5].tolist()}). 'posecache cache verify' checks the store."
        )
    return points
