"""Stores below data_root: where they lie, what is in them, whether they are whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import CacheError, CacheReader, FrameStatus, convert_keypoints
from cache.coords import apply_affine
from cache.verify import verify
from pipeline.errors import StoreMissing

PCK_SHARE = 0.05
"""PCK counts joints within this share of the crop's height."""

if TYPE_CHECKING:
    # A store can be looked into without what the stages import.
    from pipeline.config import RunConfig


def store_path(config: RunConfig) -> Path:
    """Return where the store of the dataset and the detector lies or would lie."""
    dataset = config.dataset.label or config.dataset.name
    return config.data_root / f"{dataset}-{config.detector.name}.zarr"


def open_store(path: Path, *, allow_incomplete: bool = False) -> CacheReader:
    """Return a reader of the store at `path`; raises StoreMissing naming the stores beside it."""
    if not path.is_dir():
        beside = sorted(other.name for other in path.parent.glob("*.zarr"))
        raise StoreMissing(
            f"{path}: there is no such store. Stores in {path.parent}: "
            f"{', '.join(beside) or 'none'}. Make it with: posecache extract."
        )
    return CacheReader(path, allow_incomplete=allow_incomplete)


def size_bytes(path: Path) -> int:
    """Return the bytes of all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def list_stores(data_root: Path) -> list[dict[str, Any]]:
    """Return name, rows, completeness and size of every store below `data_root`."""
    found = []
    for path in sorted(data_root.glob("**/*.zarr")):
        entry: dict[str, Any] = {"path": str(path), "size_bytes": size_bytes(path)}
        try:
            reader = CacheReader(path, allow_incomplete=True)
        except CacheError as error:
            found.append({**entry, "num_rows": None, "complete": False, "problem": str(error)})
            continue
        found.append(
            {
                **entry,
                "num_rows": len(reader),
                "complete": bool(reader.complete),
                "detector": reader.feature_identity.get("detector", {}).get("kind"),
                "dataset": reader.content_identity.get("adapter"),
                "problem": None,
            }
        )
    return found


def describe_store(path: Path) -> dict[str, Any]:
    """Return what is in a store: rows, views, levels, splits, invalid rows, identities, size."""
    reader = open_store(path, allow_incomplete=True)
    split = reader.index("split")
    status = Counter(FrameStatus(int(code)).name for code in reader.status())
    words = split.vocabulary or ()
    counts = {word: int((split.codes == code).sum()) for code, word in enumerate(words)}
    return {
        "path": str(path),
        "num_rows": len(reader),
        "complete": bool(reader.complete),
        "size_bytes": size_bytes(path),
        "skeleton": reader.skeleton.name,
        "views": list(reader.views),
        "dtype": reader.spec.dtype,
        "levels": {
            name: [level.height, level.width, level.channels]
            for name, level in reader.levels.items()
        },
        "keypoint_sources": list(reader.spec.keypoint_sources),
        "rows_by_split": counts,
        "rows_by_status": dict(status),
        "feature_identity": reader.feature_identity,
        "content_identity": reader.content_identity,
    }


def keypoint_errors(reader: CacheReader) -> dict[str, dict[str, float]]:
    """Return how far the stored detector's joints are from the labels, by split.

    Mean and median distance in picture px and crop px, and the share of joints within
    `PCK_SHARE` of the crop's height; valid joints of usable rows. A split on which the detector is
    much better than on the others has sharper features than in use.
    """
    found = convert_keypoints(
        reader.keypoints("detector"), reader.skeleton.name, reader.label_skeleton.name
    )[..., :2]
    truth = reader.labels("joints_2d_px").astype(np.float64)
    affine = reader.affine()
    error_px = np.linalg.norm(found - truth, axis=-1)
    crop_px = np.linalg.norm(apply_affine(affine, found) - apply_affine(affine, truth), axis=-1)
    usable = reader.labels("valid") & (reader.status() == FrameStatus.OK)[:, None]
    split = reader.index("split")
    groups = {}
    for code, word in enumerate(split.vocabulary or ()):
        members = usable & (split.codes == code)[:, None]
        if not members.any():
            continue
        groups[word] = {
            "num_rows": int(members.any(axis=1).sum()),
            "mean_px": float(error_px[members].mean()),
            "median_px": float(np.median(error_px[members])),
            "mean_crop_px": float(crop_px[members].mean()),
            "median_crop_px": float(np.median(crop_px[members])),
            "pck": float((crop_px[members] <= PCK_SHARE * reader.spec.crop_size[0]).mean()),
        }
    return groups


def verify_store(path: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Return the result of reading and checking every byte of a store.

    `progress` is called with the chunks done and to do.
    """
    if not path.is_dir():
        open_store(path)
    report = verify(path, progress)
    return {
        "path": str(path),
        "ok": report.ok,
        "num_rows": report.num_rows,
        "num_chunks": report.num_chunks,
        "missing_chunks": list(report.missing_chunks),
        "invalid_by_reason": dict(report.invalid_by_reason),
        "problems": [asdict(problem) for problem in report.bad],
    }
