"""Which runs a comparison has, and which stores they read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cache.fingerprint import diff_identities
from lifter.registry import LIFTERS
from pipeline.config import ComparisonConfig, RunConfig, with_settings
from pipeline.errors import ConfigError
from pipeline.settings import did_you_mean, merge, read_shipped, validate
from pipeline.stores.facts import store_location

DETECTOR_FILE = "detector_file"
_DECIDES_STORE = ("dataset", "detector", DETECTOR_FILE, "crop", "extract")
_ROW_PREFIX = "row:"


@dataclass(frozen=True)
class Row:
    """One line of the table: what is trained, with every seed."""

    name: str
    config: RunConfig

    @property
    def store(self) -> str:
        """Folder or URL of the store that it reads."""
        return store_location(self.config)


@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    row: str
    seed: int
    config: RunConfig
    store: str
    lr: float | None = None
    """Learning rate, where it is tuned."""
    draws: bool = False
    """Whether it gets pictures of its best, median and worst test frames."""

    @property
    def name(self) -> str:
        """What progress calls it."""
        rate = "" if self.lr is None else f" lr {self.lr:g}"
        return f"{self.row} seed {self.seed}{rate}"


def plan_rows(config: RunConfig, levels: Mapping[str, Sequence[str]] | None = None) -> list[Row]:
    """Return the rows of a comparison, in the order of the table.

    Args:
        config: whose `comparison` it is.
        levels: names of the levels of each store, by its location; without them, rows that leave
            levels out are not there.

    Raises:
        ConfigError: an unknown row, lifter, level or setting is named, or one store for what would
            be two.
    """
    comparison = config.comparison
    if not comparison.rows:
        raise ConfigError("comparison.rows is empty: name at least one row and what it changes.")
    locations: dict[str, str] = {}
    rows = {}
    # Rows that read keypoints of another row's store need to know where that is.
    for name in sorted(comparison.rows, key=lambda name: _names_row(comparison.rows[name])):
        rows[name] = Row(name, _row_config(config, name, comparison.rows[name], locations))
        if not _names_row(comparison.rows[name]):
            locations[name] = rows[name].store
    planned = [rows[name] for name in comparison.rows]
    _check_names(comparison)
    _check_stores(planned)
    if comparison.without_each_level is not None and levels is not None:
        whole = rows[comparison.without_each_level]
        planned += _without_each_level(whole, levels[whole.store])
    return planned


def differences_of(config: RunConfig, rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return the pairs of rows whose difference is asked for."""
    comparison = config.comparison
    added = [row.name for row in rows if row.name not in comparison.rows]
    return [
        *comparison.differences,
        *((name, str(comparison.without_each_level)) for name in added),
    ]


def stores_of(rows: Iterable[Row]) -> dict[str, RunConfig]:
    """Return the configuration of every store by its location, in the order of extraction."""
    ordered = sorted(rows, key=lambda row: _imports(row.config))
    found: dict[str, RunConfig] = {}
    for row in ordered:
        found.setdefault(row.store, row.config)
    return found


def plan_jobs(
    config: RunConfig, rows: Iterable[Row], lrs: Mapping[str, float] | None = None
) -> list[Job]:
    """Return the runs of all rows and seeds, seed by seed.

    Args:
        config: whose `comparison` it is.
        rows: of `plan_rows`.
        lrs: learning rate of every row, where they were tuned.
    """
    rows = list(rows)
    return [
        _job(config, row, seed, None if lrs is None else lrs.get(row.name))
        for seed in config.comparison.seeds
        for row in rows
    ]


def plan_tuning(config: RunConfig, rows: Iterable[Row]) -> list[Job]:
    """Return the runs that find the learning rate of every row."""
    first = config.comparison.seeds[0]
    rows = list(rows)
    return [_job(config, row, first, lr) for lr in config.comparison.lrs for row in rows]


def _job(config: RunConfig, row: Row, seed: int, lr: float | None) -> Job:
    settings: dict[str, Any] = {"train.seed": seed}
    if lr is not None:
        settings["train.lr"] = lr
    comparison = config.comparison
    draws = row.name == comparison.pictures_of and seed == comparison.seeds[0]
    return Job(row.name, seed, with_settings(row.config, settings), row.store, lr, draws)


