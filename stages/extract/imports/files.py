"""Keypoint files: what they hold, before it is known which rows it is of.

.npz   `items` [M] names as in the store, `keypoints` [M, J, 2|3] px, `scores` [M, J] (optional)
.npy   [N, J, 2|3] px, one entry for each row of the dataset, in its order
.json  COCO results: a list of {image_id or file_name, keypoints: [x, y, score, ...], score}, or
       {images: [{id, file_name}], annotations: [the same]}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.skeletons import get_skeleton
from stages.extract.datasets.base import DatasetError

_KINDS = (".npz", ".npy", ".json")


@dataclass(frozen=True, eq=False)
class Entries:
    """What a keypoint file holds.

    Args:
        points: `[M, J, 3]` float32: x, y px, score; zeros where a joint is not there.
        names: of the frames, `[M]`; None if entry i is of row i.
        exact: the names are the store's items; otherwise those of pictures.
    """

    points: NDArray[np.float32]
    names: tuple[str, ...] | None
    exact: bool = True


def read_entries(path: Path, skeleton: str) -> Entries:
    """Return the entries of a file; nothing in it is run.

    Raises:
        DatasetError: it is missing, unreadable, of another kind or of another number of joints.
    """
    if path.suffix not in _KINDS:
        raise DatasetError(f"{path}: keypoints are read from {', '.join(_KINDS)} files.")
    try:
        if path.suffix == ".json":
            return _from_coco(path, skeleton)
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if path.suffix == ".npy":
                return Entries(_checked(path, found, skeleton), None)
            return _from_arrays(path, dict(found), skeleton)
    except DatasetError:
        raise
    except Exception as error:  # damaged files make their readers raise anything
        # What numpy says of pickles is an advice to run them.
        is_pickle = "pickle" in str(error)
        why = "it is no file of plain arrays" if is_pickle else f"{type(error).__name__}: {error}"
        raise DatasetError(
            f"{path} cannot be read as keypoints ({why}). Save it again; docs/datasets.md shows "
            "what such files hold."
        ) from error


def _from_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], skeleton: str) -> Entries:
    for name in ("items", "keypoints"):
        if name not in arrays:
            raise DatasetError(
                f"{path} has no array {name!r} (it has {', '.join(arrays) or 'none'}): save items "
                "[M], the names that 'posecache cache show' gives to rows, and keypoints "
                "[M, J, 2|3] px."
            )
    points = arrays["keypoints"]
    if "scores" in arrays:
        points = np.concatenate([points[..., :2], arrays["scores"][..., None]], axis=-1)
    names = tuple(str(item) for item in arrays["items"])
    if len(names) != len(points):
        raise DatasetError(f"{path} has {len(names)} items and {len(points)} keypoints.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(f"{path} has several entries of {len(twice)} items, e.g. {twice[0]}.")
    return Entries(_checked(path, points, skeleton), names)


def _from_coco(path: Path, skeleton: str) -> Entries:
    content = json.loads(path.read_text("utf-8"))
    pictures: dict[Any, str] = {}
    if isinstance(content, dict):
        pictures = {image["id"]: image["file_name"] for image in content["images"]}
        content = content["annotations"]
    best: dict[str, tuple[float | None, list[float]]] = {}
    for entry in content:
        if "keypoints" not in entry:
            continue
        name = str(entry.get("file_name") or pictures.get(entry["image_id"], entry["image_id"]))
        score = entry.get("score")
        if name in best:
            known = best[name][0]
            if score is None or known is None or score == known:
                raise DatasetError(
                    f"{path} has several persons in {name} and no scores that tell which to take. "
                    "Keep one of each picture, or use an .npz with the items of the store."
                )
            if score < known:
                continue
        best[name] = (score, entry["keypoints"])
    if not best:
        raise DatasetError(f"{path} has no entries with keypoints.")
    flat = np.array([keypoints for _, keypoints in best.values()], dtype=np.float64)
    joints = get_skeleton(skeleton).num_joints
    if flat.ndim != 2 or flat.shape[1] != 3 * joints:
        raise DatasetError(
            f"{path}: {skeleton} means {3 * joints} numbers per person, it has {flat.shape[-1]}. "
            "Name their joint set in dataset.keypoints."
        )
    points = _checked(path, flat.reshape(-1, joints, 3), skeleton)
    return Entries(points, tuple(best), exact=False)


def _checked(path: Path, points: NDArray[Any], skeleton: str) -> NDArray[np.float32]:
    """Return `[M, J, 3]` with zeros for joints that are not finite, or lie on px (0, 0)."""
    joints = get_skeleton(skeleton).num_joints
    if points.ndim != 3 or points.shape[1] != joints or points.shape[2] not in (2, 3):
        raise DatasetError(
            f"{path}: keypoints of {skeleton} have the shape (M, {joints}, 2 or 3), not "
            f"{points.shape}. Name their joint set in dataset.keypoints."
        )
    values = points.astype(np.float32)
    if values.shape[2] == 2:
        values = np.concatenate([values, np.ones((*values.shape[:2], 1), np.float32)], axis=-1)
    # Detectors write joints that they did not find as NaN or as (0, 0).
    there = np.isfinite(values).all(axis=-1) & (values[..., :2] != 0).any(axis=-1)
    return np.where(there[..., None], values, np.float32(0))
