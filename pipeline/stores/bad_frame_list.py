"""Pictures that are missing, said before any work; frames that cannot be used, listed after it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from cache import CacheReader, FrameStatus, RowPlan
from cache.storage import Location, open_storage
from pipeline.errors import UnwritableTarget
from pipeline.stores.bad_frames import BadFrame, bad_frames
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset, DatasetError
from stages.extract.frames import FrameTask

LIST_SUFFIX = ".bad-frames.csv"
_NUM_NAMED = 5
_MAX_MESSAGES = 1000
"""So many frames are looked at again to say what was wrong; of further ones the reason is said."""
_NOT_FINITE = "The detector's output is not finite, or too large for extract.dtype."


def missing_pictures(plan: RowPlan) -> list[str]:
    """Return the items whose picture is known to be missing before anything is read."""
    rows = np.flatnonzero((plan.image_size == 0).all(axis=1))
    words = plan.index["item"].vocabulary or ()
    return [words[code] for code in plan.index["item"].codes[rows]]


def say_missing(missing: Sequence[str], num_rows: int, screen: Console, *, strict: bool) -> None:
    """Say which pictures are missing; raises DatasetError with `strict`."""
    if not missing:
        return
    more = ", ..." if len(missing) > _NUM_NAMED else ""
    named = f"{', '.join(missing[:_NUM_NAMED])}{more}"
    what = f"pictures of {len(missing):,} of {num_rows:,} frames are missing: {named}"
    if strict:
        raise DatasetError(
            f"{what}. Nothing was extracted. Complete the dataset (a file that is no picture is as "
            "good as missing), or leave out --strict to record them as such."
        )
    screen.print(f"{what}. They are recorded as such.", style="yellow", soft_wrap=True)


def write_list(
    store: Location, dataset: Dataset, crop: CropConfig
) -> tuple[list[BadFrame], str | None]:
    """Write the list of bad frames beside the store, and return it and where it lies.

    A list is only written where there are bad frames, or was one before.

    Raises:
        UnwritableTarget: of the disk.
    """
    storage = open_storage(store)
    found = bad_frames(CacheReader(store, allow_incomplete=True))
    if not found and not has_list(store):
        return [], None
    messages = _messages(found[:_MAX_MESSAGES], dataset, crop)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "item", "reason", "message"))
    for frame in found:
        writer.writerow((frame.row, frame.item, frame.reason, messages.get(frame.row, "")))
    try:
        storage.write_beside(LIST_SUFFIX, text.getvalue().encode())
    except OSError as error:
        raise UnwritableTarget(
            f"{storage.location}: the list of bad frames beside it cannot be written "
            f"({error.strerror or error}). Mend that and run again."
        ) from error
    return found, f"{storage.location.removesuffix('.zarr')}{LIST_SUFFIX}"


def has_list(store: Location) -> bool:
    """Return whether a list of bad frames lies beside the store."""
    try:
        open_storage(store).read_beside(LIST_SUFFIX)
    except FileNotFoundError:
        return False
    return True


def _messages(found: Sequence[BadFrame], dataset: Dataset, crop: CropConfig) -> dict[int, str]:
    """Return what is wrong by row, from looking again; a frame that is whole now has no message."""
    task = FrameTask(dataset, crop, dataset.plan(), [frame.row for frame in found])
    messages = {}
    for frame in found:
        if frame.reason == FrameStatus.NOT_FINITE.name.lower():
            messages[frame.row] = _NOT_FINITE
            continue
        again = task(frame.row)
        if again.status.name.lower() == frame.reason:
            messages[frame.row] = again.message
    return messages
