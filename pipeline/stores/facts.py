"""Stores: where they lie, what is in them, whether they are whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import CacheError, CacheReader, FrameStatus, convert_keypoints
from cache.arrays import stored_arrays
from cache.coords import apply_affine
from cache.storage import Location, Storage, is_url, open_storage
from cache.verify import verify
from pipeline.errors import StoreMissing
from pipeline.stores.bad_frames import bad_frames_facts

PCK_SHARE = 0.05
"""PCK counts joints within this share of the crop's height."""

if TYPE_CHECKING:
    # A store can be looked into without what the stages import.
    from pipeline.config import RunConfig


def extracted_store(config: RunConfig) -> str:
    """Return the folder or URL where the store of the dataset and the detector lies or will."""
    name = f"{config.dataset.label or config.dataset.name}-{config.detector.name}.zarr"
    root = config.data_root.removeprefix("file://")
    return f"{root.rstrip('/')}/{name}" if is_url(root) else str(Path(root) / name)


def store_location(config: RunConfig) -> str:
    """Return the folder or URL of the store to read: `store` of the configuration, if it is set."""
    return config.store or extracted_store(config)


def open_store(location: Location, *, allow_incomplete: bool = False) -> CacheReader:
    """Return a reader of a store; raises StoreMissing naming the stores beside it."""
    require_store(location)
    return CacheReader(location, allow_incomplete=allow_incomplete)


def require_store(location: Location) -> Storage:
    """Return the storage of a store; raises StoreMissing if its folder is not there."""
    storage = open_storage(location)
    if storage.folder is not None and not storage.folder.is_dir():
        beside = sorted(
            other.name for other in storage.folder.parent.glob("*.zarr") if other.is_dir()
        )
        what = "is a file, not a store" if storage.folder.exists() else "there is no such store"
        raise StoreMissing(
            f"{location}: {what}. Stores in {storage.folder.parent}: "
            f"{', '.join(beside) or 'none'}. Make it with: posecache extract."
        )
    return storage


def list_stores(data_root: Location) -> list[dict[str, Any]]:
    """Return name, rows, completeness, precision and size of every store below `data_root`.

    A folder that is called like a store and cannot be read as one is listed with its `problem`.
    """
    found = []
    for location in sorted(_below(data_root)):
        entry: dict[str, Any] = {
            "path": location,
            "num_rows": None,
            "num_rows_done": None,
            "complete": False,
            "problem": None,
        }
        try:
            entry |= _summary(location)
        except (CacheError, OSError) as error:
            entry["problem"] = str(error)
        found.append(entry)
    return found


def _below(root: Location) -> Iterator[str]:
    """Yield the stores `*.zarr` below `root` (of a URL, directly below) without opening them."""
    if is_url(root):
        storage = open_storage(root)
        for name in storage.names(""):
            if name.endswith(".zarr"):
                yield f"{storage.location}/{name}"
        return
    for folder, names, _ in os.walk(root):
        yield from (str(Path(folder) / name) for name in names if name.endswith(".zarr"))
        names[:] = [name for name in names if not name.endswith(".zarr")]


def _summary(location: str) -> dict[str, Any]:
    reader = CacheReader(location, allow_incomplete=True)
    return {
        "size_bytes": open_storage(location).size_bytes(),
        "num_rows": len(reader),
        "num_rows_done": int(reader.committed().sum()),
        "complete": reader.complete,
        "dtype": _dtypes(reader),
        "codec": reader.spec.codec,
        "num_views": reader.spec.num_views,
        "detector": _word(reader.feature_identity, "detector", "kind"),
        "dataset": _word(reader.content_identity, "adapter"),
    }


def describe_store(location: Location) -> dict[str, Any]:
    """Return what is in a store: rows, arrays, splits, invalid rows, precision, identities."""
    reader = open_store(location, allow_incomplete=True)
    storage = open_storage(location)
    split = reader.index("split")
    committed = np.flatnonzero(reader.committed())
    status = Counter(FrameStatus(int(code)).name for code in reader.status(rows=committed))
    words = split.vocabulary or ()
    counts = {word: int((split.codes == code).sum()) for code, word in enumerate(words)}
    scales = {name: reader.scales(name) for name in reader.levels}
    return {
        "path": os.fspath(location),
        "num_rows": len(reader),
        "num_rows_done": len(committed),
        "complete": reader.complete,
        "size_bytes": storage.size_bytes(),
        "label_skeleton": reader.label_skeleton.name,
        "views": list(reader.views),
        "dtype": _dtypes(reader),
        "codec": reader.spec.codec,
        "inner_rows": reader.spec.inner_rows,
        "shard_rows": reader.spec.shard_rows,
        "scales": {
            name: {"min": float(scale.min()), "max": float(scale.max())}
            for name, scale in scales.items()
            if scale is not None
        },
        "levels": {
            name: [level.height, level.width, level.channels]
            for name, level in reader.levels.items()
        },
        "points": None if reader.spec.points is None else asdict(reader.spec.points),
        "keypoints": {
            source: reader.source_skeleton(source).name for source in reader.spec.keypoint_sources
        },
        "has_3d_labels": reader.has_label("joints_3d_mm"),
        "notes": reader.content_identity.get("notes", []),
        "rows_by_split": counts,
        "rows_by_status": dict(status),
        "bad_frames": bad_frames_facts(reader),
        "arrays": [asdict(array) for array in stored_arrays(storage)],
        "feature_identity": reader.feature_identity,
        "content_identity": reader.content_identity,
    }


def _word(identity: Any, *keys: str) -> str | None:
    """Return what stands below the keys; None if it is no word."""
    for key in keys:
        identity = identity.get(key) if isinstance(identity, dict) else None
    return identity if isinstance(identity, str) else None


def _dtypes(reader: CacheReader) -> str:
    """Return the precision of the maps, e.g. `float16`, `uint8/int8`."""
    return "/".join(dict.fromkeys(reader.level_dtype(name).name for name in reader.levels))


def keypoint_errors(reader: CacheReader) -> dict[str, dict[str, float]]:
    """Return how far the stored detector's joints are from the labels, by split.

    Mean and median distance in picture px and crop px, and the share of joints within
    `PCK_SHARE` of the crop's height; valid joints of usable rows. A split on which the detector is
    much better than on the others has sharper features than in use. Empty where there is nothing to
    compare.
    """
    if not {"detector", "gt"} <= set(reader.spec.keypoint_sources):
        return {}
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


def verify_store(
    location: Location,
    progress: Callable[[int, int], None] | None = None,
    *,
    quick: bool = False,
) -> dict[str, Any]:
    """Return the result of reading and checking every byte of a store.

    Args:
        location: folder or URL of the store.
        progress: called with the chunks done and to do.
        quick: look at everything but the maps, of which only the indexes are read.
    """
    report = verify(require_store(location), progress, quick=quick)
    return {
        "path": os.fspath(location),
        "ok": report.ok,
        "quick": quick,
        "num_rows": report.num_rows,
        "num_chunks": report.num_chunks,
        "missing_chunks": list(report.missing_chunks),
        "invalid_by_reason": dict(report.invalid_by_reason),
        "damaged_chunks": list(report.damaged_chunks),
        "problems": [asdict(problem) for problem in report.bad],
    }
