"""Two stores beside each other: what differs between them, or one written anew as the other."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cache import CacheMismatch
from cache.derived.conversion import Progress, RecodeDtype
from cache.derived.quantize import LevelError
from cache.derived.recode import recode
from cache.difference import StoreDifference, compare_stores, compare_values
from cache.schema import Codec
from cache.storage import Location, open_storage
from pipeline.stores.facts import open_store, require_store
from pipeline.stores.notes import dataset_note, write_note


def diff_stores(
    first: Location,
    second: Location,
    *,
    values: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return in what two stores differ.

    `values` is None where the numbers were not compared; `not_comparable` then says why, if it was
    asked for. A `max_abs` of None stands for numbers that are not finite.

    Args:
        first: folder or URL of a store, A.
        second: of another one, B.
        values: read every number of both, which must be finished.
        progress: called with the chunks done and to do.
    """
    for location in (first, second):
        require_store(location)
    found: StoreDifference = compare_stores(first, second)
    result: dict[str, Any] = {
        "a": os.fspath(first),
        "b": os.fspath(second),
        "num_rows": len(open_store(first, allow_incomplete=True)),
        "joinable": found.joinable,
        "keys": [
            {"section": key.section, "key": key.key, "a": key.first, "b": key.second}
            for key in found.keys
        ],
        "values": None,
        "not_comparable": None,
    }
    if values:
        try:
            compared = compare_values(first, second, progress)
        except CacheMismatch as error:
            result["not_comparable"] = str(error)
        else:
            result["values"] = {
                name: {**asdict(each), "max_abs": _finite(each.max_abs)}
                for name, each in compared.items()
            }
    result["equal"] = found.equal and not result["values"] and not result["not_comparable"]
    return result


def recode_store(
    source: Location,
    target: Location,
    *,
    dtype: RecodeDtype | None = None,
    codec: Codec | None = None,
    inner_rows: int | None = None,
    shard_rows: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a store again and return what that cost and saved; see `cache.derived.recode.recode`.

    What is known of the source's dataset is noted beside the target.
    """
    require_store(source)
    report = recode(
        source,
        target,
        dtype=dtype,
        codec=codec,
        inner_rows=inner_rows,
        shard_rows=shard_rows,
        workers=workers,
        progress=progress,
    )
    sizes = [open_storage(location).size_bytes() for location in (source, target)]
    result = {
        **asdict(report),
        "source": os.fspath(source),
        "target": os.fspath(target),
        "source_bytes": sizes[0],
        "target_bytes": sizes[1],
        "bytes_per_s": report.map_bytes / report.seconds,
        "errors": {name: _error(each) for name, each in report.errors.items()},
    }
    write_note(target, "provenance", {"recoded": result, "dataset": dataset_note(source)})
    return result


def _error(error: LevelError) -> dict[str, Any]:
    return {**asdict(error), "sqnr_db": error.sqnr_db}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
