"""A store sampled at the joints: what that would be, and the doing of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from cache.coords import UnitRule
from cache.derived.points import point_spec
from cache.errors import CacheMismatch
from cache.fingerprint import diff_identities
from cache.header import read_header
from cache.ledger import Ledger
from cache.points import FeatureDtype
from cache.schema import map_bytes
from cache.storage import Location, open_storage
from pipeline.errors import ConfigError
from pipeline.settings import parse_set
from pipeline.stores.facts import require_store
from pipeline.stores.notes import dataset_note, write_note

_SOURCE, _RULE = "train.data.keypoint_source", "lifter.reference_rule"


@dataclass(frozen=True)
class PointChoice:
    """What is sampled.

    Args:
        keypoint_source: joints at which the maps are read.
        reference_rule: that of the lifters to come.
        dtype: of the points.
    """

    keypoint_source: str = "detector"
    reference_rule: UnitRule = "published"
    dtype: FeatureDtype = "float16"

    def target_of(self, store: str) -> str:
        """Return where the point cache of a store lies, unless it is named."""
        words = ["points"]
        words += [] if self.keypoint_source == "detector" else [self.keypoint_source]
        words += [] if self.reference_rule == "published" else [self.reference_rule]
        words += [] if self.dtype == "float16" else [self.dtype]
        name = "-".join(words).replace(":", "-")
        return f"{store.rstrip('/').removesuffix('.zarr')}-{name}.zarr"


def choice_of(sets: Sequence[str], dtype: FeatureDtype) -> PointChoice:
    """Return what `--set` asks for; raises ConfigError for any other key or rule."""
    found: dict[str, str] = {}
    for key, value in map(parse_set, sets):
        if key not in (_SOURCE, _RULE):
            raise ConfigError(f"this command reads only {_SOURCE} and {_RULE}, not {key!r}.")
        found[key] = str(value)
    rules: dict[str, UnitRule] = {rule: rule for rule in get_args(UnitRule)}
    rule = found.get(_RULE, "published")
    if rule not in rules:
        raise ConfigError(f"{_RULE} is one of {', '.join(rules)}, not {rule!r}.")
    return PointChoice(found.get(_SOURCE, "detector"), rules[rule], dtype)


def plan_points(source: Location, target: Location, choice: PointChoice) -> dict[str, Any]:
    """Return what `make_points` would do: size, and chunks done; nothing is written.

    `points_bytes` are those of the new maps alone. Raises StoreMissing, CacheMismatch if another
    store is at `target`, and as `describe_points`.
    """
    from stages.lift.points import describe_points

    require_store(source)
    points = describe_points(
        source, keypoint_source=choice.keypoint_source, reference_rule=choice.reference_rule
    )
    spec = point_spec(read_header(open_storage(source)).spec, points, choice.dtype)
    storage = open_storage(target)
    done = 0
    if storage.exists():
        there = read_header(storage).spec
        differing = diff_identities(there.to_json(), spec.to_json())
        if differing:
            raise CacheMismatch(
                f"{target} is another store: {'; '.join(differing)}. Name another with --out, or "
                "delete this one first."
            )
        done = len(Ledger(storage, spec.num_chunks).committed())
    row_bytes = sum(map_bytes(level, spec.dtype) for level in spec.levels)
    return {
        "source": os.fspath(source),
        "target": os.fspath(target),
        "points": asdict(points),
        "dtype": choice.dtype,
        "num_rows": spec.num_rows,
        "num_chunks": spec.num_chunks,
        "chunks_done": done,
        "points_bytes": row_bytes * spec.num_rows * spec.num_views,
    }


def make_points(
    source: Location,
    target: Location,
    choice: PointChoice,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the point cache of a store and return what that cost and saved.

    What is known of the source's dataset is noted beside it. Raises as `sample_points`.
    """
    from stages.lift.points import sample_points

    require_store(source)
    report = sample_points(source, target, **asdict(choice), progress=progress)
    sizes = [open_storage(location).size_bytes() for location in (source, target)]
    result = {
        **asdict(report),
        "source": os.fspath(source),
        "target": os.fspath(target),
        "sampled": asdict(choice),
        "up_to_date": report.chunks_written == 0,
        "source_bytes": sizes[0],
        "target_bytes": sizes[1],
        "ratio": sizes[0] / sizes[1],
        "rows_per_s": report.rows_written / report.seconds,
    }
    if report.chunks_written:
        write_note(target, "provenance", {"sampled": result, "dataset": dataset_note(source)})
    return result
