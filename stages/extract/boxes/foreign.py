"""Box files of other tools: COCO's json and MOT Challenge's txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.extract.boxes.table import PICTURE, BoxRows, BoxTable
from stages.extract.datasets.base import DatasetError

_PERSON = 1


def read_coco(
    entries: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]], path: Path
) -> BoxTable:
    """Return boxes of COCO's results or annotations: `image_id`, `bbox` (x, y, w, h), `score`.

    Other categories than 1 (person) and crowds are left out. Pictures are called by `file_name`
    where the file lists them, else by their id. `track_id` is the track where there is one.
    """
    rows = BoxRows()
    try:
        names = {image["id"]: str(image["file_name"]) for image in images}
        for number, entry in enumerate(entries):
            if entry.get("category_id", _PERSON) != _PERSON or entry.get("iscrowd"):
                continue
            image, track = entry["image_id"], entry.get("track_id")
            left, top, width, height = entry["bbox"]
            rows.add(
                f"{path}, box {number}",
                file=names.get(image, str(image)),
                frame=PICTURE,
                track="" if track is None else str(track),
                box=(left, top, left + width, top + height),
                score=entry.get("score", 1.0),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path} is not COCO's json of boxes: {type(error).__name__} {error}."
        ) from error
    return rows.table()


def read_mot(text: str, path: Path) -> BoxTable:
    """Return boxes of `frame,id,left,top,width,height,confidence,...`, frames from 1.

    The file names no video: it belongs to the only one below the folder. An id of -1 is no track.
    """
    rows = BoxRows()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = [float(value) for value in line.split(",")[:7]]
            frame, track, left, top, width, height = values[:6]
            number_of_track = int(track)
        except ValueError as error:
            raise DatasetError(
                f"{where}: not frame,id,left,top,width,height,confidence: {error}."
            ) from error
        if frame < 1 or frame != int(frame):
            raise DatasetError(f"{where}: frame {frame:g}; MOT's frames count from 1.")
        if track != number_of_track:
            raise DatasetError(f"{where}: id {track:g}; MOT's ids are whole numbers.")
        rows.add(
            where,
            file="",
            frame=int(frame) - 1,
            track="" if track < 0 else str(number_of_track),
            box=(left, top, left + width, top + height),
            score=values[6] if len(values) > 6 else 1.0,
        )
    return rows.table()
