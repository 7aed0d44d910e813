"""Box files: our own csv and json, COCO's detection results, and MOT Challenge's txt.

The csv has the columns `file,frame,track,x1,y1,x2,y2,score`; `track` and `score` may be missing,
`frame` is empty for picture files. `file` is the path below the dataset's folder. Semicolons may
stand for the commas, as some spreadsheets write. Lines before the columns that start with `#` are
comments; a first line `# posecache boxes: {...}` says in json who found the boxes.
A json file is a list of objects with the same keys, or `{"found_by": {...}, "boxes": [...]}`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.extract.boxes.foreign import read_coco, read_mot
from stages.extract.boxes.table import PICTURE, BoxRows, BoxTable
from stages.extract.datasets.base import DatasetError

COLUMNS = ("file", "frame", "track", "x1", "y1", "x2", "y2", "score")
_NEEDED = {"file", "x1", "y1", "x2", "y2"}
_HEADER = "# posecache boxes: "


def read_boxes(path: Path) -> BoxTable:
    """Return the boxes of a file; its format is told from its name and content.

    Raises:
        DatasetError: naming the line or entry that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"Box file {path} cannot be read: {error}.") from error
    readers = {".csv": _read_csv, ".json": _read_json, ".txt": read_mot}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(
            f"Box file {path} must be a .csv, .json or .txt (MOT Challenge) file. Convert it; "
            "docs/datasets.md shows the columns."
        )
    table = reader(text, path)
    if not len(table):
        raise DatasetError(f"Box file {path} holds no box.")
    return table


def write_boxes(path: Path, table: BoxTable, comment: str = "") -> None:
    """Write our csv at once: a reader sees the old file or the whole new one.

    Args:
        path: of the csv.
        table: the boxes; `found_by` goes into the header.
        comment: one more line of the header, e.g. versions and date.
    """
    out = io.StringIO()
    if table.found_by is not None:
        out.write(_HEADER + json.dumps(dict(table.found_by), sort_keys=True) + "\n")
    if comment:
        out.write(f"# {comment}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for file, frame, track, box, score in zip(
        table.files, table.frames, table.tracks, table.boxes_px, table.scores, strict=True
    ):
        corners = [f"{value:.2f}" for value in box]
        shown = "" if frame == PICTURE else int(frame)
        writer.writerow([file, shown, track, *corners, f"{score:.4f}"])
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as handle:
        handle.write(out.getvalue())
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)


def _read_csv(text: str, path: Path) -> BoxTable:
    found_by: Mapping[str, Any] | None = None
    lines = text.splitlines()
    if lines and lines[0].startswith(_HEADER):
        try:
            found_by = json.loads(lines[0].removeprefix(_HEADER))
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}, line 1: the header is not json: {error}.") from error
    first = next((i for i, line in enumerate(lines) if _is_content(line)), len(lines))
    head = lines[first] if first < len(lines) else ""
    separator = ";" if ";" in head and "," not in head else ","
    kept = [i for i in range(first, len(lines)) if lines[i].strip()]
    reader = csv.reader((lines[i] for i in kept), delimiter=separator)
    columns = [name.strip() for name in next(reader, [])]
    _check_columns(columns, path)
    rows = BoxRows()
    for values in reader:
        where = f"{path}, line {kept[reader.line_num - 1] + 1}"
        if len(values) != len(columns):
            raise DatasetError(
                f"{where}: {len(values)} values for {len(columns)} columns; numbers have a decimal "
                "point, and names with commas stand in quotes."
            )
        _add(rows, dict(zip(columns, values, strict=True)), where)
    return rows.table(found_by)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _check_columns(columns: list[str], path: Path) -> None:
    missing = sorted(_NEEDED - set(columns))
    if missing:
        raise DatasetError(
            f"{path}: the columns {', '.join(missing)} are missing; "
            f"the first line must name the columns {','.join(COLUMNS)}."
        )
    if len(set(columns)) != len(columns):
        raise DatasetError(f"{path}: a column is there twice: {','.join(columns)}.")


def _read_json(text: str, path: Path) -> BoxTable:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"Box file {path} is not json ({error}). Write it again, e.g. with 'posecache "
            "find-people'."
        ) from error
    if isinstance(content, Mapping) and "annotations" in content:
        return read_coco(content["annotations"], content.get("images", ()), path)
    found_by = content.get("found_by") if isinstance(content, Mapping) else None
    entries = content.get("boxes") if isinstance(content, Mapping) else content
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise DatasetError(f"{path} is neither a list of boxes nor COCO's json.")
    if any("image_id" in entry for entry in entries):
        return read_coco(entries, (), path)
    rows = BoxRows()
    for number, entry in enumerate(entries):
        _add(rows, entry, f"{path}, box {number}")
    return rows.table(found_by)


def _add(rows: BoxRows, entry: Mapping[str, Any], where: str) -> None:
    # A track or score under another name would be lost without a word.
    unknown = [str(name) for name in entry if name not in COLUMNS]
    if unknown:
        raise DatasetError(
            f"{where}: {', '.join(unknown)} is none of {', '.join(COLUMNS)}; rename or remove it."
        )
    lacking = [name for name in sorted(_NEEDED) if entry.get(name) in (None, "")]
    if lacking:
        raise DatasetError(f"{where}: no value for {', '.join(lacking)}.")
    frame, score, track = entry.get("frame"), entry.get("score"), entry.get("track")
    try:
        number = PICTURE if frame in (None, "") else int(frame)
        is_whole = frame in (None, "") or float(frame) == number
    except (TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise DatasetError(f"{where}: frame {frame!r} is not a whole number.")
    if number < 0 and frame not in (None, ""):
        raise DatasetError(f"{where}: frame {frame} is negative; frames count from 0.")
    rows.add(
        where,
        file=str(entry["file"]),
        frame=number,
        track="" if track is None else str(track),
        box=[entry[name] for name in ("x1", "y1", "x2", "y2")],
        score=1.0 if score in (None, "") else score,
    )