def _row_config(
    config: RunConfig, name: str, changes: Mapping[str, Any], locations: Mapping[str, str]
) -> RunConfig:
    changes = _dotted(changes)
    # A thread each: the runs of a comparison already fill the cores, and the number of threads
    # is part of what decides float words.
    given: dict[str, Any] = {"train.threads": config.train.threads or 1}
    given |= {key: value for key, value in changes.items() if key != DETECTOR_FILE}
    given = {key: _resolved(value, name, locations) for key, value in given.items()}
    for key, owner in _set_elsewhere(config.comparison).items():
        if any(given == key or given.startswith(f"{key}.") for given in changes):
            raise ConfigError(
                f"comparison.rows.{name} sets {key}, which {owner}. Leave it out of the row."
            )
    if any(key.partition(".")[0] in _DECIDES_STORE for key in changes):
        given.setdefault("store", None)
        if DETECTOR_FILE in changes:
            config = _with_detector(config, str(changes[DETECTOR_FILE]))
        elif "detector.name" not in changes and "dataset.label" not in changes:
            word = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
            given["detector.name"] = f"{config.detector.name}-{word}"
    row = with_settings(config, given)
    if row.lifter.name not in LIFTERS:
        raise ConfigError(
            f"comparison.rows.{name}: there is no lifter {row.lifter.name!r}"
            f"{did_you_mean(row.lifter.name, tuple(LIFTERS))} Lifters: {', '.join(LIFTERS)}."
        )
    frames = config.comparison.num_frames
    windowed = LIFTERS[row.lifter.name].reads_windows
    if frames is not None and windowed and "lifter.num_frames" not in changes:
        row = with_settings(row, {"lifter.num_frames": frames})
    return row


def _set_elsewhere(comparison: ComparisonConfig) -> dict[str, str]:
    """Return the settings that would have no effect in a row, and what decides them."""
    tuned = {"train.lr": "comparison.lrs tunes"} if comparison.lrs else {}
    return {
        "train.seed": "comparison.seeds gives",
        "comparison": "is the same for all rows",
        "runs_root": "is the same for all rows",
        **tuned,
    }


def _dotted(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with a key for every setting: `lifter: {name: x}` is `lifter.name: x`.

    Else a row that names one setting of a section in that way would lose all others of it.
    """
    found: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, Mapping) and _is_section(key):
            found |= _dotted({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            found[key] = value
    return found


def _is_section(key: str) -> bool:
    """Return whether a dotted key names a part of the configuration, rather than a setting."""
    model: type[BaseModel] = RunConfig
    for word in key.split("."):
        field = model.model_fields.get(word)
        kind = None if field is None else field.annotation
        if not isinstance(kind, type) or not issubclass(kind, BaseModel):
            return False
        model = kind
    return True


def _with_detector(config: RunConfig, name: str) -> RunConfig:
    tree = config.dump()
    shipped = read_shipped("detectors", name)
    device = {"device": config.detector.device}
    tree = merge({**tree, "detector": device}, shipped)
    return validate(RunConfig, tree)


def _without_each_level(whole: Row, levels: Sequence[str]) -> list[Row]:
    read = whole.config.lifter.levels or tuple(levels)
    if len(read) < 2:
        raise ConfigError(
            f"comparison.without_each_level: {whole.store} has only the level {', '.join(read)}, "
            "and a lifter of maps needs one."
        )
    return [
        Row(
            f"without {out}",
            with_settings(
                whole.config, {"lifter.levels": [level for level in read if level != out]}
            ),
        )
        for out in read
    ]


def _check_names(comparison: ComparisonConfig) -> None:
    known = tuple(comparison.rows)
    named = [("differences", name) for pair in comparison.differences for name in pair]
    named += [(key, getattr(comparison, key)) for key in ("without_each_level", "pictures_of")]
    for key, name in named:
        if name is not None and name not in known:
            raise ConfigError(
                f"comparison.{key}: there is no row {name!r}{did_you_mean(name, known)}"
            )


def _check_stores(rows: Iterable[Row]) -> None:
    """Raise ConfigError for rows of one store that ask for different ones.

    The second of them would silently read what the first one extracts.
    """
    first: dict[str, tuple[str, dict[str, Any]]] = {}
    for row in rows:
        if row.config.store is not None:
            continue
        tree = row.config.dump()
        asked = {key: tree[key] for key in _DECIDES_STORE if key in tree}
        name, others = first.setdefault(row.store, (row.name, asked))
        differing = diff_identities(others, asked)
        if differing:
            raise ConfigError(
                f"comparison.rows: {name} and {row.name} would both read {row.store}, but differ in"
                f" what is in it: {'; '.join(differing)}. Give one of them another detector.name "
                "or dataset.label, after which stores are called."
            )


def _names_row(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_names_row(inner) for inner in value.values())
    return isinstance(value, str) and value.startswith(_ROW_PREFIX)


def _resolved(value: Any, row: str, locations: Mapping[str, str]) -> Any:
    """Return `value` with `row:NAME` replaced by the store of that row."""
    if isinstance(value, Mapping):
        return {key: _resolved(inner, row, locations) for key, inner in value.items()}
    if not isinstance(value, str) or not value.startswith(_ROW_PREFIX):
        return value
    name = value.removeprefix(_ROW_PREFIX)
    if name not in locations:
        raise ConfigError(
            f"comparison.rows.{row}: {value!r} names no row with a store that needs no other row's"
            f"{did_you_mean(name, tuple(locations))} Such rows: {', '.join(locations) or 'none'}."
        )
    return locations[name]


def _imports(config: RunConfig) -> bool:
    """Return whether the store takes keypoints of another one, which must be there before."""
    return any(given.store is not None for given in config.dataset.keypoints.values())
