"""Which entry of a keypoint file is of which row, and whether that can be true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cache import SkeletonMismatch, convert_keypoints
from cache.plan import RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.imports.files import Entries

_NUM_NAMED = 3
_FAR = 0.5
"""Joints this far from the labels, as a share of the person's size, are another person's, or not px
of the picture."""
_MAX_FAR_ROWS = 0.25
_MAX_ROWS = 20_000
"""Rows that are looked at, evenly spaced."""


def place(
    entries: Entries, items: Sequence[str], path: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the points `[N, J, 3]` of every row, and whether the file has any, `[N]`.

    Args:
        entries: of the file.
        items: names of the rows.
        path: of the file, for errors.

    Raises:
        DatasetError: the file is row by row and has another number of rows, or none of its names
            is one of the rows', or a name is of several rows.
    """
    if entries.names is None:
        if len(entries.points) != len(items):
            raise DatasetError(
                f"{path} has {len(entries.points)} rows, the dataset {len(items)}. A file without "
                "names must be of all rows in their order: choose the dataset.options (stride, "
                "limit, subjects) that it was made with, or save an .npz with items."
            )
        points = entries.points
    else:
        rows = _rows_of_names(entries.names, items, exact=entries.exact, path=path)
        known = rows >= 0
        points = np.zeros((len(items), *entries.points.shape[1:]), dtype=np.float32)
        points[rows[known]] = entries.points[known]
    there = np.asarray((points[..., 2] > 0).any(axis=1))
    return np.where(there[:, None, None], points, np.float32(0)), there


def refuse_missing(
    there: NDArray[np.bool_], items: Sequence[str], path: Path, setting: str
) -> None:
    """Raise DatasetError that counts the rows without keypoints and names the first ones."""
    absent = np.flatnonzero(~there)
    if absent.size:
        named = ", ".join(items[row] for row in absent[:_NUM_NAMED])
        raise DatasetError(
            f"{path} has no keypoints of {len(absent)} of {len(items)} rows (first: {named}). "
            f"Complete it, or leave such rows out where these keypoints are used: {setting}"
            ".missing=invalid."
        )


def refuse_elsewhere(
    plan: RowPlan, points: NDArray[np.float32], there: NDArray[np.bool_], skeleton: str, path: Path
) -> None:
    """Raise DatasetError where keypoints are not near the labelled persons.

    Such are keypoints in another frame (normalised, of crops) or of other rows. Of all rows a
    quarter may be off, since detectors fail; of a clip half, since entries without names can be in
    another order.
    """
    known = np.flatnonzero(there & plan.valid.any(axis=1))
    if not known.size:
        return
    known = known[:: -(-len(known) // _MAX_ROWS)]
    far = distances(plan, points, known, skeleton) > _FAR
    clips = plan.index["clip"].codes[known]
    by_clip = np.bincount(clips, weights=far) > np.bincount(clips) / 2
    words = plan.index["clip"].vocabulary
    if far.mean() > _MAX_FAR_ROWS or by_clip.any():
        code = int(np.argmax(by_clip)) if by_clip.any() else int(clips[np.argmax(far)])
        name = words[code] if words else str(code)
        raise DatasetError(
            f"{path}: its keypoints lie more than {_FAR:.0%} of the person's size from the labels "
            f"in {int(far.sum())} of {len(known)} rows, and in most rows of {int(by_clip.sum())} "
            f"clips (first: {name}). They must be px of the whole picture, and of these rows."
        )


def distances(
    plan: RowPlan, points: NDArray[np.float32], rows: NDArray[np.intp], skeleton: str
) -> NDArray[np.float64]:
    """Mean distance of found from labelled joints, as a share of the person's size."""
    labels = plan.joints_2d_px[rows].astype(np.float64)
    weight = plan.valid[rows]
    corners = [
        choose(np.where(weight[..., None], labels, filler), axis=1)
        for choose, filler in ((np.max, -np.inf), (np.min, np.inf))
    ]
    size = np.maximum((corners[0] - corners[1]).max(axis=-1), 1.0)
    found = points[rows].astype(np.float64)
    set_joints = found[..., 2] > 0
    try:
        placed = convert_keypoints(found, skeleton, plan.skeleton)
        unset = convert_keypoints((~set_joints)[..., None].astype(float), skeleton, plan.skeleton)
        both = weight & (unset[..., 0] == 0)
        apart = np.linalg.norm(placed[..., :2] - labels, axis=-1)
        comparable = both.any(axis=1)
        mean = (apart * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    except SkeletonMismatch:
        comparable = np.zeros(len(rows), dtype=bool)
        mean = np.zeros(len(rows))
    centres = _centre(found[..., :2], set_joints) - _centre(labels, weight)
    distance = np.where(comparable, mean, np.linalg.norm(centres, axis=-1))
    shares: NDArray[np.float64] = distance / size
    return shares


def _centre(points: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    total = (points * used[..., None]).sum(axis=1)
    return np.asarray(total / np.maximum(used.sum(axis=1), 1)[:, None])


def _rows_of_names(
    names: Sequence[str], items: Sequence[str], *, exact: bool, path: Path
) -> NDArray[np.intp]:
    """Row of each name, -1 where it has none."""
    rows = {item: row for row, item in enumerate(items)}
    shorter = {} if exact else _shorter_names(items)
    found = np.full(len(names), -1, dtype=np.intp)
    for position, name in enumerate(names):
        candidates = {rows[name]} if name in rows else set()
        if not exact and not candidates:
            for form in _forms(name):
                candidates = shorter.get(form, set())
                if _is_number(form):  # every folder has a frame of that number
                    candidates = {r for r in candidates if _same_folders(name, items[r])}
                if candidates:
                    break
        if len(candidates) > 1:
            raise DatasetError(
                f"{path}: {name!r} may be {len(candidates)} rows of the dataset. Use an .npz with "
                "the items of the store."
            )
        if candidates:
            found[position] = candidates.pop()
    used = found[found >= 0]
    if not used.size:
        raise DatasetError(
            f"{path}: none of its {len(names)} names is a row of the dataset; it has e.g. "
            f"{names[0]!r}, the dataset {items[0]!r}."
        )
    if len(np.unique(used)) != len(used):
        row = int(np.flatnonzero(np.bincount(used) > 1)[0])
        raise DatasetError(f"{path}: several of its names are the row {items[row]!r}.")
    return found


def _is_number(form: str) -> bool:
    """Whether a name without folders only counts frames: `0001`, `frame_0001`."""
    return re.fullmatch(r"[^\W\d]*[-_]?\d+(\.\w+)?", form) is not None


def _same_folders(name: str, item: str) -> bool:
    """Whether one of two names of a picture has the folders of the other, or fewer of them."""
    first, second = PurePosixPath(name).parts[:-1], PurePosixPath(item).parts[:-1]
    shared = min(len(first), len(second))
    return shared == 0 or first[-shared:] == second[-shared:]


def _forms(name: str) -> tuple[str, ...]:
    """A picture's name, ever shorter: without suffix, without folders."""
    path = PurePosixPath(name)
    return (name, str(path.with_suffix("")) if path.name else name, path.name, path.stem)


def _shorter_names(items: Sequence[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row, item in enumerate(items):
        for form in set(_forms(item)):
            found.setdefault(form, set()).add(row)
    return found
